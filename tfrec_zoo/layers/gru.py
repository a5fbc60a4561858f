"""The GRU of GRU4Rec: reset before the matrix product, the update gate weighs the candidate."""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from tfrec_zoo.layers.dropout import dropout
from tfrec_zoo.layers.initializers import BlockInitializer


@tf_keras.saving.register_keras_serializable("tfrec_zoo")
class GRUCell(tf_keras.layers.Layer):
    """One step of a GRU as in the original GRU4Rec.

    With `v = x kernel + bias` split into `[candidate | reset | update]`,

        r = sigma(v_r + h W_r)    z = sigma(v_z + h W_z)
        c = activation(v_c + (r * h) W_c)
        h' = (1 - z) * h + z * c

    `tf_keras.layers.GRUCell(reset_after=False)` is the same cell with z for 1 - z and another
    order of the blocks; its default is not this cell. Where `projects_input` is off, x is v - bias
    already (one-hot input: x is a row of the input matrix).
    """

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        projects_input: bool = True,
        init_scale: float = 0.0,
        init_distribution: str = "uniform",
        seed: int = 0,
        **kwargs,
    ) -> None:
        """Takes the width H and the candidate's activation by its Keras name."""
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        self.projects_input = projects_input
        self.init_scale = init_scale
        self.init_distribution = init_distribution
        self.seed = seed
        self._activate = tf_keras.activations.get(activation)

    def build(self, input_shape: Sequence[int]) -> None:
        """Makes the weights for inputs [..., input_dim]."""

        def add(name: str, rows: int, blocks: int, key: int) -> tf.Variable:
            initializer = BlockInitializer(
                (self.seed, key), blocks, self.init_scale, self.init_distribution
            )
            return self.add_weight(name, (rows, blocks * self.units), initializer=initializer)

        if self.projects_input:
            self.kernel = add("kernel", int(input_shape[-1]), 3, 0)
        self.gate_kernel = add("gate_kernel", self.units, 2, 1)
        self.candidate_kernel = add("candidate_kernel", self.units, 1, 2)
        self.bias = self.add_weight("bias", (3 * self.units,), initializer="zeros")
        self.built = True

    def call(self, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Returns the next state float [B, H] from inputs float [B, E] and state float [B, H]."""
        return self.advance(self.project(inputs), state)

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns v float [..., 3 H] of inputs float [..., E]: all that needs no state."""
        if not self.projects_input:
            return inputs + self.bias
        if inputs.shape.rank == 2:
            return tf.matmul(inputs, self.kernel) + self.bias
        # One product for the clicks of all steps.
        shape = tf.concat([tf.shape(inputs)[:-1], [3 * self.units]], axis=0)
        rows = tf.matmul(tf.reshape(inputs, [-1, inputs.shape[-1]]), self.kernel)
        projected = tf.reshape(rows, shape)
        projected.set_shape([*inputs.shape[:-1], 3 * self.units])
        return projected + self.bias

    def advance(self, projected: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Returns the next state float [B, H] from v float [B, 3 H] and the state float [B, H]."""
        candidate, reset, update = tf.split(projected, 3, axis=1)
        reset_gate, update_gate = tf.split(tf.matmul(state, self.gate_kernel), 2, axis=1)
        reset = tf.sigmoid(reset + reset_gate)
        update = tf.sigmoid(update + update_gate)
        candidate = self._activate(candidate + tf.matmul(reset * state, self.candidate_kernel))
        return (1.0 - update) * state + update * candidate

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        names = ("units", "activation", "projects_input", "init_scale", "init_distribution", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class GRUStack(tf_keras.layers.Layer):
    """GRU layers on top of each other, any number and sizes; dropout goes into the carried state.

    Every network of `tfrec_zoo.models.gru4rec.GRU4Rec` has this shape: an attribute `state_dims`,
    and a call from inputs and states to the next states, the last of which is the session vector.
    """

    def __init__(
        self, cells: Sequence[GRUCell], dropout: float = 0.0, name: str = "network"
    ) -> None:
        """Takes the layers' cells, first to last, and the dropout of each new state."""
        super().__init__(name=name)
        self.cells = list(cells)
        self.dropout = dropout
        self.state_dims = tuple(cell.units for cell in cells)
        self.noise_width = sum(self.state_dims) if dropout else 0

    def build(self, input_shape: Sequence[int]) -> None:
        """Builds each cell for the width of the layer below it."""
        width = int(input_shape[-1])
        for index, cell in enumerate(self.cells):
            with tf.name_scope(f"layer_{index}"):
                cell.build((None, width))
            width = cell.units
        self.built = True

    def call(
        self, inputs: tf.Tensor, states: tuple[tf.Tensor, ...], noise: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, ...]:
        """Advances by one click.

        Args:
            inputs: float [B, E].
            states: float [B, H_i] of each layer.
            noise: uint16 [B, noise_width], random numbers of the dropout; None: no dropout.

        Returns:
            The new states, float [B, H_i]; the last layer's is the session vector.
        """
        next_states, first = [], 0
        for cell, state in zip(self.cells, states, strict=True):
            inputs = cell(inputs, state)
            if noise is not None and self.dropout:
                inputs = dropout(inputs, noise[:, first : first + cell.units], self.dropout)
                first += cell.units
            next_states.append(inputs)
        return tuple(next_states)
