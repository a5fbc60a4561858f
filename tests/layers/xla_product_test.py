"""A product and its gradients, compiled and not, against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.layers.xla_product import multiply


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("inputs_first", [False, True])
# Of one output, of rows that collide in the cache, and of others.
@pytest.mark.parametrize(("width", "units"), [(256, 1), (512, 4), (7, 1), (7, 3)])
def test_products_and_gradients_are_those_of_the_mathematics(
    width, units, inputs_first, jit_compile
):
    rng = np.random.default_rng(width + units)
    inputs, kernel, upstream = (
        rng.normal(size=shape) for shape in [(5, width), (width, units), (5, units)]
    )

    @tf.function(jit_compile=jit_compile)
    def run(inputs, kernel, upstream):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = multiply(inputs, kernel, inputs_first=inputs_first)
        return outputs, *tape.gradient(outputs, [inputs, kernel], output_gradients=upstream)

    found = run(*(tf.constant(array, tf.float32) for array in (inputs, kernel, upstream)))
    wanted = [inputs @ kernel, upstream @ kernel.T, inputs.T @ upstream]
    for array, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-4)
