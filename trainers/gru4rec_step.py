"""One training step of GRU4Rec: from a batch of lanes to updated rows."""

import tensorflow as tf

from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.losses import ranking
from tfrec_zoo.losses.candidates import catalogue_candidates, own_candidates, shared_candidates
from tfrec_zoo.models.gru4rec import GRU4Rec, States
from tfrec_zoo.optimizers.row_sparse import make_optimizer

Batch = dict[str, tf.Tensor]


class GRU4RecStep(tf.Module):
    """`step(batch, states) -> loss, states` for batches of `SessionBatches`.

    The rows of a batch are gathered once; gradients are taken with respect to them, and the
    optimizer writes them back: nothing in a step depends on the size of the catalogue (unless the
    loss is over all of it).
    """

    def __init__(
        self, model: GRU4Rec, experiment: GRU4RecExperiment, row_counts: tf.Tensor
    ) -> None:
        """Takes the model apart into tables and dense weights.

        Args:
            model: the network and its tables.
            experiment: the loss, the negatives, the optimizer.
            row_counts: [V + 1], training counts, for logQ.
        """
        super().__init__(name="step")
        self.model = model
        self._config = experiment
        self._tables = [model.item_table]
        if model.input_table is not None:
            self._tables.append(model.input_table)
        self._dense = list(model.network.trainable_variables)
        self.optimizer = make_optimizer(experiment.optimizer, self._tables, self._dense)
        counts = tf.maximum(tf.cast(row_counts, tf.float32), 1.0)
        self._log_counts = tf.math.log(counts)

    def __call__(self, batch: Batch, states: States) -> tuple[tf.Tensor, States]:
        """Trains on one step.

        Args:
            batch: one step of a block, see `SessionBatches`.
            states: float [B, H_i], the lanes' states before it.

        Returns:
            The sum of the valid events' losses, float [], and the states after it.
        """
        rows = [batch["columns"] if "columns" in batch else tf.range(self.model.num_rows)]
        if len(self._tables) > 1:
            rows.append(batch["input_rows"])
        values = [tf.gather(table, r) for table, r in zip(self._tables, rows, strict=True)]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values + self._dense)
            losses, states = self._losses(batch, values, states)
            losses = tf.where(tf.reshape(batch["is_valid"], [-1]), losses, 0.0)
            loss_sum = tf.reduce_sum(losses)
            objective = loss_sum / self._divisor(batch)
        gradients = tape.gradient(
            objective,
            values + self._dense,
            # A network of one's own may have a weight that this step does not reach.
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        self.optimizer.apply_gathered(rows, values, gradients)
        return loss_sum, tuple(tf.stop_gradient(state) for state in states)

    def _losses(
        self, batch: Batch, values: list[tf.Tensor], states: States
    ) -> tuple[tf.Tensor, States]:
        """Returns the loss of each event, float [T * B], and the new states."""
        inputs = self.model.trim_inputs(tf.gather(values[-1], batch["item_column"]))
        noise = batch.get("noise")
        outputs, states = self.model.unroll(inputs, batch["is_first"], states, noise)
        vectors = tf.reshape(outputs, [-1, outputs.shape[-1]])
        if "negative_column" in batch:
            scores, candidates = self._score_own(batch, values[0], vectors)
        else:
            products = tf.matmul(values[0], self.model.augment(vectors), transpose_b=True)
            scores, candidates = self.model.activate(products), self._shared_candidates(batch)
        return self._ranking_loss(scores, candidates), states

    def _shared_candidates(self, batch: Batch) -> ranking.Candidates:
        target_column = tf.reshape(batch["target_column"], [-1])
        if "columns" not in batch:
            return catalogue_candidates(target_column, self.model.num_rows)
        log_q = -self._config.loss.logq_weight * tf.gather(self._log_counts, batch["columns"])
        return shared_candidates(
            target_column,
            batch["in_batch_counts"],
            batch["negative_counts"],
            in_batch_corrections=log_q,
            negative_corrections=log_q * self._config.batches.popularity_exponent,
            has_in_batch_negatives=self._config.batches.in_batch_negatives,
            remove_accidental_hits=self._config.loss.remove_accidental_hits,
        )

    def _score_own(
        self, batch: Batch, values: tf.Tensor, vectors: tf.Tensor
    ) -> tuple[tf.Tensor, ranking.Candidates]:
        """Scores each event's target and own negatives, float [1 + N, R]."""
        target = tf.reshape(batch["target_column"], [-1])
        negatives = tf.transpose(tf.reshape(batch["negative_column"], [target.shape[0], -1]))
        columns = tf.concat([target[None], negatives], axis=0)
        products = tf.einsum("rw,crw->cr", self.model.augment(vectors), tf.gather(values, columns))
        candidates = own_candidates(
            target, negatives, remove_accidental_hits=self._config.loss.remove_accidental_hits
        )
        return self.model.activate(products), candidates

    def _ranking_loss(self, scores: tf.Tensor, candidates: ranking.Candidates) -> tf.Tensor:
        config = self._config.loss
        if config.loss == "cross_entropy":
            return ranking.cross_entropy(scores, candidates, config.label_smoothing)
        if config.loss == "bpr_max":
            return ranking.bpr_max(scores, candidates, config.effective_score_penalty)
        return getattr(ranking, config.loss)(scores, candidates)

    def _divisor(self, batch: Batch) -> tf.Tensor | float:
        if self._config.loss.loss_reduction == "sum":
            return 1.0
        if self._config.loss.loss_reduction == "lanes":
            return float(batch["is_valid"].shape.num_elements())
        return tf.maximum(tf.reduce_sum(tf.cast(batch["is_valid"], tf.float32)), 1.0)
