"""What the steps of all models share."""

import numpy as np
import tensorflow as tf

from tfrec_zoo.trainers.row_step import gather_columns

RNG = np.random.default_rng(0)


def test_columns_that_are_gathered_twice_get_the_sum_of_their_gradients():
    values = tf.constant(RNG.normal(size=(5, 3)), tf.float32)
    columns = tf.constant([[1, 3], [3, 3]])
    upstream = RNG.normal(size=(2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = tf.reduce_sum(gather_columns(values, columns) * upstream)
    expected = np.zeros((5, 3))
    np.add.at(expected, columns.numpy(), upstream)
    np.testing.assert_allclose(tape.gradient(loss, values), expected, rtol=1e-5)
