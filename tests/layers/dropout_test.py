"""Dropout from given noise."""

import numpy as np
import tensorflow as tf

from tfrec_zoo.layers.dropout import dropout


def test_values_are_dropped_below_the_rate_and_scaled_up_above():
    noise = np.array([0, 16383, 16384, 65535], np.uint16)
    np.testing.assert_allclose(dropout(tf.constant([3.0, 3, 3, 3]), noise, 0.25), [0, 0, 4, 4])


def test_the_mean_stays():
    noise = np.random.default_rng(0).integers(0, 2**16, 200_000, np.uint16)
    np.testing.assert_allclose(tf.reduce_mean(dropout(tf.ones(200_000), noise, 0.4)), 1, atol=0.01)
