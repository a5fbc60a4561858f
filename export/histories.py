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
        clicks = tf.ragged.boolean_mask(rows, rows > 0)
        if config.repeats != "keep":
            padded = clicks.to_tensor()
            clicks = tf.ragged.boolean_mask(padded, (padded > 0) & ~_find_repeats(padded, config))
        clicks = clicks[:, -config.max_history :]
        return Histories(clicks.to_tensor(), tf.cast(clicks.row_lengths(), tf.int32))

    return read


def _find_repeats(rows: tf.Tensor, config: HistoryBatchConfig) -> tf.Tensor:
    """Returns which clicks of rows [B, L] are left out, bool [B, L]."""
    if config.repeats == "adjacent":
        return tf.concat([tf.zeros_like(rows[:, :1], tf.bool), rows[:, 1:] == rows[:, :-1]], axis=1)
    is_equal = rows[:, :, None] == rows[:, None, :]
    places = tf.range(tf.shape(rows)[1])
    is_earlier = places[:, None] > places[None]
    return tf.reduce_any(is_equal & is_earlier, axis=2)
