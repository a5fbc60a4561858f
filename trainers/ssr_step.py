"""One training step of SSR: from a batch of histories to updated rows and weights."""

from collections.abc import Sequence

import tensorflow as tf

from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.losses.candidates import log_or_zero, own_candidates, shared_candidates
from tfrec_zoo.losses.contrastive import hinge, keep_hardest
from tfrec_zoo.losses.ranking import Candidates, cross_entropy
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.trainers.row_step import Batch, Gradients, RowStep, take_gradients


class SSRStep(RowStep):
    """The step for batches of `tfrec_zoo.data.news.history_batches`.

    Each distinct item of a step is read once, and of the tables each distinct row.
    """

    def __init__(self, model: SSR, experiment: SSRExperiment) -> None:
        """Takes the model apart into tables and dense weights."""
        tables = [table.variable for table in model.tables.tables]
        super().__init__(model, tables, experiment.optimizer)
        self._config = experiment

    def differentiate(self, batch: Batch, states: tuple, values: Sequence[tf.Tensor]) -> Gradients:
        """Returns the gradients of a batch; an example holds its whole history."""
        sources = [*values, *self.dense]
        count = tf.math.count_nonzero(batch["is_valid"], dtype=tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            losses = self._losses(batch, self._read_items(batch, values))
            loss = tf.reduce_sum(tf.where(batch["is_valid"], losses * batch["weights"], 0.0))
        gradients = take_gradients(tape, loss, sources)
        return Gradients(loss, count, gradients, states)

    def _read_items(self, batch: Batch, values: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns x of the step's items, float [I, E]."""
        gathered = [
            tf.gather(value, batch[f"column_of_{number}"]) for number, value in enumerate(values)
        ]
        pooled = self.model.tables.pool(gathered, batch.get("row_weights"))
        return self.model.item_inputs(batch["dense"], pooled)

    def _losses(self, batch: Batch, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example, float [B], of x of the step's items."""
        clicks = tf.gather(inputs, batch["history"])
        sessions = self.model.session_vectors(clicks, batch["lengths"], batch.get("noise"))
        vectors = self.model.item_vectors(tf.gather(inputs, batch["candidates"]))
        if "negative_column" in batch:
            scores, candidates = self._score_own(batch, vectors, sessions)
        else:
            scores = tf.matmul(vectors, sessions, transpose_b=True)
            scores += self._age_scores(batch, None)
            candidates = self._shared_candidates(batch)
        if "shown_column" in batch:
            scores, candidates = self._add_shown(batch, vectors, sessions, scores, candidates)
        config = self._config.loss
        if config.num_hard_negatives:
            candidates = keep_hardest(candidates, scores, config.num_hard_negatives)
        if config.loss == "hinge":
            return hinge(scores, candidates, config.margin)
        return cross_entropy(scores / config.temperature, candidates, 0.0)

    def _shared_candidates(self, batch: Batch) -> Candidates:
        log_q = -self._config.loss.logq_weight * batch["log_counts"]
        return shared_candidates(
            batch["target_column"],
            batch["in_batch_counts"],
            batch["negative_counts"],
            in_batch_corrections=log_q,
            negative_corrections=log_q * self._config.batches.popularity_exponent,
            has_in_batch_negatives=self._config.batches.in_batch_negatives,
            remove_accidental_hits=self._config.loss.remove_accidental_hits,
        )

    def _score_own(
        self, batch: Batch, vectors: tf.Tensor, sessions: tf.Tensor
    ) -> tuple[tf.Tensor, Candidates]:
        """Scores each example's target and own negatives, float [1 + N, B]."""
        target, negatives = batch["target_column"], batch["negative_column"]
        scores = self._score_columns(
            batch, tf.concat([target[None], negatives], axis=0), vectors, sessions
        )
        candidates = own_candidates(
            target,
            negatives,
            remove_accidental_hits=self._config.loss.remove_accidental_hits,
        )
        return scores, candidates

    def _add_shown(
        self,
        batch: Batch,
        vectors: tf.Tensor,
        sessions: tf.Tensor,
        scores: tf.Tensor,
        candidates: Candidates,
    ) -> tuple[tf.Tensor, Candidates]:
        """Puts what was shown in vain behind the candidates [C, B], as negatives."""
        shown = batch["shown_column"]
        counts = tf.cast(shown > 0, tf.float32)
        own = self._score_columns(batch, shown, vectors, sessions)

        def behind(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
            return tf.concat([tf.broadcast_to(first, tf.shape(scores)), second], axis=0)

        candidates = candidates._replace(
            is_target=behind(candidates.is_target, tf.zeros_like(shown, tf.bool)),
            counts=behind(candidates.counts, counts),
            log_weights=behind(candidates.log_weights, log_or_zero(counts)),
        )
        return tf.concat([scores, own], axis=0), candidates

    def _score_columns(
        self, batch: Batch, columns: tf.Tensor, vectors: tf.Tensor, sessions: tf.Tensor
    ) -> tf.Tensor:
        """Scores candidates of each example's own, float [N, B], by their `columns` [N, B]."""
        products = tf.einsum("bd,nbd->nb", sessions, tf.gather(vectors, columns))
        return products + self._age_scores(batch, columns)

    def _age_scores(self, batch: Batch, columns: tf.Tensor | None) -> tf.Tensor | float:
        """Returns what ages add, [C, B], or [N, B] of the candidates `columns`."""
        if "times" not in batch:
            return 0.0
        came_up = batch["candidate_times"]
        came_up = came_up[:, None] if columns is None else tf.gather(came_up, columns)
        return self.model.score_ages(batch["times"][None] - came_up)
