"""The best items after the clicks of sessions, to a file: what the model would have shown."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrec_zoo.atomic_file import replace_file
from tfrec_zoo.data.log_format import find_format
from tfrec_zoo.data.log_writers import encode_ids, write_table
from tfrec_zoo.data.sessions.session_log import Sessions
from tfrec_zoo.item_index.top_items import top_items
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.trainers.session_evaluation import chunk_size, mark_candidates, pad_to
from tfrec_zoo.trainers.session_replay import SessionPlayer, regroup

COLUMNS = ["session_id", "position", "item_id", "rank", "score"]

# Sessions that are predicted together, so that no more than their answers are in memory.
_CLICKS_PER_GROUP = 1 << 17


@dataclass(frozen=True, eq=False)
class Predictions:
    """The best items of some events, by session and position.

    Attributes:
        session_numbers: int64 [E], the session of `Sessions` that an event is in.
        positions: int64 [E], the clicks of it that the prediction has seen: 1, 2, 3, ...
        rows: int32 [E, K], the best items, the best first.
        scores: float32 [E, K].
    """

    session_numbers: np.ndarray
    positions: np.ndarray
    rows: np.ndarray
    scores: np.ndarray


def predict_sessions(
    model: GRU4Rec,
    sessions: Sessions,
    k: int,
    *,
    at_every_position: bool = False,
    candidate_rows: np.ndarray | None = None,
) -> Iterator[Predictions]:
    """Predicts what follows after each session, or after each of its clicks.

    Args:
        model: the network and its tables, V + 1 rows.
        sessions: as rows of these tables; of one click or more.
        k: items of an answer, by falling score, then by rising row.
        at_every_position: after each click, not only after the last one of a session.
        candidate_rows: int [n], the items that may be answered; None: all.

    Yields:
        The predictions of some sessions at a time, in their order.

    Raises:
        ValueError: candidates that are no items, or fewer than k.
    """
    is_candidate = mark_candidates(candidate_rows, model.num_rows)
    if not 1 <= k <= np.count_nonzero(is_candidate):
        raise ValueError(
            f"k must be from 1 to the number of candidates, {np.count_nonzero(is_candidate)}, "
            f"got {k}"
        )
    player = SessionPlayer(model)
    size = chunk_size(model.num_rows, min(sessions.num_clicks, _CLICKS_PER_GROUP))
    score = tf.function(model.score, jit_compile=True)

    @tf.function
    def find_best(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return top_items(tf.where(is_candidate, scores, -np.inf), k)

    for first, last in _cut_groups(sessions.offsets):
        begin, end = sessions.offsets[first], sessions.offsets[last]
        offsets = sessions.offsets[first : last + 1] - begin
        is_wanted = np.full(end - begin, at_every_position)
        is_wanted[offsets[1:] - 1] = True
        best_rows = np.empty((end - begin, k), np.int32)
        best_scores = np.empty((end - begin, k), np.float32)
        played = player.play(sessions.rows[begin:end], offsets, includes_last=True)
        wanted = ((clicks[is_wanted[clicks]], v[is_wanted[clicks]]) for clicks, v in played)
        for clicks, vectors in regroup(wanted, size):
            rows, best = (x[: len(clicks)] for x in find_best(score(pad_to(vectors, size))))
            best_rows[clicks], best_scores[clicks] = rows, best
        clicks = np.flatnonzero(is_wanted)
        numbers = np.searchsorted(offsets, clicks, side="right") - 1
        yield Predictions(
            session_numbers=first + numbers,
            positions=clicks - offsets[numbers] + 1,
            rows=best_rows[clicks],
            scores=best_scores[clicks],
        )


def write_predictions(
    path: str | os.PathLike,
    predictions: Iterator[Predictions],
    session_ids: np.ndarray,
    item_ids: np.ndarray,
) -> None:
    """Writes predictions one item a line, with the columns `COLUMNS`, whole or not at all.

    Args:
        path: TSV, CSV (also .gz) or Parquet, by its ending.
        predictions: of `predict_sessions`.
        session_ids: object [S], the raw id of each session.
        item_ids: object [V + 1], the raw id of each row.

    Raises:
        ValueError: another ending, or a format that cannot hold an id.
    """
    file_format = find_format(path)
    if file_format == "lines":
        raise ValueError(f"predictions are written as .tsv, .csv or .parquet, got {path}")
    session_ids, item_ids = encode_ids(session_ids, file_format), encode_ids(item_ids, file_format)
    with replace_file(path) as temporary:
        blocks = (_make_columns(block, session_ids, item_ids) for block in predictions)
        write_table(temporary, file_format, COLUMNS, blocks)


def _make_columns(predictions: Predictions, session_ids: pa.Array, item_ids: pa.Array) -> list:
    num_events, k = predictions.rows.shape
    return [
        session_ids.take(np.repeat(predictions.session_numbers, k)),
        pa.array(np.repeat(predictions.positions, k)),
        item_ids.take(predictions.rows.ravel()),
        pa.array(np.tile(np.arange(1, k + 1), num_events)),
        pa.array(predictions.scores.ravel()),
    ]


def _cut_groups(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields the first session of each group and the one after its last."""
    first, num_sessions = 0, len(offsets) - 1
    while first < num_sessions:
        end = offsets[first] + _CLICKS_PER_GROUP
        last = max(int(np.searchsorted(offsets, end, side="right")) - 1, first + 1)
        yield first, last
        first = last
