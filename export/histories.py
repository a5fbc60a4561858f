"""What of a session a model reads, in the graph that is served: twin of `data.news.histories`."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfrec_zoo.data.news.history_batch_config import HistoryBatchConfig


class Histories(NamedTuple):
    """Clicks that are read.

    `rows` int32 [B, L], where L is the longest length; `lengths` int32 [B].
    """

    rows: tf.Tensor
    lengths: tf.Tensor


def make_reader(config: HistoryBatchConfig) -> Callable[[tf.Tensor], Histories]:
    """Returns the function from sessions to the histories that training has made of such.

    It takes rows int32 [B, T], where 0, anywhere, is no click. These are left out first, then
    `repeats`, and of the rest the last `max_history` clicks are kept.
    """

    def read(rows: tf.Tensor) -> Histories:
        if config.repeats != "keep":
            rows = _keep_last(rows, rows > 0).rows
            is_new = ~_find_repeats(rows, config)
            return _keep_last(rows, (rows > 0) & is_new, config.max_history)
        return _keep_last(rows, rows > 0, config.max_history)

    return read


def _keep_last(rows: tf.Tensor, is_kept: tf.Tensor, count: int | None = None) -> Histories:
    """Returns what is kept of rows [B, T], at most the last `count` of each; zeros behind it.

    As arrays and not as ragged tensors, whose operations other formats lack.
    """
    numbers = tf.cast(is_kept, tf.int32)
    places, lengths = tf.cumsum(numbers, axis=1, exclusive=True), tf.reduce_sum(numbers, axis=1)
    if count is not None:
        places -= tf.maximum(lengths - count, 0)[:, None]
        is_kept &= places >= 0
        lengths = tf.minimum(lengths, count)
    # Never 0, which would be another dimension in the shapes of ONNX.
    longest = tf.reduce_max(tf.concat([[1], lengths], axis=0))
    num_sessions = tf.shape(rows)[0]
    targets = tf.range(num_sessions)[:, None] * longest + places
    kept = tf.where(tf.reshape(is_kept, [-1]))[:, 0]
    found = tf.scatter_nd(
        tf.gather(tf.reshape(targets, [-1]), kept)[:, None],
        tf.gather(tf.reshape(rows, [-1]), kept),
        [num_sessions * longest],
    )
    return Histories(tf.reshape(found, [num_sessions, longest]), lengths)


def _find_repeats(rows: tf.Tensor, config: HistoryBatchConfig) -> tf.Tensor:
    """Returns which clicks of rows [B, L] are left out, bool [B, L]."""
    if config.repeats == "adjacent":
        return tf.concat([tf.zeros_like(rows[:, :1], tf.bool), rows[:, 1:] == rows[:, :-1]], axis=1)
    is_equal = tf.expand_dims(rows, 2) == tf.expand_dims(rows, 1)
    places = tf.range(tf.shape(rows)[1])
    is_earlier = places[:, None] > places[None]
    return tf.reduce_any(is_equal & is_earlier, axis=2)
