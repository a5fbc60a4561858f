"""Worker: a step of two replicas that exchange the gradient of a table as rows, or the whole of it.

    python benchmarks/distribution_exchange.py --rows=1000000

A table of the given size, Adagrad, and a step that reads --columns of its rows; the gradient of a
row is the row itself, so that hardly anything is calculated and the time is that of the exchange
and of the update. What runs the steps is the zoo's `ReplicaDriver`, on two parts of the processor:

    shared rows  replicas share negatives: all read the same rows, whose gradients are summed
    own rows     each has rows of its own: rows and gradients are gathered and merged
    whole table  the rows' gradients stand in a gradient of the whole table, which is summed, and
                 the optimizer walks the table

The sides take turns; a time is the median of the rounds. Prints JSON.
"""

import json
import statistics
import time
from types import SimpleNamespace
from typing import Any

from absl import flags

from tfrec_zoo.freed_memory import keep_freed_memory
from tfrec_zoo.program import run_program
from tfrec_zoo.quiet_start import quieten_tensorflow

FLAGS = flags.FLAGS
# Examples of a step, on which nothing depends.
NUM_EXAMPLES = 128
# Of weights that have taken the same steps on the same gradients in another order.
TOLERANCE = 1e-4
SHARED, OWN, WHOLE = "shared rows", "own rows", "whole table"


def define_flags() -> None:
    """Defines the worker's flags."""
    flags.DEFINE_integer("rows", 10**5, "Rows of the table.", lower_bound=2)
    flags.DEFINE_integer("width", 64, "Numbers of a row.", lower_bound=1)
    flags.DEFINE_integer("columns", 2176, "Distinct rows that a step reads.", lower_bound=1)
    flags.DEFINE_integer("steps", 10, "Steps of a round.", lower_bound=1)
    flags.DEFINE_integer("rounds", 3, "Rounds, behind one that compiles.", lower_bound=1)


def run() -> None:
    """Measures the sides and prints their milliseconds a step."""
    quieten_tensorflow()
    keep_freed_memory()
    drivers = {SHARED: make_driver(True, True), OWN: make_driver(False, True)}
    drivers[WHOLE] = make_driver(True, False)
    seconds: dict[str, list[float]] = {name: [] for name in drivers}
    for number in range(1 + FLAGS.rounds):
        for name, (driver, _) in drivers.items():
            for blocks in driver.rounds(number, 0):
                start = time.perf_counter()
                driver.run(blocks, ())
                if number:
                    passed = time.perf_counter() - start
                    seconds[name].append(passed / driver.num_steps(blocks))
    check_equal(drivers[SHARED][1], drivers[WHOLE][1])
    report = {name: 1e3 * statistics.median(found) for name, found in seconds.items()}
    sizes = {"rows": FLAGS.rows, "width": FLAGS.width, "columns": min(FLAGS.columns, FLAGS.rows)}
    print(json.dumps({**sizes, "milliseconds": report}))


def make_driver(share_negatives: bool, is_sparse: bool) -> tuple[Any, Any]:
    """Returns a driver of two devices with a task, and the table that it trains."""
    import tensorflow as tf

    from tfrec_zoo.trainers.drivers.replicas import ReplicaDriver

    processor = tf.config.list_physical_devices("CPU")[0]
    if not tf.config.get_logical_device_configuration(processor):
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
        tf.config.set_logical_device_configuration(processor, parts)
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice()
    )
    driver = ReplicaDriver(strategy, share_negatives=share_negatives)
    with driver.scope():
        step = make_step(is_sparse)
    axes = {"is_valid": 1}
    task = SimpleNamespace(step=step, example_axes=axes, blocks=make_blocks)
    driver.take(task, jit_compile=True, num_epochs=1 + FLAGS.rounds)
    return driver, step.model.table


def make_step(is_sparse: bool) -> Any:
    """Returns a step whose table is one to the engine, or a weight like any other."""
    import tensorflow as tf
    import tf_keras

    from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig
    from tfrec_zoo.trainers.row_step import Gradients, RowStep

    class TableModel(tf_keras.Model):
        """A table."""

        def __init__(self) -> None:
            super().__init__()
            shape = [FLAGS.rows, FLAGS.width]
            self.table = self.add_weight(name="item_table", shape=shape, initializer="ones")
            self.built = True

    class TableStep(RowStep):
        """Pulls the rows of a step towards 0."""

        def rows(self, batch: dict) -> list[tf.Tensor]:
            return [batch["columns"]] if is_sparse else []

        def differentiate(self, batch: dict, states: tuple, values: list) -> Gradients:
            columns, loss = batch["columns"], tf.constant(0.0)
            count = tf.math.count_nonzero(batch["is_valid"], dtype=tf.float32)
            if is_sparse:
                return Gradients(loss, count, [tf.identity(values[0])], states)
            rows = tf.gather(self.dense[0], columns)
            gradient = tf.math.unsorted_segment_sum(rows, columns, FLAGS.rows)
            return Gradients(loss, count, [gradient], states)

    model = TableModel()
    tables = [model.table] if is_sparse else []
    return TableStep(model, tables, OptimizerConfig(optimizer="adagrad", learning_rate=0.01))


def make_blocks(epoch: int, first_block: int, stream: int = 0) -> Any:
    """Yields the one block of an epoch, of a stream's own rows."""
    import numpy as np

    del first_block
    rng = np.random.default_rng((epoch, stream))
    count = min(FLAGS.columns, FLAGS.rows)
    columns = [rng.choice(FLAGS.rows, count, replace=False) for _ in range(FLAGS.steps)]
    yield {
        "num_steps": np.array(FLAGS.steps, np.int32),
        "is_valid": np.ones((FLAGS.steps, NUM_EXAMPLES), bool),
        "columns": np.sort(np.array(columns, np.int32), axis=1),
    }


def check_equal(first: Any, second: Any) -> None:
    """Raises ValueError where two tables differ: then something else was measured."""
    import tensorflow as tf

    difference = float(tf.reduce_max(tf.abs(first.values[0] - second.values[0])))
    if not difference < TOLERANCE:
        raise ValueError(
            f"the tables differ by {difference}, expected less than {TOLERANCE}: rows and the "
            "whole table were not trained alike"
        )


if __name__ == "__main__":
    run_program(run, define_flags)
