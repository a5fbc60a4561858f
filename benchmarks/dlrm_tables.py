"""Time and memory of a DLRM training step as its tables grow: the time should stay.

    python benchmarks/dlrm_tables.py --peer=dlrm --peer_python=peer/bin/python

Random examples; the first of 26 tables, of width 16, has the given number of rows, all equally
likely (the worst case: hardly a row twice), the others have 1,000. The sides are those of dlrm.py.
Each size runs in fresh processes; the time is that of the last epoch, the best of some rounds.
"""

import json
import tempfile
from pathlib import Path

from absl import flags
from dlrm_data import draw_clicks
from dlrm_settings import LEARNING_RATES, Settings
from dlrm_sides import define_side_flags, list_sides
from dlrm_worker import INFERENCE_BATCH

from tfrec_zoo.program import run_program

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the benchmark's flags."""
    define_side_flags()
    flags.DEFINE_multi_integer("rows", [10**4, 10**5, 10**6, 10**7], "Rows of the large tables.")
    flags.DEFINE_integer("large_tables", 1, "How many of the tables are large.", lower_bound=1)
    flags.DEFINE_multi_enum("optimizer", ["sgd", "adagrad"], list(LEARNING_RATES), "Optimizers.")
    flags.DEFINE_integer("batch_size", 128, "Examples of a step.", lower_bound=1)
    flags.DEFINE_integer("steps", 200, "Steps of an epoch.", lower_bound=1)
    flags.DEFINE_integer("rounds", 3, "Runs of each side.", lower_bound=1)
    flags.DEFINE_string("output", None, "JSON file for all numbers.")


def run() -> None:
    """Measures each optimizer and size, and prints a table."""
    results = []
    print(f"{'optimizer':18}{'rows':>12}  {'side':20}{'ms a step':>12}{'peak MB':>10}")
    for optimizer in FLAGS.optimizer:
        for num_rows in FLAGS.rows:
            for result in measure(optimizer, num_rows):
                results.append(result)
                print(
                    "{optimizer:18}{rows:12d}  {side:20}{milliseconds:12.3f}{peak:10.0f}".format(
                        **result
                    ),
                    flush=True,
                )
    if FLAGS.output:
        Path(FLAGS.output).write_text(json.dumps(results, indent=2) + "\n")


def measure(optimizer: str, num_rows: int) -> list[dict]:
    """Lets the sides run in turn, and returns the milliseconds of a step and megabytes of each."""
    sides = [side for side in list_sides() if optimizer in side.optimizers]
    runs: dict[str, list[dict]] = {side.name: [] for side in sides}
    num_train = FLAGS.steps * FLAGS.batch_size
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/clicks.npz"
        draw_clicks(num_rows, FLAGS.large_tables, num_train, INFERENCE_BATCH).save(path)
        settings = Settings(path, optimizer, FLAGS.batch_size, threads=FLAGS.threads)
        for _ in range(FLAGS.rounds):
            for side in sides:
                runs[side.name].append(side.measure(settings))
    return [
        {
            "optimizer": optimizer,
            "rows": num_rows,
            "side": name,
            # The fastest run is the one that was disturbed least.
            "milliseconds": 1e3 * FLAGS.batch_size / max(r["examples_per_second"] for r in ones),
            "peak": max(one["peak_megabytes"] for one in ones),
        }
        for name, ones in runs.items()
    ]


def main() -> None:
    """Entry of the benchmark."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
