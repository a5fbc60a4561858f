"""The order in which XLA computes a step: it runs whatever is ready, unless data say otherwise."""

from collections.abc import Sequence

import tensorflow as tf


def zero_after(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns 0, float [], as something that XLA does not know before it knows `values`.

    What it is added to, or filled up with, comes after them. (XLA drops `optimization_barrier`s
    before it decides what to copy, and control dependencies at once.)
    """
    samples = [tf.reduce_sum(tf.abs(tf.reshape(value, [-1])[:1])) for value in values]
    return tf.minimum(tf.add_n([tf.constant(0.0), *samples]), 0.0)
