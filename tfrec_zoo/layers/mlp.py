"""Fully connected layers with the initial weights of DLRM."""

import functools
import math
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from tfrec_zoo.layers.custom_gradient import custom_gradient
from tfrec_zoo.layers.dropout import dropout
from tfrec_zoo.layers.xla_product import multiply


class MLP(tf_keras.layers.Layer):
    """`x -> act(x W + b)`, layer after layer; the last one may be linear.

    Initial weights are those of DLRM: W ~ N(0, 2 / (in + out)), b ~ N(0, 1 / out).
    """

    def __init__(
        self,
        input_dim: int,
        units: Sequence[int],
        *,
        activation: str = "relu",
        is_last_linear: bool = False,
        dropout_rate: float = 0.0,
        precision: str = "float32",
        seed: int = 0,
        name: str = "mlp",
    ) -> None:
        """Makes the weights.

        Args:
            input_dim: width of the input.
            units: of each layer.
            activation: of each layer, by its name in Keras.
            is_last_linear: whether the last layer has no activation.
            dropout_rate: of the outputs of all layers but the last, in training.
            precision: `float32` or `mixed_bfloat16`, Keras' name of a policy: weights are float32
                and what is computed with them is bfloat16.
            seed: of the initial weights.
        """
        super().__init__(name=name, dtype="float32")
        self._dropout_rate = dropout_rate
        self.layers = []
        for index, (fan_in, fan_out) in enumerate(zip([input_dim, *units], units, strict=False)):
            is_linear = is_last_linear and index == len(units) - 1
            layer = _Dense(
                fan_out,
                "linear" if is_linear else activation,
                kernel_initializer=_normal(2.0 / (fan_in + fan_out), (seed, 2 * index)),
                bias_initializer=_normal(1.0 / fan_out, (seed, 2 * index + 1)),
                # Rounded log-odds would be right to two digits.
                dtype="float32" if is_linear else tf_keras.mixed_precision.Policy(precision),
                name=f"dense_{index}",
            )
            layer.build([None, fan_in])
            self.layers.append(layer)
        self.noise_width = sum(units[:-1]) if dropout_rate else 0
        self.built = True

    def prepare_for_xla(self, *, has_constant_inputs: bool = False) -> None:
        """Has kernels' gradients found in ways that are fast in XLA, and slower without it.

        Args:
            has_constant_inputs: whether nobody asks for the gradient of the inputs.
        """
        for index, layer in enumerate(self.layers):
            if layer.compute_dtype == "float32":
                # Of those that pass a gradient on, the last one in the backward pass.
                is_last = index == int(has_constant_inputs)
                layer.multiply = functools.partial(multiply, inputs_first=is_last)

    def call(self, inputs: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Returns float32 [B, units of the last layer].

        Args:
            inputs: float [B, input_dim], or wider by columns of zeros.
            noise: uint16 [B, noise_width], random numbers for the dropout; None: no dropout.
        """
        values, start = inputs, 0
        for layer in self.layers:
            values = layer(values)
            if noise is not None and self._dropout_rate and layer is not self.layers[-1]:
                width = values.shape[-1]
                values = dropout(values, noise[:, start : start + width], self._dropout_rate)
                start += width
        return tf.cast(values, tf.float32)


class _Dense(tf_keras.layers.Dense):
    """Keras' layer, with other ways to multiply, and to find the gradient of a bias.

    Attributes:
        multiply: returns the product of inputs and kernel.
    """

    def __init__(self, units: int, activation: str, **options) -> None:
        """Takes what Keras' layer does."""
        super().__init__(units, activation, **options)
        self.multiply = tf.matmul

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Makes the weights; inputs may be wider than these."""
        super().build(input_shape)
        self.input_spec = None

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `act(x W + b)` in the type of the layer's policy.

        Where `x` is wider than the layer was built for, W ends in rows of zeros.
        """
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        num_zeros = inputs.shape[-1] - kernel.shape[0]
        if num_zeros:
            kernel = tf.pad(kernel, [[0, num_zeros], [0, 0]])
        add = add_bias if self.compute_dtype == "bfloat16" else tf.nn.bias_add
        return self.activation(add(self.multiply(inputs, kernel), bias))


@custom_gradient
def add_bias(values: tf.Tensor, bias: tf.Tensor):
    """Returns float [B, N] + [N], whose gradient sums over the batch by a product with ones.

    Processors that multiply bfloat16 do that in half the time of TensorFlow's own sum, which runs
    on one thread.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ones = tf.ones([1, tf.shape(upstream)[0]], upstream.dtype)
        return upstream, tf.matmul(ones, upstream)[0]

    return tf.nn.bias_add(values, bias), gradient


def _normal(variance: float, seed: tuple[int, int]) -> tf_keras.initializers.Initializer:
    return StatelessNormal(math.sqrt(variance), seed)


@tf_keras.saving.register_keras_serializable("tfrec_zoo")
class StatelessNormal(tf_keras.initializers.Initializer):
    """N(0, stddev^2), the same numbers for the same seed."""

    def __init__(self, stddev: float, seed: tuple[int, int]) -> None:
        """Takes the standard deviation and the two numbers that the generator starts from."""
        self.stddev, self.seed = stddev, tuple(seed)

    def __call__(self, shape, dtype: tf.DType = tf.float32, **kwargs) -> tf.Tensor:
        """Returns random numbers of `shape`."""
        return tf.random.stateless_normal(shape, self.seed, stddev=self.stddev, dtype=dtype)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {"stddev": self.stddev, "seed": self.seed}
