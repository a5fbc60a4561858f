"""Shows the whole way in a few minutes: generates sessions, trains, evaluates, exports, asks.

The sessions are planted ones, so that the best possible recall is known and stands beside the
reached one. Everything runs through the programs that a user would call.
"""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from tfrec_zoo.data.sessions.planted_sessions import PlantedConfig, PlantedWorld
from tfrec_zoo.data.sessions.session_log import Sessions, write_session_log
from tfrec_zoo.metrics.baselines import markov_ranks, popularity_ranks
from tfrec_zoo.metrics.ranking import ranking_metrics
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import RunFolder

FLAGS = flags.FLAGS
# Share of the best possible Recall@20 that the demo has to reach.
EXPECTED_SHARE = 0.9
SHOWN_METRICS = ("recall@20", "mrr@20")


def define_flags() -> None:
    """Defines the demo's flags."""
    flags.DEFINE_string("output_dir", None, "Where to leave everything; none: a new folder.")
    flags.DEFINE_integer("sessions", 40_000, "Training sessions to generate.", lower_bound=100)


def run() -> None:
    """Runs the demo; ValueError where it falls short of what it should reach."""
    folder = Path(FLAGS.output_dir or tempfile.mkdtemp(prefix="tfrec_demo_"))
    folder.mkdir(parents=True, exist_ok=True)
    world = PlantedWorld(PlantedConfig())
    train, test = world.sample(FLAGS.sessions, seed=1), world.sample(FLAGS.sessions // 10, seed=2)
    say(f"1. Generated {train.num_clicks} clicks of {train.num_items} items in {folder}")
    paths = {"train": folder / "train.tsv.gz", "test": folder / "test.tsv.gz"}
    write_session_log(train, paths["train"])
    write_session_log(test, paths["test"])

    say("2. Train, evaluate, export")
    run_dir, export_dir = folder / "run", folder / "served"
    run_module(
        "tfrec_zoo.trainers.gru4rec",
        "--config=demo",
        *(f"--{name}={path}" for name, path in paths.items()),
        f"--run_dir={run_dir}",
        f"--export_dir={export_dir}",
    )

    vocabulary = RunFolder(run_dir).load_vocabulary()
    train_rows, test_rows = (Sessions.from_log(log, vocabulary) for log in (train, test))
    best = world.best_possible(test, (20,))
    reached = RunFolder(run_dir).load_metrics()
    say("3. Next click of the test sessions, ranked among all items")
    print_table(
        {
            **measure_baselines(train_rows, test_rows, vocabulary.row_counts()),
            "GRU4Rec": reached,
            "best possible": best,
        }
    )

    say("4. Ask the exported model in a fresh process that has only TensorFlow")
    session = test.item_ids[test.item_codes[: min(test.lengths[0], 5)]]
    export = max(export_dir.glob("[0-9]*"), key=lambda path: int(path.name))
    query = Path(__file__).with_name("plain_query.py")
    run_command([sys.executable, query, export, *session], is_quiet=True)

    share = reached["recall@20"] / best["recall@20"]
    say(f"Reached {share:.1%} of the best possible Recall@20. Everything is in {folder}")
    if share < EXPECTED_SHARE:
        raise ValueError(f"the demo reached {share:.1%}, expected at least {EXPECTED_SHARE:.0%}")


def say(text: str) -> None:
    """Prints a heading at once, before a subprocess prints more."""
    print(f"\n== {text}", flush=True)


def measure_baselines(
    train: Sessions, test: Sessions, counts: np.ndarray
) -> dict[str, dict[str, float]]:
    """Returns the metrics of popularity and of a first-order Markov chain."""
    asked, known = (test.rows, test.offsets), (train.rows, train.offsets)
    popularity = popularity_ranks(*asked, counts, "pessimistic")
    markov = markov_ranks(*asked, *known, len(counts), "pessimistic")
    return {
        "popularity": ranking_metrics(popularity, (20,)),
        "Markov chain": ranking_metrics(markov, (20,)),
    }


def print_table(metrics: dict[str, dict[str, float]]) -> None:
    """Prints a line for each model."""
    print(f"{'':15}" + "".join(f"{name:>11}" for name in SHOWN_METRICS))
    for title, values in metrics.items():
        print(f"{title:15}" + "".join(f"{values[name]:11.4f}" for name in SHOWN_METRICS))


def run_module(module: str, *arguments: str) -> None:
    """Runs one of the zoo's programs in a process of its own."""
    run_command([sys.executable, "-m", module, *arguments])


def run_command(command: list, is_quiet: bool = False) -> None:
    """Runs a command, shown first; ValueError where it fails.

    Args:
        command: the program and its arguments.
        is_quiet: whether what it writes to stderr (TensorFlow's greetings) is left out.
    """
    command = [str(part) for part in command]
    print("$ " + shlex.join(["python", *command[1:]]), flush=True)
    done = subprocess.run(command, stderr=subprocess.DEVNULL if is_quiet else None)
    if done.returncode:
        raise ValueError(f"the command above ended with exit code {done.returncode}")


def main() -> None:
    """Entry of `make demo`."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
