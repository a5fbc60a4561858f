"""Interactions of feature vectors against loops over pairs in float64."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_recommenders.layers.feature_interaction import DotInteraction

from tfrec_zoo.layers.interactions import dot_interaction

VECTORS = np.random.default_rng(0).normal(size=(4, 5, 3))


def pairs(num_features, self_interaction):
    """The pairs in DLRM's order."""
    last = 1 if self_interaction else 0
    return [(i, j) for i in range(num_features) for j in range(i + last)]


def compute(vectors, self_interaction, jit_compile):
    """Returns the products and the gradient of their weighted sum."""

    @tf.function(jit_compile=jit_compile)
    def run(vectors):
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            products = dot_interaction(vectors, self_interaction)
            total = tf.reduce_sum(products * tf.range(1.0, products.shape[1] + 1.0))
        return products, tape.gradient(total, vectors)

    return [value.numpy() for value in run(tf.constant(vectors, tf.float32))]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("self_interaction", [False, True])
def test_the_products_and_their_gradient_are_those_of_the_pairs(self_interaction, jit_compile):
    products, gradient = compute(VECTORS, self_interaction, jit_compile)
    order = pairs(5, self_interaction)
    wanted = np.stack([(VECTORS[:, i] * VECTORS[:, j]).sum(1) for i, j in order], axis=1)
    np.testing.assert_allclose(products, wanted, rtol=1e-5, atol=1e-6)
    wanted = np.zeros_like(VECTORS)
    for weight, (i, j) in enumerate(order, 1):
        wanted[:, i] += weight * VECTORS[:, j]
        wanted[:, j] += weight * VECTORS[:, i]
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-5)


def test_the_order_is_that_of_dlrm():
    vectors = tf.constant([[[1.0], [10.0], [100.0]]])
    assert dot_interaction(vectors).numpy().tolist() == [[10.0, 100.0, 1000.0]]
    with_self = dot_interaction(vectors, self_interaction=True).numpy().tolist()
    assert with_self == [[1.0, 10.0, 100.0, 100.0, 1000.0, 10000.0]]


@pytest.mark.parametrize("self_interaction", [False, True])
def test_tfrs_has_the_same_products(self_interaction):
    vectors = tf.constant(VECTORS, tf.float32)
    layer = DotInteraction(self_interaction=self_interaction)
    wanted = layer(tf.unstack(vectors, axis=1))
    np.testing.assert_allclose(dot_interaction(vectors, self_interaction), wanted, rtol=1e-5)


def test_a_batch_of_any_size_is_taken():
    run = tf.function(
        dot_interaction, input_signature=[tf.TensorSpec([None, 5, 3])], autograph=False
    )
    assert run(tf.zeros([0, 5, 3])).shape == (0, 10)
    assert run(tf.zeros([7, 5, 3])).shape == (7, 10)
