"""Latency of exports: each model, signature and consumer, beside what peers export.

    python benchmarks/serving.py
    python benchmarks/serving.py --export=served/1 --export=served_onnx/1

Without --export a GRU4Rec and a DLRM with random weights are exported first, in every format whose
package is there. The peers of GRU4Rec have random weights of --items and --hidden: a Keras model
with a GRU and a dense layer of scores (`recommend_rows`), the same in ONNX Runtime, and the
retrieval of TensorFlow Recommenders, `BruteForce`, with the same GRU as its query model
(`recommend`).

The sides take turns, each in a fresh process with --threads threads, and are asked the same. Times
are those from arrays to arrays in Python. A SavedModel is asked in a `session`, which is how
TensorFlow Serving and programs in C run it, and by its signature called from Python (`tensorflow`).
A ratio says how many times as long a side takes as the SavedModel of the zoo does (sessions beside
sessions, all others beside `tensorflow`), in the same round: the median of the rounds. The least
times, and their ratio, are those to go by where other work keeps the machine busy.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags
from serving_cases import Case, Side, list_cases
from serving_worker import Settings, write_requests

from tfrec_zoo.program import run_program

FLAGS = flags.FLAGS
FOLDER = Path(__file__).resolve().parent
HEADS = ("median ms", "p99 ms", "least ms", "x zoo", "x least")


def define_flags() -> None:
    """Defines the benchmark's flags."""
    flags.DEFINE_multi_string("export", [], "Folders of versions; none: planted models.")
    flags.DEFINE_multi_string("signature", [], "Which ones; none: all.")
    flags.DEFINE_integer("items", 17_377, "Items of the planted models.", lower_bound=1)
    flags.DEFINE_integer("hidden", 100, "Units of the planted GRUs.", lower_bound=1)
    flags.DEFINE_multi_integer("clicks", [2, 50], "Clicks of a session.", lower_bound=1)
    flags.DEFINE_boolean("peers", True, "Ask the peers, too.")
    flags.DEFINE_integer("rounds", 3, "Times that the sides take turns.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Threads of a process.", lower_bound=1)
    flags.DEFINE_float("seconds", 2.0, "Asking for each request and round.")
    flags.DEFINE_string("planted", None, "Folder for the planted models, to be used again.")
    flags.DEFINE_string("output", None, "JSON file for all numbers.")


def run() -> None:
    """Measures all signatures and prints a table for each."""
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        planted = Path(FLAGS.planted or scratch) / "planted"
        if (FLAGS.peers or not FLAGS.export) and not planted.exists():
            plant(planted)
        versions = [Path(path) for path in FLAGS.export] or sorted(planted.glob("[gd]*/*/[0-9]*"))
        for case in list_cases(versions, planted if FLAGS.peers else None, FLAGS.clicks):
            if not FLAGS.signature or case.signature in FLAGS.signature:
                results += compare(case, Path(scratch))
    if FLAGS.output:
        Path(FLAGS.output).write_text(json.dumps(results, indent=2) + "\n")


def plant(folder: Path) -> None:
    """Makes the models in a process of their own.

    Raises:
        ValueError: it has failed.
    """
    sizes = [FLAGS.items, FLAGS.hidden, *FLAGS.clicks]
    command = [sys.executable, str(FOLDER / "serving_models.py"), str(folder), *map(str, sizes)]
    if FLAGS.export:
        command.append("--peers_only")
    run_process(command)


def compare(case: Case, scratch: Path) -> list[dict]:
    """Lets the sides of a signature take turns, prints a table, and returns its lines."""
    rounds: list[dict[str, dict]] = []
    for _ in range(FLAGS.rounds):
        rounds.append({})
        for side in case.sides:
            rounds[-1].setdefault(side.name, {}).update(measure(side, case, scratch))
    print(f"\n{case.model} {case.signature}, {FLAGS.threads} threads, {FLAGS.rounds} rounds")
    print(f"{'':24}{'':28}" + "".join(f"{head:>12}" for head in HEADS))
    lines = []
    for request in case.requests:
        for name, reference in {side.name: side.reference for side in case.sides}.items():
            found = [one[name][request] for one in rounds if request in one[name]]
            if found:
                zoo = [one[reference][request] for one in rounds]
                line = summarize(found, zoo)
                print(f"{request:24}{name:28}" + "".join(f"{v:12.3f}" for v in line.values()))
                about = {"model": case.model, "signature": case.signature}
                lines.append({**about, "request": request, "side": name, **line})
    sys.stdout.flush()
    return lines


def summarize(found: list[dict], zoo: list[dict]) -> dict[str, float]:
    """Returns a line of the table, from a side's results of all rounds and the zoo's."""
    times = np.concatenate([one["milliseconds"] for one in found])

    def compare_by(statistic: Callable[[list[float]], float]) -> float:
        pairs = zip(found, zoo, strict=True)
        return statistics.median(
            statistic(a["milliseconds"]) / statistic(b["milliseconds"]) for a, b in pairs
        )

    return {
        "median": float(np.median(times)),
        "p99": float(np.quantile(times, 0.99)),
        "least": float(times.min()),
        "median_ratio": compare_by(statistics.median),
        "least_ratio": compare_by(min),
    }


def measure(side: Side, case: Case, scratch: Path) -> dict[str, dict]:
    """Runs a worker, and returns what it reports of each request that fits the side."""
    path = scratch / "requests.npz"
    requests = {name: each for name, each in case.requests.items() if side.answers(each)}
    write_requests(path, requests)
    settings = Settings(
        consumer=side.consumer,
        path=str(side.path.resolve()),
        signature=case.signature,
        requests=str(path),
        threads=FLAGS.threads,
        seconds=FLAGS.seconds,
    )
    arguments = json.dumps(dataclasses.asdict(settings))
    output = run_process([sys.executable, str(FOLDER / "serving_worker.py"), arguments])
    return json.loads(output.strip().splitlines()[-1])


def run_process(command: list[str]) -> str:
    """Returns what a process says.

    Raises:
        ValueError: it has failed; with the last line that it said.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(FLAGS.threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": str(FOLDER.parent),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    left_out = [line for line in done.stderr.splitlines() if "is left out" in line]
    print(*left_out, sep="\n", end="\n" if left_out else "", file=sys.stderr)
    if done.returncode:
        raise ValueError(f"{Path(command[1]).name}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def main() -> None:
    """Entry of the benchmark."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
