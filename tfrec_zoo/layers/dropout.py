"""Dropout from random numbers that come with the batch.

Random numbers made inside a compiled step are made again wherever the compiler uses them, which
cost as much as the rest of a GRU4Rec step; made in the input pipeline they cost next to nothing,
and are the same with and without XLA.
"""

import tensorflow as tf

# Random numbers are uint16: a rate is met to 1 / 65536.
NOISE_VALUES = 2**16


def dropout(values: tf.Tensor, noise: tf.Tensor, rate: float) -> tf.Tensor:
    """Returns `values / (1 - rate)` where kept, else 0 (inverted dropout).

    Args:
        values: float [...].
        noise: uint16 [...], uniform; a value is dropped where `noise < rate * 65536`.
        rate: in [0, 1).
    """
    is_kept = tf.cast(noise, tf.int32) >= round(rate * NOISE_VALUES)
    return tf.where(is_kept, values / (1.0 - rate), 0.0)
