"""Exact top-20 of the item index beside FAISS and TFRS, and what approximate indexes give.

    python benchmarks/item_index.py --items=100000 --items=1000000 --rounds=3

Items and queries are random directions, the hardest case for an approximation; `--clusters` draws
them around as many centres instead. Each side runs in a fresh process, and the sides take turns,
since other work on the machine comes and goes: compare within a run. FAISS needs
`pip install 'tfrec-zoo[faiss]'`, Milvus `'tfrec-zoo[milvus]'`; ScaNN a Python of its own with
TensorFlow 2.20, tensorflow-recommenders, scann, pandas and pyarrow (`--scann_python`). A side whose
package is missing is left out.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import flags
from item_index_worker import BATCH_SIZES, Settings, list_sides

from tfrec_zoo.program import run_program

FLAGS = flags.FLAGS
FOLDER = Path(__file__).resolve().parent
SIDES = list(list_sides(1))
# Milvus' embedded form walks through all items in Python with each search.
MAX_MILVUS_ITEMS = 200_000


def define_flags() -> None:
    """Defines the benchmark's flags."""
    flags.DEFINE_multi_integer("items", [100_000, 1_000_000], "Catalogue sizes.", lower_bound=1)
    flags.DEFINE_multi_enum("side", SIDES, SIDES, "Whom to run.")
    flags.DEFINE_integer("width", 128, "Numbers of a vector.", lower_bound=1)
    flags.DEFINE_integer("clusters", 0, "Centres of the vectors; 0: none.", lower_bound=0)
    flags.DEFINE_integer("rounds", 3, "Times that the sides take turns.", lower_bound=1)
    flags.DEFINE_integer("threads", 2, "Threads of a process.", lower_bound=1)
    flags.DEFINE_float("seconds", 10.0, "Searching for each batch size and round.")
    flags.DEFINE_string("scann_python", None, "Python with TensorFlow 2.20, TFRS and ScaNN.")


def run() -> None:
    """Measures all sides and prints a table for each size."""
    for num_items in FLAGS.items:
        sides = [
            side
            for side in FLAGS.side
            if not (side == "scann" and not FLAGS.scann_python)
            and not (side.startswith("milvus") and num_items > MAX_MILVUS_ITEMS)
        ]
        results = {side: [] for side in sides}
        for _ in range(FLAGS.rounds):
            for side in sides:
                result = measure(side, num_items)
                if result is not None:
                    results[side].append(result)
        print_table(num_items, results)


def measure(side: str, num_items: int) -> dict | None:
    """Runs a worker and returns what it reports; None where the side's package is missing."""
    settings = Settings(
        side=side,
        num_items=num_items,
        width=FLAGS.width,
        num_clusters=FLAGS.clusters,
        threads=FLAGS.threads,
        seconds=FLAGS.seconds,
    )
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(FLAGS.threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": str(FOLDER.parent),
    }
    python = FLAGS.scann_python if side == "scann" else sys.executable
    command = [python, str(FOLDER / "item_index_worker.py"), settings.to_json()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        message = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{side} is left out: {message}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_table(num_items: int, results: dict[str, list[dict]]) -> None:
    """Prints a line for each side; times are those of all rounds together."""
    print(f"\n{num_items:,} items of {FLAGS.width}, top {Settings.k}, {FLAGS.threads} threads")
    header = "".join(f"{f'batch {size} ms (p99)':>24}{'x zoo':>7}" for size in BATCH_SIZES)
    print(f"{'':18}{header}{'recall':>8}{'build s':>9}{'index MB':>10}{'search MB':>11}")
    medians = {}
    for side, rounds in results.items():
        if not rounds:
            continue
        line = f"{side:18}"
        for size in BATCH_SIZES:
            times = np.concatenate([result["milliseconds"][str(size)] for result in rounds])
            medians[side, size] = np.median(times)
            text = f"{medians[side, size]:.2f} ({np.quantile(times, 0.99):.2f})"
            zoo = medians.get(("zoo", size))
            line += f"{text:>24}" + (f"{medians[side, size] / zoo:7.2f}" if zoo else " " * 7)
        columns = {"recall": "8.3f", "build_seconds": "9.1f"}
        columns |= {"index_megabytes": "10.0f", "search_megabytes": "11.0f"}
        for name, form in columns.items():
            line += format(np.median([result[name] for result in rounds]), form)
        print(line, flush=True)


def main() -> None:
    """Entry of the benchmark."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
