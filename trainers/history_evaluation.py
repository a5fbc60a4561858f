"""How a retrieval model ranks the targets of held-out histories, and what impressions showed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.news.exposures import Exposures
from tfrec_zoo.data.news.held_out import HeldOut
from tfrec_zoo.data.news.histories import Histories
from tfrec_zoo.data.news.history_batches import list_widths
from tfrec_zoo.data.news.impressions import Impressions
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.metrics.impressions import impression_metrics
from tfrec_zoo.metrics.ranking import ranking_metrics, ranks_from_counts, resolve_tie_rule
from tfrec_zoo.metrics.ranks import MIN_EXACT_EVENTS, count_competitors
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.trainers.session_evaluation import (
    ProgressCallback,
    chunk_size,
    mark_candidates,
    pad_to,
)

# Items that are read at once.
_CHUNK_ITEMS = 8192


@dataclass(frozen=True, eq=False)
class HistoryRanks:
    """Where each target stands, in the order of the examples.

    Attributes:
        num_greater: int64 [E], candidates other than the target that score above it.
        num_equal: int64 [E], candidates other than the target that score exactly as it.
        num_candidates: how many items competed.
    """

    num_greater: np.ndarray
    num_equal: np.ndarray
    num_candidates: int


class HistoryRanker:
    """Ranks items after histories under a model, again and again as its weights change."""

    def __init__(
        self,
        model: SSR,
        catalogue: ItemCatalogue,
        *,
        exclude_history: bool = True,
        exposures: Exposures | None = None,
        jit_compile: bool = True,
    ) -> None:
        """Takes the model and its items.

        Args:
            model: the two towers.
            catalogue: the items, encoded for the model.
            exclude_history: whether the items of a history are no candidates after it. A target
                that stands in its own history then comes behind all others.
            exposures: how much items were being shown at any time, where the model looks at that;
                None: as much as the catalogue says, at all times.
            jit_compile: compile with XLA. Without it the ranks may take a tie for a difference.
        """
        self.model, self.catalogue = model, catalogue
        self._exclude_history, self._exposures = exclude_history, exposures
        self._read = tf.function(self._read_chunk, jit_compile=jit_compile)
        self._encode = tf.function(self._encode_chunk, jit_compile=jit_compile)
        self._score = tf.function(self._score_chunk, jit_compile=jit_compile)
        # Apart from the scores, so that every comparison reads the same stored numbers.
        self._count = tf.function(count_competitors, jit_compile=jit_compile)

    def read_items(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns of all rows what the towers see, x float [V + 1, E], and v, float [V + 1, D]."""
        found = []
        for start in range(0, self.catalogue.num_rows, _CHUNK_ITEMS):
            rows = np.arange(start, min(start + _CHUNK_ITEMS, self.catalogue.num_rows))
            size = min(_CHUNK_ITEMS, self.catalogue.num_rows)
            content = self.catalogue.take(pad_to(rows, size))
            parts = self._read(content.dense, content.rows, content.row_weights)
            found.append([part.numpy()[: len(rows)] for part in parts])
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def rank(
        self,
        histories: Histories,
        candidate_rows: np.ndarray | None = None,
        *,
        progress: ProgressCallback | None = None,
    ) -> HistoryRanks:
        """Ranks the target of each example among all items, or among some.

        Args:
            histories: the examples.
            candidate_rows: int [n], the items that compete; None: all. A target is ranked against
                them whether or not it is one of them.
            progress: is told the number of examples ranked so far, and of all.

        Raises:
            ValueError: candidates that are no items, or scores that are NaN.
        """
        is_candidate = mark_candidates(candidate_rows, self.catalogue.num_rows)
        # The columns are the items that compete or are targets, behind the padding row.
        is_column = is_candidate.copy()
        is_column[histories.target_rows] = True
        is_column[0] = True
        columns = np.flatnonzero(is_column)
        counts = np.zeros((2, histories.num_examples), np.int64)
        size = chunk_size(len(columns), histories.num_examples)
        num_done = 0
        pieces = list(cut_by_length(histories.lengths, histories.max_history, size))
        batches = (histories.take(indices, width=width) for indices, width in pieces)
        for (indices, _), scores in zip(pieces, self.score(batches, columns, size), strict=True):
            targets = np.searchsorted(columns, histories.target_rows[indices]).astype(np.int32)
            found = self._count(scores, pad_to(targets, size), is_candidate[columns])
            *found, num_nan = np.stack(found)[:, : len(indices)]
            if num_nan.any():
                raise ValueError(
                    "the scores of the model are not numbers (NaN): the training diverged or the "
                    "weights are damaged; train with a lower learning rate"
                )
            counts[:, indices] = found
            num_done += len(indices)
            if progress:
                progress(num_done, histories.num_examples)
        return HistoryRanks(*counts, int(np.count_nonzero(is_candidate)))

    def score(
        self, batches: Iterable[dict[str, np.ndarray]], columns: np.ndarray, size: int
    ) -> Iterator[tf.Tensor]:
        """Yields the scores of items after the histories of each batch, float [size, C].

        Args:
            batches: `history` int32 [n, T], `lengths` int32 [n] and, where the model looks at ages,
                `time` [n]; n at most `size`. With `exclude_history` the history is excluded, or
                `excluded` int32 [n, X] where that is given.
            columns: int [C], rows of the catalogue, rising, with row 0. What is excluded scores
                -inf.
            size: rows of the scores; those behind a batch's own mean nothing.
        """
        inputs, vectors = self.read_items()
        of_columns, first_time = tf.constant(vectors[columns]), None
        column_of = np.zeros(self.catalogue.num_rows, np.int32)
        column_of[columns] = np.arange(len(columns))
        for batch in batches:
            sessions = self._encode_histories(inputs, batch, size)
            excluded = column_of[batch.get("excluded", batch["history"])] * self._exclude_history
            times = came_up = np.zeros(1)
            if self.model.age_scores is not None:
                first_time = batch["time"].min() if first_time is None else first_time
                times = pad_to(batch["time"] - first_time, size)
                came_up = self.catalogue.times[columns] - first_time
                came_up = np.where(np.isnan(came_up), np.inf, came_up)
            yield self._score(
                sessions,
                of_columns,
                tf.constant(came_up, tf.float32),
                pad_to(excluded, size),
                tf.constant(times, tf.float32),
                tf.constant(self._find_offsets(batch, columns, size), tf.float32),
            )

    def score_shown(self, impressions: Impressions, max_history: int) -> np.ndarray:
        """Returns the score of each item that the impressions showed, float32 [K].

        How much an item is being shown takes no part, for all of these were; how often it was
        clicked then does.
        """
        inputs, vectors = self.read_items()
        lengths = np.minimum(np.diff(impressions.history_offsets), max_history)
        size = min(1024, max(MIN_EXACT_EVENTS, len(lengths)))
        sessions = np.zeros((len(lengths), vectors.shape[1]), np.float32)
        for indices, width in cut_by_length(lengths, max_history, size):
            batch = impressions.histories(indices, width)
            sessions[indices] = self._encode_histories(inputs, batch, size)[: len(indices)]
        numbers = np.repeat(np.arange(len(lengths)), np.diff(impressions.shown_offsets))
        rows = impressions.shown_rows
        scores = np.einsum("kd,kd->k", sessions[numbers], vectors[rows])
        if self.model.age_scores is not None:
            ages = impressions.times[numbers] - self.catalogue.times[rows]
            ages = np.where(np.isnan(ages), -np.inf, ages)
            scores = scores + self.model.score_ages(tf.constant(ages, tf.float32)).numpy()
        if self._exposures is not None:
            scores = scores + self._score_click_lifts(rows, impressions.times[numbers])
        return scores

    def _encode_histories(self, inputs: np.ndarray, batch: dict, size: int) -> tf.Tensor:
        """Returns u, float [size, D], of which the first are those of the batch."""
        clicks = inputs[pad_to(batch["history"], size)]
        return self._encode(clicks, pad_to(batch["lengths"], size))

    def _find_offsets(
        self, batch: dict[str, np.ndarray], columns: np.ndarray, size: int
    ) -> np.ndarray:
        """Returns what impressions add to the scores of the columns, [size, C] or broadcast."""
        catalogue, offsets = self.catalogue, np.zeros([1, 1])
        if not self.model.config.asks_impressions:
            return offsets
        if self._exposures is not None:
            asked = columns[None], batch["time"][:, None]
            offsets = self.model.score_shows(self._exposures.levels(*asked))
            return pad_to(offsets.numpy() + self._score_click_lifts(*asked), size)
        if catalogue.shows is not None:
            offsets = offsets + self.model.score_shows(catalogue.shows[None, columns])
        if catalogue.click_lifts is not None:
            offsets = offsets + self.model.score_click_lifts(catalogue.click_lifts[None, columns])
        return np.asarray(offsets)

    def _score_click_lifts(self, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
        prior = self.model.config.click_rate_prior
        lifts = self._exposures.click_lifts(rows, times, prior)
        return self.model.score_click_lifts(lifts).numpy()

    def _read_chunk(
        self, dense: tf.Tensor, rows: tf.Tensor, row_weights: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        inputs = self.model.read_items(dense, rows, row_weights)
        return inputs, self.model.item_vectors(inputs)

    def _encode_chunk(self, clicks: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        return self.model.session_vectors(clicks, lengths)

    def _score_chunk(
        self,
        sessions: tf.Tensor,
        vectors: tf.Tensor,
        came_up: tf.Tensor,
        excluded: tf.Tensor,
        times: tf.Tensor,
        offsets: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the scores float [B, C] of the columns, -inf for those `excluded`, int [B, T]."""
        scores = tf.matmul(sessions, vectors, transpose_b=True)
        if self.model.age_scores is not None:
            scores += self.model.score_ages(times[:, None] - came_up[None])
        if self.model.config.asks_impressions:
            scores += offsets
        places = tf.stack(
            [tf.repeat(tf.range(excluded.shape[0]), excluded.shape[1]), tf.reshape(excluded, [-1])],
            axis=1,
        )
        is_excluded = tf.scatter_nd(places, tf.ones([places.shape[0]], tf.int32), scores.shape) > 0
        return tf.where(is_excluded, -np.inf, scores)


def evaluate_held_out(
    ranker: HistoryRanker,
    held_out: HeldOut,
    ks: Iterable[int] = (20,),
    tie_rule: str = "pessimistic",
    *,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Returns the metrics of a model on what it was not trained on.

    Args:
        ranker: the model and its items.
        held_out: the examples and the impressions.
        ks: cut-offs.
        tie_rule: see `tfrec_zoo.metrics.ranking`.
        seed: of the tie rule `random`.
        progress: see `HistoryRanker.rank`.

    Returns:
        Flat: `recall@20`, `mrr@20`, `ndcg@20` for each cut-off; the same of the targets that occur
        in training, `seen_recall@20`, and of the others, `unseen_recall@20`, where there are any;
        `num_test_events`, `num_unseen_events`, `num_candidates`, `tie_rule`; of impressions the
        metrics of `impression_metrics` and `num_impressions`.

    Raises:
        ValueError: see `HistoryRanker.rank`; an unknown tie rule, a cut-off below 1.
    """
    ks, tie_rule = tuple(ks), resolve_tie_rule(tie_rule)
    metrics = {}
    if held_out.histories is not None:
        found = ranker.rank(held_out.histories, held_out.candidate_rows, progress=progress)
        rng = np.random.default_rng(seed)
        ranks = ranks_from_counts(found.num_greater, found.num_equal, tie_rule, rng)
        is_unseen = held_out.histories.is_unseen(held_out.seen_rows)
        metrics |= ranking_metrics(ranks, ks)
        for name, chosen in (("seen", ~is_unseen), ("unseen", is_unseen)):
            if chosen.any():
                of_group = ranking_metrics(ranks[chosen], ks)
                metrics |= {f"{name}_{metric}": value for metric, value in of_group.items()}
        metrics |= {
            "num_test_events": len(ranks),
            "num_unseen_events": int(np.count_nonzero(is_unseen)),
            "num_candidates": found.num_candidates,
            "tie_rule": tie_rule,
        }
    if held_out.impressions is not None:
        impressions = held_out.impressions
        scores = ranker.score_shown(impressions, held_out.max_history)
        metrics |= impression_metrics(scores, impressions.is_clicked, impressions.shown_offsets)
        metrics["num_impressions"] = impressions.num_impressions
    return metrics


def refuse_unmeasured(metric: str, held_out: HeldOut) -> None:
    """Raises ValueError where `evaluate_held_out` will not return `metric` of `held_out`."""
    histories, lacks = held_out.histories, ""
    if metric.startswith("impression_"):
        lacks = "" if held_out.impressions is not None else "impressions"
    elif histories is None:
        lacks = "sessions"
    elif metric.startswith(("seen_", "unseen_")):
        group = metric.partition("_")[0]
        is_unseen = histories.is_unseen(held_out.seen_rows)
        is_there = is_unseen.any() if group == "unseen" else not is_unseen.all()
        lacks = "" if is_there else f"targets that are {group} in training"
    if lacks:
        raise ValueError(
            f"primary_metric={metric} cannot be measured, for the validation data have no {lacks}: "
            "choose another metric or other validation data"
        )


def cut_by_length(
    lengths: np.ndarray, max_history: int, size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields numbers of examples, int64 [n] with n <= `size`, and T that holds their histories."""
    order = np.argsort(lengths, kind="stable")
    widths = np.array(list_widths(max_history))
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        yield indices, int(widths[np.searchsorted(widths, lengths[indices[-1]])])
