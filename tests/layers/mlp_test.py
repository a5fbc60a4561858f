"""Fully connected layers against NumPy, and their initial weights."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.layers.mlp import MLP

INPUTS = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def compute(mlp: MLP, inputs: np.ndarray, is_last_linear: bool) -> np.ndarray:
    values = inputs.astype(np.float64)
    for index, layer in enumerate(mlp.layers):
        kernel, bias = (weight.numpy().astype(np.float64) for weight in layer.weights)
        values = values @ kernel + bias
        if not is_last_linear or index < len(mlp.layers) - 1:
            values = np.maximum(values, 0)
    return values


@pytest.mark.parametrize("is_last_linear", [True, False])
def test_layers_are_products_with_relu(is_last_linear):
    mlp = MLP(5, (7, 4, 3), is_last_linear=is_last_linear)
    expected = compute(mlp, INPUTS, is_last_linear)
    np.testing.assert_allclose(mlp(INPUTS), expected, rtol=1e-5, atol=1e-6)
    assert (expected < 0).any() == is_last_linear


def test_weights_start_as_those_of_dlrm():
    mlp = MLP(300, (500, 400), seed=7)
    for layer, (fan_in, fan_out) in zip(mlp.layers, [(300, 500), (500, 400)], strict=True):
        kernel, bias = (weight.numpy() for weight in layer.weights)
        assert kernel.std() == pytest.approx(np.sqrt(2 / (fan_in + fan_out)), rel=0.02)
        assert bias.std() == pytest.approx(np.sqrt(1 / fan_out), rel=0.15)
        assert abs(kernel.mean()) < 0.001


def test_layers_and_seeds_have_numbers_of_their_own():
    kernels = [
        layer.kernel.numpy() for seed in (1, 2) for layer in MLP(4, (4, 4), seed=seed).layers
    ]
    assert len({kernel.tobytes() for kernel in kernels}) == 4
    np.testing.assert_array_equal(MLP(4, (4,), seed=1).layers[0].kernel, kernels[0])


def test_mixed_precision_keeps_weights_and_outputs_in_float32():
    exact, mixed = MLP(5, (64, 3)), MLP(5, (64, 3), precision="mixed_bfloat16")
    outputs = mixed(INPUTS)
    assert {weight.dtype for weight in mixed.weights} == {tf.float32}
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs, exact(INPUTS), rtol=0.05, atol=0.05)
    assert not np.array_equal(outputs, exact(INPUTS))


def test_a_linear_last_layer_is_not_rounded_in_mixed_precision():
    hidden, whole = (
        MLP(5, units, is_last_linear=is_last_linear, precision="mixed_bfloat16")
        for units, is_last_linear in [((64,), False), ((64, 3), True)]
    )
    kernel, bias = (weight.numpy().astype(np.float64) for weight in whole.layers[-1].weights)
    expected = hidden(INPUTS).numpy().astype(np.float64) @ kernel + bias
    np.testing.assert_allclose(whole(INPUTS), expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_bias_in_bfloat16_is_the_sum_over_the_batch():
    mlp = MLP(5, (4, 3), is_last_linear=True, precision="mixed_bfloat16")
    factors = np.random.default_rng(2).normal(size=(6, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(mlp(INPUTS) * factors)
    first, last = mlp.layers
    of_first, of_last = tape.gradient(loss, [first.bias, last.bias])
    np.testing.assert_allclose(of_last, factors.sum(axis=0), rtol=0.02, atol=0.02)
    hidden = INPUTS.astype(np.float64) @ first.kernel.numpy() + first.bias.numpy()
    upstream = factors @ last.kernel.numpy().T * (hidden > 0)
    np.testing.assert_allclose(of_first, upstream.sum(axis=0), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_zeros_behind_the_inputs_change_nothing(precision):
    mlp = MLP(5, (7, 3), precision=precision)
    kernel = mlp.layers[0].kernel
    results = []
    for num_zeros in (0, 11):
        with tf.GradientTape() as tape:
            outputs = mlp(np.pad(INPUTS, [(0, 0), (0, num_zeros)]))
        results.append((outputs, tape.gradient(outputs, kernel)))
    for exact, padded in zip(*results, strict=True):
        np.testing.assert_allclose(padded, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("has_constant_inputs", [False, True])
def test_layers_for_xla_learn_the_same(has_constant_inputs):
    mlps = [MLP(5, (256, 3, 1), is_last_linear=True, seed=3) for _ in range(2)]
    mlps[1].prepare_for_xla(has_constant_inputs=has_constant_inputs)
    gradients = []
    for mlp in mlps:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(mlp(INPUTS)))
        gradients.append(tape.gradient(loss, mlp.trainable_variables))
    for plain, compiled in zip(*gradients, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-5)


def test_dropout_drops_by_the_given_numbers():
    mlp = MLP(5, (7, 4, 3), dropout_rate=0.25, is_last_linear=True)
    assert mlp.noise_width == 7 + 4
    noise = np.random.default_rng(1).integers(0, 2**16, (6, 11), np.uint16)
    values, start = INPUTS.astype(np.float64), 0
    for index, layer in enumerate(mlp.layers):
        kernel, bias = (weight.numpy().astype(np.float64) for weight in layer.weights)
        values = values @ kernel + bias
        if index < 2:
            kept = noise[:, start : start + values.shape[1]] >= 0.25 * 2**16
            start += values.shape[1]
            values = np.maximum(values, 0) * kept / 0.75
    np.testing.assert_allclose(mlp(INPUTS, noise), values, rtol=1e-5, atol=1e-6)
    assert MLP(5, (7, 4)).noise_width == 0
