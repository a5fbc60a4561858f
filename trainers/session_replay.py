"""Playing sessions through a trained model: a session vector after each click."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.sessions.lanes import SILENT, schedule_lanes
from tfrec_zoo.models.gru4rec import GRU4Rec, States

_MAX_LANES = 512
_STEPS_PER_BLOCK = 16


class SessionPlayer:
    """Computes the session vectors of a model, each session from a zero state.

    The sessions run in lanes, the longest first, so that few lanes fall silent before the end, and
    in blocks of steps of one shape, so that the function is traced once. What is in memory is one
    block, whatever the length of the log.
    """

    def __init__(self, model: GRU4Rec) -> None:
        """Takes the model; later changes of its weights are seen."""
        self._model = model
        # XLA would be a third faster here, and take longer to compile than that gains.
        self._play = tf.function(self._play_block)

    def _play_block(
        self, item_rows: tf.Tensor, is_first: tf.Tensor, states: States
    ) -> tuple[tf.Tensor, States]:
        return self._model.unroll(self._model.input_vectors(item_rows), is_first, states)

    def play(
        self, rows: np.ndarray, offsets: np.ndarray, *, includes_last: bool = False
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Plays sessions from their beginning.

        Args:
            rows: int32 [N], the clicks as rows of the model's tables, none of them 0.
            offsets: int64 [S + 1], session s is `rows[offsets[s]:offsets[s + 1]]`.
            includes_last: whether the vectors after the sessions' last clicks, which no click
                follows, are wanted, too.

        Yields:
            Click positions int [n], in no order, and the session vectors after these clicks,
            float32 [n, H]: each click once, over all that is yielded.
        """
        lengths = np.diff(offsets)
        order = np.argsort(-lengths, kind="stable")
        num_lanes = min(_MAX_LANES, _power_of_two(len(lengths)))
        schedule = schedule_lanes(
            offsets[:-1][order], lengths[order] + int(includes_last), num_lanes
        )
        is_start = np.zeros(len(rows), bool)
        is_start[offsets[:-1][lengths > 0]] = True
        states = self._model.initial_state(num_lanes)
        for first in range(0, len(schedule), _STEPS_PER_BLOCK):
            clicks = schedule[first : first + _STEPS_PER_BLOCK]
            missing = _STEPS_PER_BLOCK - len(clicks)
            clicks = np.pad(clicks, ((0, missing), (0, 0)), constant_values=SILENT)
            is_played = clicks != SILENT
            item_rows = np.where(is_played, rows[clicks], 0).astype(np.int32)
            vectors, states = self._play(item_rows, is_played & is_start[clicks], states)
            yield clicks[is_played], vectors.numpy()[is_played]


def regroup(
    pieces: Iterator[tuple[np.ndarray, np.ndarray]], size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Joins and cuts pairs of equally long arrays to the length `size`; the last may be shorter."""
    waiting, num_waiting = [], 0
    for piece in pieces:
        waiting.append(piece)
        num_waiting += len(piece[0])
        if num_waiting < size:
            continue
        first, second = (np.concatenate(arrays) for arrays in zip(*waiting, strict=True))
        end = num_waiting - num_waiting % size
        for begin in range(0, end, size):
            yield first[begin : begin + size], second[begin : begin + size]
        waiting, num_waiting = [(first[end:], second[end:])], num_waiting - end
    if num_waiting:
        yield tuple(np.concatenate(arrays) for arrays in zip(*waiting, strict=True))


def _power_of_two(number: int) -> int:
    """Returns the least power of two that is not below `number`, so that few shapes occur."""
    return 1 << max(number - 1, 0).bit_length()
