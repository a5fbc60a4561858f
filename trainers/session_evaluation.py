"""Exact ranks of the next items of sessions under a model, and the metrics made of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.sessions.session_log import Sessions
from tfrec_zoo.metrics.baselines import markov_ranks, next_item_events, popularity_ranks
from tfrec_zoo.metrics.ranking import (
    metrics_by_popularity,
    metrics_by_position,
    ranking_metrics,
    ranks_from_counts,
    resolve_tie_rule,
)
from tfrec_zoo.metrics.ranks import MIN_EXACT_EVENTS, count_competitors
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.trainers.session_replay import SessionPlayer, regroup

# The scores of a chunk of events; more than some hundred events at once gain nothing.
MEMORY_BUDGET = 256 * 2**20
_MAX_CHUNK_EVENTS = 1024

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class SessionRanks:
    """Where each next item of the sessions stands, in the order of the clicks.

    Attributes:
        num_greater: int64 [E], candidates other than the target that score above it.
        num_equal: int64 [E], candidates other than the target that score exactly as it.
        target_rows: int32 [E], the item that followed.
        positions: int64 [E], the clicks of the session before it: 1, 2, 3, ...
        num_candidates: how many items competed.
    """

    num_greater: np.ndarray
    num_equal: np.ndarray
    target_rows: np.ndarray
    positions: np.ndarray
    num_candidates: int

    def ranks(self, tie_rule: str, seed: int = 0) -> np.ndarray:
        """Returns ranks from 1 on, float64 [E]; `seed` is of the rule `random` alone."""
        rng = np.random.default_rng(seed)
        return ranks_from_counts(self.num_greater, self.num_equal, tie_rule, rng)


class SessionRanker:
    """Ranks the next items of sessions under a model, again and again as its weights change.

    What it does is compiled at its first call for every shape, which takes a second or so.
    """

    def __init__(self, model: GRU4Rec, *, jit_compile: bool = True) -> None:
        """Takes the model.

        Args:
            model: the network and its tables, V + 1 rows.
            jit_compile: compile with XLA. Without it the ranks may take a tie for a difference.
        """
        self.model = model
        self._player = SessionPlayer(model)
        # TensorFlow computes the last elements of an activation another way than the rest, and on
        # some processors the last columns of a product, too; XLA does not.
        self._score = tf.function(model.score, jit_compile=jit_compile)
        # Apart from the scores, so that every comparison reads the same stored numbers: in one
        # function an activation may be computed twice, and not to the same bit.
        self._count = tf.function(count_competitors, jit_compile=jit_compile)

    def rank(
        self,
        sessions: Sessions,
        candidate_rows: np.ndarray | None = None,
        *,
        memory_budget: int = MEMORY_BUDGET,
        progress: ProgressCallback | None = None,
    ) -> SessionRanks:
        """Ranks the next item of every click that has one, see `rank_sessions`."""
        is_candidate = mark_candidates(candidate_rows, self.model.num_rows)
        _, target_rows, positions = next_item_events(sessions.rows, sessions.offsets)
        num_events = len(target_rows)
        if not num_events:
            raise ValueError(
                f"there is nothing to predict: none of the {sessions.num_sessions} sessions has a "
                "second click"
            )
        size = chunk_size(self.model.num_rows, num_events, memory_budget)
        event_of_click = _number_events(sessions.offsets)
        counts = np.zeros((2, num_events), np.int64)
        num_done = 0
        played = self._player.play(sessions.rows, sessions.offsets)
        for clicks, vectors in regroup(played, size):
            events = event_of_click[clicks]
            counts[:, events] = self._count_chunk(vectors, target_rows[events], is_candidate, size)
            num_done += len(events)
            if progress:
                progress(num_done, num_events)
        return SessionRanks(*counts, target_rows, positions, int(np.count_nonzero(is_candidate)))

    def _count_chunk(
        self, vectors: np.ndarray, target_rows: np.ndarray, is_candidate: np.ndarray, size: int
    ) -> np.ndarray:
        """Returns the counts of greater and equal scores, int64 [2, n], of n <= `size` events."""
        scores = self._score(pad_to(vectors, size))
        counts = self._count(scores, pad_to(target_rows, size), is_candidate)
        *counts, num_nan = np.stack(counts)[:, : len(vectors)]
        _refuse_nan(num_nan, target_rows)
        return np.stack(counts)


def rank_sessions(
    model: GRU4Rec,
    sessions: Sessions,
    candidate_rows: np.ndarray | None = None,
    *,
    memory_budget: int = MEMORY_BUDGET,
    progress: ProgressCallback | None = None,
) -> SessionRanks:
    """Ranks the next item of every click that has one among all items, or among some.

    Every session starts from a zero state. An event's scores come out of one matrix product, its
    target's among them, so that equal item vectors score equally to the last bit.

    Args:
        model: the network and its tables, V + 1 rows.
        sessions: as rows of these tables.
        candidate_rows: int [n], the items that compete; None: all. A target is ranked against them
            whether or not it is one of them.
        memory_budget: bytes that the scores of one chunk of events, float32 [events, V + 1], may
            take; no less than `MIN_EXACT_EVENTS` events make a chunk.
        progress: is told the number of events ranked so far, and of all.

    Raises:
        ValueError: candidates that are no items, no next item at all, or scores that are NaN.
    """
    ranker = SessionRanker(model)
    return ranker.rank(sessions, candidate_rows, memory_budget=memory_budget, progress=progress)


def evaluate_sessions(
    model: GRU4Rec | SessionRanker,
    sessions: Sessions,
    ks: Iterable[int] = (20,),
    tie_rule: str = "pessimistic",
    row_counts: np.ndarray | None = None,
    candidate_rows: np.ndarray | None = None,
    *,
    by_position: bool = False,
    by_popularity: bool = False,
    baselines_from: Sessions | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Returns the metrics of a model on sessions; nothing is carried from one call to the next.

    Args:
        model: the network and its tables; or a ranker of it, compiled once for many evaluations.
        sessions: the test sessions.
        ks: cut-offs.
        tie_rule: see `tfrec_zoo.metrics.ranking`, where its peers' names are, too.
        row_counts: int64 [V + 1], training clicks; for `by_popularity` and the baselines.
        candidate_rows: the items that compete; None: all.
        by_position: also the metrics by the number of clicks before the target.
        by_popularity: also the metrics by the popularity of the target.
        baselines_from: the training sessions; also the metrics of the most popular items and of
            those that most often followed the last one.
        seed: of the tie rule `random`.
        progress: see `rank_sessions`.

    Returns:
        Flat: `recall@20`, `mrr@20`, `ndcg@20` for each cut-off, `num_test_events`,
        `num_test_sessions`, `num_candidates`, `num_unknown_clicks`, `tie_rule`; the others under
        `position/3/recall@20`, `popularity/1/recall@20` (1: the most popular targets),
        `baseline_popularity/recall@20`, `baseline_markov/recall@20`.

    Raises:
        ValueError: as `rank_sessions`; an unknown tie rule, a cut-off below 1, missing counts.
    """
    ks, tie_rule = tuple(ks), resolve_tie_rule(tie_rule)
    if row_counts is None and (by_popularity or baselines_from is not None):
        raise ValueError("by_popularity and baselines need row_counts, the training clicks by row")
    ranker = model if isinstance(model, SessionRanker) else SessionRanker(model)
    found = ranker.rank(sessions, candidate_rows, progress=progress)
    ranks = found.ranks(tie_rule, seed)
    metrics = ranking_metrics(ranks, ks) | {
        "num_test_events": len(ranks),
        "num_test_sessions": sessions.num_sessions,
        "num_candidates": found.num_candidates,
        "num_unknown_clicks": sessions.num_unknown_clicks,
        "tie_rule": tie_rule,
    }
    if baselines_from is not None:
        is_candidate = mark_candidates(candidate_rows, ranker.model.num_rows)
        baselines = _baseline_ranks(
            sessions, baselines_from, row_counts, tie_rule, seed, is_candidate
        )
        for name, baseline in baselines.items():
            metrics |= _flatten_group(f"baseline_{name}", ranking_metrics(baseline, ks))
    if by_position:
        metrics |= _flatten("position", metrics_by_position(ranks, found.positions, ks))
    if by_popularity:
        groups = metrics_by_popularity(ranks, found.target_rows, row_counts, ks)
        metrics |= _flatten("popularity", groups)
    return metrics


def mark_candidates(candidate_rows: np.ndarray | None, num_rows: int) -> np.ndarray:
    """Returns bool [num_rows], which rows compete: those given, or all but the padding row 0.

    Raises:
        ValueError: a row is no item's, or there is none.
    """
    if candidate_rows is None:
        return np.arange(num_rows) > 0
    candidate_rows = np.asarray(candidate_rows)
    if not candidate_rows.size:
        raise ValueError("received no candidate items, expected at least one")
    if candidate_rows.min() < 1 or candidate_rows.max() >= num_rows:
        raise ValueError(
            f"candidate rows must be in 1..{num_rows - 1}, got {candidate_rows.min()}.."
            f"{candidate_rows.max()}"
        )
    is_candidate = np.zeros(num_rows, bool)
    is_candidate[candidate_rows] = True
    return is_candidate


def chunk_size(num_rows: int, num_events: int, memory_budget: int = MEMORY_BUDGET) -> int:
    """Returns how many events to score at once: a power of two, so that few shapes occur."""
    most = min(memory_budget // (4 * num_rows), _MAX_CHUNK_EVENTS, 2 * num_events - 1)
    return max(1 << max(most, 1).bit_length() - 1, MIN_EXACT_EVENTS)


def pad_to(values: np.ndarray, size: int) -> np.ndarray:
    """Returns `values` [n, ...] with zeros behind them up to [size, ...]."""
    return np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1))


def _number_events(offsets: np.ndarray) -> np.ndarray:
    """Returns int64 [N], the number of each click among the clicks that another one follows."""
    num_clicks = int(offsets[-1])
    has_successor = np.ones(num_clicks, bool)
    has_successor[offsets[1:][np.diff(offsets) > 0] - 1] = False
    return np.cumsum(has_successor) - 1


def _refuse_nan(num_nan: np.ndarray, target_rows: np.ndarray) -> None:
    if num_nan.any():
        event = int(np.argmax(num_nan > 0))
        raise ValueError(
            f"the scores of the model are not numbers (NaN) for {num_nan[event]} items, where the "
            f"item of row {target_rows[event]} was to be ranked: the training diverged or the "
            "weights are damaged; train with a lower learning rate or evaluate an older checkpoint"
        )


def _baseline_ranks(
    sessions: Sessions,
    training: Sessions,
    row_counts: np.ndarray,
    tie_rule: str,
    seed: int,
    is_candidate: np.ndarray,
) -> dict[str, np.ndarray]:
    test = (sessions.rows, sessions.offsets)
    rng = np.random.default_rng(seed)
    train = (training.rows, training.offsets)
    return {
        "popularity": popularity_ranks(*test, row_counts, tie_rule, rng, is_candidate),
        "markov": markov_ranks(*test, *train, len(row_counts), tie_rule, rng, is_candidate),
    }


def _flatten(prefix: str, groups: dict[str, dict[str, Any]]) -> dict[str, Any]:
    flat = {}
    for name, metrics in groups.items():
        flat |= _flatten_group(f"{prefix}/{name}", metrics)
    return flat


def _flatten_group(prefix: str, metrics: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": value for name, value in metrics.items()}
