"""One training step of DLRM: from a batch of examples to updated rows and weights."""

import tensorflow as tf

from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.losses.click import binary_cross_entropy
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.optimizers.row_sparse import make_optimizer

Batch = dict[str, tf.Tensor]


class DLRMStep(tf.Module):
    """`step(batch, states) -> loss, states` for batches of `tfrec_zoo.data.clicks.click_batches`.

    The distinct rows of a step are gathered once; gradients are taken with respect to them, and the
    optimizer writes them back: nothing in a step depends on the size of the tables. The gradients
    of several batches (`accumulate_steps`) are summed before, and are those of one large batch.
    """

    def __init__(self, model: DLRM, experiment: DLRMExperiment) -> None:
        """Takes the model apart into tables and dense weights."""
        super().__init__(name="step")
        self.model = model
        self._config = experiment.loss
        self._tables = [table.variable for table in model.tables.tables]
        in_tables = {id(table) for table in self._tables}
        self._dense = [v for v in model.trainable_variables if id(v) not in in_tables]
        self.optimizer = make_optimizer(experiment.optimizer, self._tables, self._dense)

    @property
    def dense_variables(self) -> list[tf.Variable]:
        """The weights outside of the tables, and what the optimizer keeps of each."""
        return [*self._dense, *self.optimizer.slots_of_dense()]

    def table_variables(self, number: int) -> list[tf.Variable]:
        """Returns a store's table, and what the optimizer keeps of its rows."""
        return [self._tables[number], *self.optimizer.slots_of_table(number)]

    def __call__(self, batch: Batch, states: tuple) -> tuple[tf.Tensor, tuple]:
        """Trains on one step.

        Args:
            batch: one step of a block, see `ClickBatches`.
            states: passed through, for a click has no history.

        Returns:
            The sum of the examples' losses, each times its weight, float [], and `states`.
        """
        rows = [batch[f"columns_{number}"] for number in range(len(self._tables))]
        values = [tf.gather(table, r) for table, r in zip(self._tables, rows, strict=True)]
        num_valid = tf.math.count_nonzero(batch["is_valid"], dtype=tf.float32)
        parts = {
            name: array
            for name, array in batch.items()
            if name != "is_valid" and not name.startswith("columns_")
        }
        loss_sum, gradients = self._accumulate(parts, values, tf.maximum(num_valid, 1.0))
        self.optimizer.apply_gathered(rows, values, gradients)
        return loss_sum, states

    def _accumulate(
        self, parts: Batch, values: list[tf.Tensor], divisor: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns the loss and the gradients of all batches of a step, summed."""
        num_parts = parts["labels"].shape[0]
        if num_parts == 1:
            return self._differentiate({n: a[0] for n, a in parts.items()}, values, divisor)

        def add(index: tf.Tensor, loss_sum: tf.Tensor, sums: list[tf.Tensor]) -> tuple:
            part = {name: array[index] for name, array in parts.items()}
            loss, gradients = self._differentiate(part, values, divisor)
            sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
            return index + 1, loss_sum + loss, sums

        zeros = [tf.zeros_like(variable) for variable in (*values, *self._dense)]
        _, loss_sum, gradients = tf.while_loop(
            lambda index, *_: index < num_parts,
            add,
            (tf.constant(0), tf.constant(0.0), zeros),
            parallel_iterations=1,
        )
        return loss_sum, gradients

    def _differentiate(
        self, part: Batch, values: list[tf.Tensor], divisor: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns a batch's loss, and its gradients by the gathered rows and the dense weights."""
        row_weights = part.get("row_weights")
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values + self._dense)
            gathered = [
                tf.gather(value, part[f"column_of_{number}"]) for number, value in enumerate(values)
            ]
            pooled = self.model.tables.pool(gathered, row_weights)
            logits = self.model.predict_logits(part["dense"], pooled, part.get("noise"))
            losses = binary_cross_entropy(
                part["labels"],
                logits,
                self._config.positive_weight,
                self._config.label_smoothing,
            )
            loss_sum = tf.reduce_sum(losses * part["weights"])
            objective = loss_sum / divisor
        # A gather's gradient has duplicate slices, which are summed before they are clipped.
        gradients = tape.gradient(
            objective, values + self._dense, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return loss_sum, [tf.convert_to_tensor(gradient) for gradient in gradients]
