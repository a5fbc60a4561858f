"""A training step in parts: the rows that it reads, its gradients, and what it writes back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from tfrec_zoo.distributed_variables import list_parts, read_rows
from tfrec_zoo.layers.xla_order import zero_after
from tfrec_zoo.optimizers.on_servers import ServerOptimizer
from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig
from tfrec_zoo.optimizers.row_sparse import RowGradient, make_optimizer

Batch = dict[str, tf.Tensor]
States = tuple[tf.Tensor, ...]


class Gradients(NamedTuple):
    """What a step finds out about its batch.

    Sums over the batch's examples, so that those of the parts of a batch can be added: `loss`
    float [], `count` float [], what the gradients have to be divided by in the end, and
    `gradients` with respect to the rows that were read of each table, float [U, W], and behind them
    to the dense weights. `states` are those after the batch.
    """

    loss: tf.Tensor
    count: tf.Tensor
    gradients: list[tf.Tensor]
    states: States


class RowStep(tf.Module):
    """`step(batch, states) -> loss, states`: trains a model on one step of a block.

    The distinct rows of a step are read once; gradients are taken with respect to them, and the
    optimizer writes them back: nothing in a step depends on the size of the tables. Replicas and
    servers do the same in parts, see `tfrec_zoo.trainers.drivers`.

    Attributes:
        model: what is trained.
        tables: its variables of which a step reads some rows.
        dense: its other weights.
        optimizer: of both.
    """

    def __init__(
        self,
        model: tf_keras.Model,
        tables: Sequence[tf.Variable],
        optimizer: OptimizerConfig,
    ) -> None:
        """Takes the model apart into tables and dense weights."""
        super().__init__(name="step")
        self.model = model
        self.tables = list(tables)
        in_tables = {id(part) for table in self.tables for part in list_parts(table)}
        self.dense = [v for v in model.trainable_variables if id(v) not in in_tables]
        is_served = isinstance(tf.distribute.get_strategy(), tf.distribute.ParameterServerStrategy)
        make = ServerOptimizer if is_served else make_optimizer
        self.optimizer = make(optimizer, self.tables, self.dense)

    def rows(self, batch: Batch) -> list[tf.Tensor]:
        """Returns the rows that a batch reads of each table, int32 [U], see `RowGradient`."""
        return [batch[f"columns_{number}"] for number in range(len(self.tables))]

    def differentiate(self, batch: Batch, states: States, values: Sequence[tf.Tensor]) -> Gradients:
        """Returns the gradients of a batch, or of a replica's part of it.

        Args:
            batch: one step of a block.
            states: of a model with a history.
            values: float [U, W], what stands in the `rows` of each table.
        """
        raise NotImplementedError

    def read(self, batch: Batch) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the rows of each table that a batch reads, and what stands in them."""
        rows = self.rows(batch)
        return rows, [read_rows(table, r) for table, r in zip(self.tables, rows, strict=True)]

    def __call__(self, batch: Batch, states: States) -> tuple[tf.Tensor, Any]:
        """Trains on one step.

        Args:
            batch: one step of a block.
            states: of a model with a history; empty for others.

        Returns:
            The sum of the valid examples' losses, float [], and the states after it.
        """
        rows, values = self.read(batch)
        found = self.differentiate(batch, states, values)
        self.apply(rows, values, found.gradients, found.count)
        return found.loss, found.states

    def apply(
        self,
        rows: Sequence[tf.Tensor],
        values: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor],
        count: tf.Tensor,
    ) -> None:
        """Takes the optimizer's step by the sums that `differentiate` has found."""
        of_tables, step = self.apply_to_dense(gradients, count)
        self.apply_to_tables(rows, values, of_tables, step)

    def apply_to_dense(
        self, gradients: Sequence[tf.Tensor], count: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Takes the first half of the same step, that of the dense weights.

        Returns:
            What the rows of each table are moved by, float [U, W], and the number of the step.
        """
        step = self.optimizer.count_step()
        of_tables, of_dense = self.average(gradients, count)
        self.optimizer.move_dense(of_dense, step)
        return of_tables, step

    def average(
        self, gradients: Sequence[tf.Tensor], count: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the clipped mean gradients of the rows of each table, and of the dense weights.

        Args:
            gradients: sums over the batch's examples, see `Gradients`.
            count: what they are divided by.
        """
        num_tables = len(self.tables)
        # Not a division, whose quotients XLA would write to memory where a rule needs them twice.
        share = 1.0 / tf.maximum(count, 1.0)
        # XLA moves a weight as soon as it knows the gradient, between the products that still read
        # it, and copies it first: GRU4Rec's step of 100 units took 1.2 times as long. So dense
        # weights wait for what is found last, the gradients of tables and of the first of them.
        late_share = share + zero_after(gradients[: num_tables + 1])
        of_tables = [gradient * share for gradient in gradients[:num_tables]]
        of_dense = [gradient * late_share for gradient in gradients[num_tables:]]
        return self.optimizer.clip(of_tables, of_dense)

    def apply_to_tables(
        self,
        rows: Sequence[tf.Tensor],
        values: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor],
        step: tf.Tensor,
    ) -> None:
        """Takes the second half, by what the first one has returned."""
        self.optimizer.move_tables(list(map(RowGradient, rows, values, gradients)), step)

    @property
    def dense_variables(self) -> list[tf.Variable]:
        """The weights outside of the tables, and what the optimizer keeps of each."""
        return [*self.dense, *self.optimizer.slots_of_dense()]

    def table_variables(self, number: int) -> list[tf.Variable]:
        """Returns a table, and what the optimizer keeps of its rows."""
        return [self.tables[number], *self.optimizer.slots_of_table(number)]


@tf.custom_gradient
def gather_columns(values: tf.Tensor, columns: tf.Tensor):
    """Returns `tf.gather(values, columns)`, whose gradient is an array.

    That of `tf.gather` is a list of slices, summed where somebody asks for the sum: behind the end
    of a part that XLA compiles, where it takes eight times as long.

    Args:
        values: float [U, W].
        columns: int32 [...], into the first axis.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        slices = tf.reshape(upstream, [-1, upstream.shape[-1]])
        count = tf.shape(values)[0]
        return tf.math.unsorted_segment_sum(slices, tf.reshape(columns, [-1]), count), None

    return tf.gather(values, columns), gradient


def take_gradients(
    tape: tf.GradientTape, loss: tf.Tensor, sources: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Returns the gradients of `loss`, float [], with respect to `sources`.

    A gather's gradient has duplicate slices, which are summed. A network of one's own may have a
    weight that a step does not reach: its gradient is zero.
    """
    gradients = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(gradient) for gradient in gradients]
