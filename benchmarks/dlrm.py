"""DLRM's accuracy and speed beside facebookresearch/dlrm and TensorFlow Recommenders, in one run.

    python benchmarks/dlrm.py --peer=dlrm --peer_python=peer/bin/python --data=criteo_60k.txt.gz

All sides get the same arrays (numbers on a log scale; values seen twice in the training rows have a
row, all others share one), architecture (vectors of 16; bottom 512-256-64-16; dot; top 512-256-1),
optimizer, batches, order and threads. They take turns, each in a fresh process; medians are quoted,
and the ratio of neighbouring runs, since machines are noisy. Nothing else should run meanwhile:
PyTorch's threads wait for each other in every layer, and next to other programs it can fall to a
tenth of its speed, which would flatter the others. Accuracy is quoted as the mean over
the seeds and, in brackets, the range. The peer needs torch, scikit-learn, tqdm and tensorboard;
without --peer it is left out.
"""

import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path

from absl import flags
from dlrm_data import read_criteo
from dlrm_settings import LEARNING_RATES, Settings
from dlrm_sides import Side, define_side_flags, list_sides

from tfrec_zoo.program import run_program

FLAGS = flags.FLAGS
# What is shown of a run: its heading, and whether more is better (for the ratios).
SPEEDS = {
    "examples_per_second": ("training, ex/s", True),
    "inference_per_second": ("inference, ex/s", True),
    "single_milliseconds": ("one example, ms", False),
}
SHOWN = {key: heading for key, (heading, _) in SPEEDS.items()} | {"peak_megabytes": "peak MB"}


def define_flags() -> None:
    """Defines the benchmark's flags."""
    define_side_flags()
    flags.DEFINE_string("data", None, "Criteo's text, without a header line.", required=True)
    flags.DEFINE_integer("train_rows", 50_000, "First rows, for training.", lower_bound=1)
    flags.DEFINE_integer("min_count", 2, "Count of values with a row of their own.", lower_bound=1)
    flags.DEFINE_boolean("shuffle", False, "Train in a random order (one for all), not the file's.")
    flags.DEFINE_multi_enum("optimizer", ["sgd", "adagrad"], list(LEARNING_RATES), "Optimizers.")
    flags.DEFINE_multi_integer("batch_size", [128, 2048], "Examples of a step.")
    flags.DEFINE_multi_integer("seed", [1, 2, 3], "Seeds; each round has the next one.")
    flags.DEFINE_integer("rounds", 3, "Runs of each side, at least one a seed.", lower_bound=1)
    flags.DEFINE_integer("epochs", 3, "Epochs of a run; the last one is timed.", lower_bound=2)
    flags.DEFINE_string("output", None, "JSON file for all numbers.")


def run() -> None:
    """Measures each optimizer and batch size."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/clicks.npz"
        shuffle_seed = 1 if FLAGS.shuffle else None
        read_criteo(FLAGS.data, FLAGS.train_rows, FLAGS.min_count, shuffle_seed).save(path)
        for optimizer in FLAGS.optimizer:
            for batch_size in FLAGS.batch_size:
                settings = Settings(
                    path, optimizer, batch_size, FLAGS.epochs, threads=FLAGS.threads
                )
                results.append(compare(settings))
                if FLAGS.output:
                    Path(FLAGS.output).write_text(json.dumps(results, indent=2) + "\n")


def compare(settings: Settings) -> dict:
    """Lets the sides run in turn and prints tables of their speed and accuracy."""
    sides = [side for side in list_sides() if settings.optimizer in side.optimizers]
    runs = {side.name: [] for side in sides}
    num_rounds = max(FLAGS.rounds, len(FLAGS.seed))
    for index in range(num_rounds):
        seed = FLAGS.seed[index % len(FLAGS.seed)]
        for side in sides:
            runs[side.name].append(side.measure(dataclasses.replace(settings, seed=seed)))
    print(
        f"\n{settings.optimizer} {settings.learning_rate}, batch {settings.batch_size}, "
        f"median of {num_rounds} alternating runs"
    )
    print(f"{'':20}" + "".join(f"{heading:>18}" for heading in SHOWN.values()))
    for name, ones in runs.items():
        medians = [statistics.median(one[key] for one in ones) for key in SHOWN]
        print(f"{name:20}" + "".join(f"{median:18.5g}" for median in medians))
    ratios = compare_speeds(sides, runs)
    accuracy = {
        metric: {name: summarize(ones, metric) for name, ones in runs.items()}
        for metric in ("auc", "log_loss")
    }
    print_accuracy(accuracy)
    sys.stdout.flush()
    return {
        "optimizer": settings.optimizer,
        "batch_size": settings.batch_size,
        "runs": runs,
        "ratios": ratios,
        "accuracy": accuracy,
    }


def compare_speeds(sides: list[Side], runs: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    """Prints and returns how many times as fast as each peer the zoo is."""
    ratios = {}
    for zoo in (side.name for side in sides if side.is_zoo):
        for peer in (side.name for side in sides if not side.is_zoo):
            found = {}
            for key, (heading, more_is_better) in SPEEDS.items():
                above, below = (zoo, peer) if more_is_better else (peer, zoo)
                found[heading.split(",")[0]] = median_ratio(runs[above], runs[below], key)
            ratios[f"{zoo} / {peer}"] = found
            print(f"{zoo} / {peer}: " + ", ".join(f"{k} {v:.2f} times" for k, v in found.items()))
    return ratios


def median_ratio(above: list[dict], below: list[dict], key: str) -> float:
    """Returns the median of the ratios of neighbouring runs."""
    return statistics.median(a[key] / b[key] for a, b in zip(above, below, strict=True))


def summarize(runs: list[dict], metric: str) -> dict[str, dict[str, float]]:
    """Returns mean, lowest and highest value over the seeds, after each epoch and of the best."""
    by_seed = {one["seed"]: one[metric] for one in runs}.values()
    best = max if metric == "auc" else min
    columns = {
        f"epoch {epoch}": values for epoch, values in enumerate(zip(*by_seed, strict=True), start=1)
    }
    columns["best epoch"] = [best(values) for values in by_seed]
    return {
        name: {"mean": statistics.mean(values), "lowest": min(values), "highest": max(values)}
        for name, values in columns.items()
    }


def print_accuracy(accuracy: dict[str, dict[str, dict[str, dict[str, float]]]]) -> None:
    """Prints a table for each metric."""
    for metric, by_side in accuracy.items():
        columns = next(iter(by_side.values()))
        print(f"{metric:20}" + "".join(f"{column:>26}" for column in columns))
        for name, summary in by_side.items():
            cells = [
                f"{c['mean']:.4f} ({c['lowest']:.4f}-{c['highest']:.4f})" for c in summary.values()
            ]
            print(f"{name:20}" + "".join(f"{cell:>26}" for cell in cells))


def main() -> None:
    """Entry of the benchmark."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
