"""Cross layers against their formula, and against TensorFlow Recommenders' layer."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.layers.cross import CrossLayers

INPUTS = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)


@pytest.mark.parametrize("rank", [0, 3])
def test_layers_follow_the_formula(rank):
    cross = CrossLayers(10, 3, rank, seed=2)
    for variable in cross.trainable_variables:
        if "bias" in variable.name:
            variable.assign(np.random.default_rng(3).normal(size=variable.shape))
    first = values = INPUTS.astype(np.float64)
    for layers in cross.layers:
        kernels = [layer.kernel.numpy().astype(np.float64) for layer in layers]
        matrix = kernels[0] if not rank else kernels[0] @ kernels[1]
        values = first * (values @ matrix + layers[-1].bias.numpy()) + values
    np.testing.assert_allclose(cross(INPUTS), values, rtol=1e-4, atol=1e-5)
    assert len(cross.layers) == 3


@pytest.mark.parametrize("rank", [0, 3])
def test_a_layer_is_that_of_tensorflow_recommenders(rank):
    from tensorflow_recommenders.layers.feature_interaction import Cross

    peer = Cross(projection_dim=rank or None)
    peer(tf.constant(INPUTS))
    cross = CrossLayers(10, 1, rank)
    assert [v.shape for v in cross.weights] == [v.shape for v in peer.weights]
    for variable, other in zip(cross.weights, peer.weights, strict=True):
        variable.assign(other)
    np.testing.assert_allclose(cross(INPUTS), peer(tf.constant(INPUTS)), rtol=1e-5, atol=1e-6)


def test_mixed_precision_computes_products_in_bfloat16():
    exact, mixed = CrossLayers(10, 2, seed=1), CrossLayers(10, 2, 0, "mixed_bfloat16", seed=1)
    outputs = mixed(INPUTS)
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs, exact(INPUTS), rtol=0.1, atol=0.1)
    assert not np.array_equal(outputs, exact(INPUTS))


def test_a_rank_that_saves_nothing_is_refused():
    with pytest.raises(ValueError, match="cross_rank must be at most half of the width .* 10, got"):
        CrossLayers(10, 1, 6)
