"""The best items after whole sessions under SSR: what the model would have recommended."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.news.history_batches import list_widths
from tfrec_zoo.data.sessions.session_log import SessionLog
from tfrec_zoo.item_index.top_items import top_items
from tfrec_zoo.trainers.history_evaluation import HistoryRanker, cut_by_length
from tfrec_zoo.trainers.session_evaluation import chunk_size, mark_candidates
from tfrec_zoo.trainers.session_predictions import Predictions


def predict_after(
    ranker: HistoryRanker,
    log: SessionLog,
    k: int,
    max_history: int,
    candidate_rows: np.ndarray | None = None,
) -> Iterator[Predictions]:
    """Predicts what follows after each session that has a known item.

    Args:
        ranker: the model and its items.
        log: the sessions, of one click or more.
        k: items of an answer, by falling score, then by rising row.
        max_history: clicks of a session that are read, the most recent ones.
        candidate_rows: int [n], the items that may be answered; None: all.

    Yields:
        The predictions of some sessions at a time, shorter sessions first.

    Raises:
        ValueError: candidates that are no items, or fewer than k; no known item in any session.
    """
    catalogue = ranker.catalogue
    is_candidate = mark_candidates(candidate_rows, catalogue.num_rows)
    if not 1 <= k <= np.count_nonzero(is_candidate):
        raise ValueError(
            f"k must be from 1 to the number of candidates, {np.count_nonzero(is_candidate)}, "
            f"got {k}"
        )
    is_candidate[0] = True
    columns = np.flatnonzero(is_candidate)
    rows = catalogue.rows(log.item_ids)[log.item_codes]
    is_known = rows > 0
    if not is_known.any():
        raise ValueError("no session has an item that the model knows: is the item column right?")
    ends = np.concatenate([[0], np.cumsum(is_known)])[log.offsets]
    rows, num_known = rows[is_known], np.diff(ends)
    sessions = np.flatnonzero(num_known)
    lengths = np.minimum(num_known[sessions], max_history)
    size = chunk_size(len(columns), len(sessions))
    pieces = list(cut_by_length(lengths, max_history, size))
    times = None if log.times is None else log.end_times()[sessions]
    widths = np.array(list_widths(int(num_known.max())))

    def take_last(indices: np.ndarray, counts: np.ndarray, width: int) -> np.ndarray:
        """Returns the last `counts` known clicks of sessions, int32 [n, width], 0 behind them."""
        is_click = np.arange(width) < counts[:, None]
        starts = ends[sessions[indices] + 1] - counts
        places = np.where(is_click, starts[:, None] + np.arange(width), 0)
        return np.where(is_click, rows[places], 0).astype(np.int32)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for indices, width in pieces:
            whole = num_known[sessions[indices]]
            yield {
                "history": take_last(indices, lengths[indices], width),
                # As the exported model does: also what is too long ago to be read.
                "excluded": take_last(
                    indices, whole, int(widths[np.searchsorted(widths, whole.max())])
                ),
                "lengths": lengths[indices].astype(np.int32),
                "time": np.zeros(len(indices)) if times is None else times[indices],
            }

    find_best = tf.function(lambda scores: top_items(scores, k))
    for (indices, _), scores in zip(pieces, ranker.score(batches(), columns, size), strict=True):
        best, best_scores = (part.numpy()[: len(indices)] for part in find_best(scores))
        yield Predictions(
            session_numbers=sessions[indices],
            positions=num_known[sessions[indices]],
            rows=columns[best].astype(np.int32),
            scores=best_scores,
        )
