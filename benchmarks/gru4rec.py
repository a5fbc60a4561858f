"""Training and evaluation speed of GRU4Rec beside the official PyTorch code, in one run.

    python benchmarks/gru4rec.py --peer=GRU4Rec_PyTorch_Official --peer_python=peer/bin/python \\
        --train=yoochoose1_64_train.tsv.gz --test=yoochoose1_64_test.tsv.gz

The two take turns, each in a fresh process with the same data, parameters and threads; medians are
quoted, and the ratio of neighbouring runs, since machines are noisy. The official code needs torch,
`pandas<2.3` and `numpy<2`; without --peer the zoo is measured alone.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from absl import flags
from gru4rec_settings import Settings

from tfrec_zoo.program import run_program

FLAGS = flags.FLAGS
FOLDER = Path(__file__).resolve().parent
SHOWN = ("events_per_second", "evaluation_seconds", "recall", "mrr", "peak_megabytes")


def define_flags() -> None:
    """Defines the benchmark's flags."""
    flags.DEFINE_string("peer", None, "Clone of the official PyTorch GRU4Rec.")
    flags.DEFINE_string("peer_python", sys.executable, "Python with the peer's packages.")
    flags.DEFINE_string("train", None, "Training log, TSV.", required=True)
    flags.DEFINE_string("test", None, "Test log, TSV.", required=True)
    flags.DEFINE_multi_enum("loss", ["cross_entropy", "bpr_max"], ["cross_entropy", "bpr_max"], "")
    flags.DEFINE_multi_integer("lanes", [32, 128], "Sessions side by side.")
    flags.DEFINE_integer("rounds", 3, "Runs of each side.", lower_bound=1)
    flags.DEFINE_integer("epochs", 2, "Epochs of a run; the last one is timed.", lower_bound=2)
    flags.DEFINE_integer("threads", 2, "Threads of a process.", lower_bound=1)
    flags.DEFINE_string("output", None, "JSON file for all numbers.")


def run() -> None:
    """Measures each loss and number of lanes."""
    results = []
    for loss in FLAGS.loss:
        for lanes in FLAGS.lanes:
            settings = Settings(FLAGS.train, FLAGS.test, loss, lanes, FLAGS.epochs, FLAGS.threads)
            results.append(compare(settings))
    if FLAGS.output:
        Path(FLAGS.output).write_text(json.dumps(results, indent=2) + "\n")


def compare(settings: Settings) -> dict:
    """Lets both sides run in turn and prints a table of their medians."""
    workers = {"zoo": (sys.executable, "gru4rec_zoo.py")}
    if FLAGS.peer:
        workers["official"] = (FLAGS.peer_python, "gru4rec_official.py")
    runs = {name: [] for name in workers}
    for _ in range(FLAGS.rounds):
        for name, (python, script) in workers.items():
            runs[name].append(measure(python, script, settings))
    medians = {
        name: {key: statistics.median(one[key] for one in ones) for key in ones[0]}
        for name, ones in runs.items()
    }
    print(f"\n{settings.loss}, {settings.lanes} lanes, median of {FLAGS.rounds} alternating runs")
    print(f"{'':10}" + "".join(f"{key:>20}" for key in SHOWN))
    for name, numbers in medians.items():
        print(f"{name:10}" + "".join(f"{numbers[key]:20.4g}" for key in SHOWN))
    ratios = {}
    if FLAGS.peer:
        ratios = {
            "training": ratio(runs["zoo"], runs["official"], "events_per_second"),
            "evaluation": ratio(runs["official"], runs["zoo"], "evaluation_seconds"),
        }
        print("zoo / official: " + ", ".join(f"{k} {v:.2f} times" for k, v in ratios.items()))
    sys.stdout.flush()
    return {"loss": settings.loss, "lanes": settings.lanes, "runs": runs, "ratios": ratios}


def ratio(above: list[dict], below: list[dict], key: str) -> float:
    """Returns the median of the ratios of neighbouring runs."""
    return statistics.median(a[key] / b[key] for a, b in zip(above, below, strict=True))


def measure(python: str, script: str, settings: Settings) -> dict[str, float]:
    """Runs a worker and returns what it reports."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads)}
    if script == "gru4rec_official.py":
        environment["PYTHONPATH"] = os.path.abspath(FLAGS.peer)
    command = [python, str(FOLDER / script), settings.to_json()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{script} failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Entry of the benchmark."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
