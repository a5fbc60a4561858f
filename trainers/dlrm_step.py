"""One training step of DLRM: from a batch of examples to updated rows and weights."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.losses.click import binary_cross_entropy
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.trainers.batch_shards import cut_into_shards
from tfrec_zoo.trainers.row_step import Batch, Gradients, RowStep, gather_columns, take_gradients

# What of a step there is once, and not for each of its batches.
_OF_THE_STEP = ("is_valid", "columns_")
# What of a batch says which rows its examples have.
_OF_LOOKUPS = ("column_of_", "row_weights")
# Shards fill what enters the layers on top up to a multiple of this many columns, the floats of a
# wide register. TensorFlow's float32 step is a twentieth faster for it; one in bfloat16 is not.
_ALIGNMENT = 16


class DLRMStep(RowStep):
    """The step for batches of `tfrec_zoo.data.clicks.click_batches`.

    The gradients of several batches (`accumulate_steps`) are summed before they are applied, and
    are those of one large batch.
    """

    def __init__(self, model: DLRM, experiment: DLRMExperiment, *, num_shards: int = 0) -> None:
        """Takes the model apart into tables and dense weights.

        Args:
            model: what is trained.
            experiment: how.
            num_shards: in how many shards a batch is computed side by side, see `batch_shards`. XLA
                compiles what lies between their products, and the layers' update. 0: neither.
        """
        tables = [table.variable for table in model.tables.tables]
        super().__init__(model, tables, experiment.optimizer)
        self._config = experiment.loss
        self._num_shards = num_shards
        self._alignment = 1
        self._join = self._look_up
        if not num_shards and experiment.training.jit_compile is not False:
            model.prepare_for_xla()
        if num_shards:
            self._alignment = _ALIGNMENT if experiment.model.precision == "float32" else 1
            self._join = _compile(self._look_up)
            self._average_rows = _compile(lambda *sums: self.average(*sums)[0])
            self._move_layers = _compile(
                lambda step, *sums: self.optimizer.move_dense(self.average(*sums)[1], step)
            )

    def differentiate(self, batch: Batch, states: tuple, values: Sequence[tf.Tensor]) -> Gradients:
        """Returns the summed gradients of a step's batches; a click has no history."""
        parts = {n: array for n, array in batch.items() if not n.startswith(_OF_THE_STEP)}
        count = tf.math.count_nonzero(batch["is_valid"], dtype=tf.float32)
        num_parts = parts["labels"].shape[0]
        if num_parts == 1:
            loss, gradients = self._of_batch({n: a[0] for n, a in parts.items()}, values)
            return Gradients(loss, count, gradients, states)

        def add(index: tf.Tensor, loss: tf.Tensor, sums: list[tf.Tensor]) -> tuple:
            part = {name: array[index] for name, array in parts.items()}
            part_loss, gradients = self._of_batch(part, values)
            sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
            return index + 1, loss + part_loss, sums

        zeros = [tf.zeros_like(source) for source in (*values, *self.dense)]
        _, loss, gradients = tf.while_loop(
            lambda index, *_: index < num_parts,
            add,
            (tf.constant(0), tf.constant(0.0), zeros),
            parallel_iterations=1,
        )
        return Gradients(loss, count, gradients, states)

    def apply_to_dense(
        self, gradients: Sequence[tf.Tensor], count: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Takes the first half of a step, see `RowStep`.

        Shards have it compiled in two parts, so that tables do not wait for the layers.
        """
        if not self._num_shards:
            return super().apply_to_dense(gradients, count)
        step = self.optimizer.count_step()
        self._move_layers(step, gradients, count)
        return self._average_rows(gradients, count), step

    def _look_up(
        self, values: Sequence[tf.Tensor], examples: Mapping[str, tf.Tensor]
    ) -> list[tf.Tensor]:
        """Returns the model's `join` of examples, and their first-order weights if it has such.

        Args:
            values: float [U, W], what stands in the rows of each table.
            examples: of a batch, with the bottom MLP's outputs `bottom` if it has one.
        """
        gathered = [
            gather_columns(value, examples[f"column_of_{number}"])
            for number, value in enumerate(values)
        ]
        vectors, first_order = self.model.tables.pool(gathered, examples.get("row_weights"))
        joined = self.model.join(examples.get("bottom"), vectors, self._alignment)
        return [joined] if first_order is None else [joined, first_order]

    def _of_batch(
        self, part: Batch, values: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns a batch's loss, and its gradients by the gathered rows and the dense weights."""
        shards = cut_into_shards(part, self._num_shards or 1)
        shards = [self._of_shard(shard, values) for shard in shards]
        losses, gradients = zip(*shards, strict=True)
        return tf.add_n(losses), [tf.add_n(sums) for sums in zip(*gradients, strict=True)]

    def _of_shard(
        self, part: Batch, values: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        sources = [*values, *self.dense]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            examples = {n: a for n, a in part.items() if n.startswith(_OF_LOOKUPS)}
            bottom = self.model.encode_dense(part["dense"])
            if bottom is not None:
                examples["bottom"] = bottom
            joined, *first_order = self._join(values, examples)
            logits = self.model.predict_joined(joined, *(first_order or [None]), part.get("noise"))
            losses = binary_cross_entropy(
                part["labels"],
                logits,
                self._config.positive_weight,
                self._config.label_smoothing,
            )
            loss = tf.reduce_sum(losses * part["weights"])
        return loss, take_gradients(tape, loss, sources)


def _compile(function: Callable) -> Callable:
    return tf.function(function, jit_compile=True, autograph=False)
