"""One training step of GRU4Rec: from a batch of lanes to updated rows."""

from collections.abc import Sequence

import tensorflow as tf

from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.losses import ranking
from tfrec_zoo.losses.candidates import catalogue_candidates, own_candidates, shared_candidates
from tfrec_zoo.models.gru4rec import GRU4Rec, States
from tfrec_zoo.trainers.row_step import Batch, Gradients, RowStep, take_gradients


class GRU4RecStep(RowStep):
    """The step for batches of `SessionBatches`, whose states are those of the lanes."""

    def __init__(
        self, model: GRU4Rec, experiment: GRU4RecExperiment, row_counts: tf.Tensor
    ) -> None:
        """Takes the model apart into tables and dense weights.

        Args:
            model: the network and its tables.
            experiment: the loss, the negatives, the optimizer.
            row_counts: [V + 1], training counts, for logQ.
        """
        tables = [model.item_table]
        if model.input_table is not None:
            tables.append(model.input_table)
        super().__init__(model, tables, experiment.optimizer)
        self._config = experiment
        counts = tf.maximum(tf.cast(row_counts, tf.float32), 1.0)
        self._log_counts = tf.math.log(counts)

    def rows(self, batch: Batch) -> list[tf.Tensor]:
        """Returns the columns of a batch (all rows where the loss is over all), and its inputs."""
        rows = [batch["columns"] if "columns" in batch else tf.range(self.model.num_rows)]
        return rows if len(self.tables) == 1 else [*rows, batch["input_rows"]]

    def differentiate(self, batch: Batch, states: States, values: Sequence[tf.Tensor]) -> Gradients:
        """Returns the gradients of a batch, see the base class; states float [B, H_i]."""
        sources = [*values, *self.dense]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            losses, states = self._losses(batch, values, states)
            loss = tf.reduce_sum(tf.where(tf.reshape(batch["is_valid"], [-1]), losses, 0.0))
        gradients = take_gradients(tape, loss, sources)
        states = tuple(tf.stop_gradient(state) for state in states)
        return Gradients(loss, self._count(batch), gradients, states)

    def _losses(
        self, batch: Batch, values: Sequence[tf.Tensor], states: States
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

    def _count(self, batch: Batch) -> tf.Tensor:
        """Returns this batch's part of what the summed loss is divided by."""
        reduction = self._config.loss.loss_reduction
        if reduction == "sum":
            return tf.constant(1.0 / tf.distribute.get_strategy().num_replicas_in_sync)
        if reduction == "lanes":
            return tf.constant(float(batch["is_valid"].shape.num_elements()))
        return tf.math.count_nonzero(batch["is_valid"], dtype=tf.float32)
