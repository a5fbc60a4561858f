"""Time and memory of a GRU4Rec training step as the catalogue grows: the time should stay.

    python benchmarks/gru4rec_catalogue.py

Planted sessions, cross-entropy, 32 lanes, hidden 100, 2048 negatives drawn uniformly from the whole
catalogue (the worst case: hardly a row twice). Each size runs in a fresh process.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

from absl import flags

from tfrec_zoo.program import run_program

FLAGS = flags.FLAGS
WARM_UP_BLOCKS = 3


def define_flags() -> None:
    """Defines the benchmark's flags."""
    flags.DEFINE_multi_integer("items", [10_000, 100_000, 1_000_000], "Catalogue sizes.")
    flags.DEFINE_integer("blocks", 20, "Blocks of 100 steps that are timed.", lower_bound=1)
    flags.DEFINE_integer("worker_items", 0, "Measures one size in this process (internal).")


def run() -> None:
    """Measures each size in a process of its own and prints a table."""
    if FLAGS.worker_items:
        print(json.dumps(measure(FLAGS.worker_items, FLAGS.blocks)))
        return
    print(f"{'items':>10}{'ms a step':>12}{'peak MB':>10}{'table MB':>10}")
    for num_items in FLAGS.items:
        command = [
            sys.executable,
            __file__,
            f"--worker_items={num_items}",
            f"--blocks={FLAGS.blocks}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout.strip().splitlines()[-1])
        print(
            "{items:10d}{milliseconds:12.3f}{peak:10.0f}{table:10.1f}".format(**result), flush=True
        )


def measure(num_items: int, num_blocks: int) -> dict[str, float]:
    """Returns the median milliseconds of a step, and megabytes."""
    import numpy as np

    from tfrec_zoo.data.block_dataset import BlockFeed
    from tfrec_zoo.data.sessions.planted_sessions import PlantedConfig, PlantedWorld
    from tfrec_zoo.data.sessions.session_log import Sessions
    from tfrec_zoo.experiments import GRU4RecExperiment
    from tfrec_zoo.trainers.drivers.block_runner import make_block_runner
    from tfrec_zoo.trainers.gru4rec_task import GRU4RecTask
    from tfrec_zoo.vocabulary import Vocabulary

    log = PlantedWorld(PlantedConfig(num_items=num_items)).sample(50_000, seed=1)
    seen = Vocabulary.from_codes(log.item_ids, log.item_codes)
    # Every item of the catalogue has a row and can be drawn, clicked or not.
    width = len(log.item_ids[0]) - len("item-")
    unseen = sorted({f"item-{i:0{width}d}" for i in range(num_items)} - set(seen.ids))
    vocabulary = seen.extend(unseen, np.ones(len(unseen), np.int64))
    experiment = GRU4RecExperiment.from_dict({"batches": {"popularity_exponent": 0.0}})
    task = GRU4RecTask(experiment, Sessions.from_log(log, vocabulary), vocabulary)
    run_block = make_block_runner(task.step, jit_compile=True)
    states, seconds = task.initial_states(), []
    for index, block in enumerate(BlockFeed(task.blocks, num_epochs=1)(0)):
        start = time.perf_counter()
        losses, _, states = run_block(block, states)
        losses.numpy()
        if index >= WARM_UP_BLOCKS:
            seconds.append((time.perf_counter() - start) / int(block["num_steps"]))
        if len(seconds) == num_blocks:
            break
    table = task.model.item_table
    return {
        "items": num_items,
        "milliseconds": statistics.median(seconds) * 1e3,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "table": table.shape.num_elements() * table.dtype.size / 2**20,
    }


def main() -> None:
    """Entry of the benchmark."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
