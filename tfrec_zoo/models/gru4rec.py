"""GRU4Rec: scores for the next item of a session (Hidasi et al. 2016, 2018)."""

from collections.abc import Callable

import tensorflow as tf
import tf_keras

from tfrec_zoo.layers.dropout import dropout
from tfrec_zoo.layers.gru import GRUCell, GRUStack
from tfrec_zoo.layers.initializers import RowTableInitializer
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig

States = tuple[tf.Tensor, ...]

# Keys that keep the random numbers of one seed apart.
_ITEM_TABLE, _INPUT_TABLE, _FIRST_CELL = 1, 2, 3


class GRU4Rec(tf_keras.Model):
    """A recurrent network over the clicks of a session and a table of items that it scores.

    `item_table` float [V + 1, H (+ 1)] holds an item's output vector and, as the last column, its
    bias: the score is the product with `[h, 1]`. Row 0 is padding. Inputs are rows of the same
    table (tied), of `input_table` [V + 1, E] (separate) or of `input_table` [V + 1, 3H], the
    one-hot input matrix.

    Everything is a function of its arguments: the state goes in and comes out. For another network,
    override `make_network` with a layer that has the attributes and the call of `GRUStack`.
    """

    def __init__(self, config: GRU4RecConfig, num_rows: int, seed: int = 0) -> None:
        """Makes the weights.

        Args:
            config: the network.
            num_rows: V + 1, rows of the vocabulary with the padding row.
            seed: of the initial weights.
        """
        super().__init__(name="gru4rec")
        self.config = config
        self.num_rows = num_rows
        self.seed = seed
        self.network = self.make_network()
        output_dim = self.network.state_dims[-1]
        self.item_table = self._add_table(
            "item_table", output_dim, _ITEM_TABLE, num_zero_columns=int(config.use_item_bias)
        )
        self.input_table = None
        input_dim = output_dim
        if config.input_mode == "separate":
            input_dim = config.embedding_dim
            self.input_table = self._add_table("input_table", input_dim, _INPUT_TABLE)
        elif config.input_mode == "one_hot":
            input_dim = 3 * config.hidden_dims[0]
            self.input_table = self._add_table("input_table", input_dim, _INPUT_TABLE, num_blocks=3)
        self.input_dim = input_dim
        self.network.build((None, input_dim))
        # Keras would build a layer whose own `build` does not say so again at its first call.
        self.network.built = self.built = True

    def make_network(self) -> tf_keras.layers.Layer:
        """Returns the recurrent network; to be overridden for another one."""
        config = self.config
        cells = [
            GRUCell(
                units,
                activation=config.hidden_activation,
                projects_input=index > 0 or config.input_mode != "one_hot",
                init_scale=config.init_scale,
                init_distribution=config.init_distribution,
                seed=self.seed + _FIRST_CELL + index,
            )
            for index, units in enumerate(config.hidden_dims)
        ]
        return GRUStack(cells, dropout=config.dropout_hidden)

    def _add_table(
        self, name: str, width: int, key: int, num_zero_columns: int = 0, num_blocks: int = 1
    ) -> tf.Variable:
        initializer = RowTableInitializer(
            (self.seed, key),
            num_zero_columns=num_zero_columns,
            num_blocks=num_blocks,
            scale=self.config.init_scale,
            distribution=self.config.init_distribution,
        )
        shape = (self.num_rows, width + num_zero_columns)
        return self.add_weight(name, shape, initializer=initializer)

    @property
    def noise_width(self) -> int:
        """Random numbers that the dropout of an event takes in training."""
        width = self.input_dim if self.config.dropout_embedding else 0
        return width + getattr(self.network, "noise_width", 0)

    def initial_state(self, batch_size: int | tf.Tensor) -> States:
        """Returns zeros float [B, H_i] for each layer: the state before a session's first click."""
        return tuple(tf.zeros([batch_size, width]) for width in self.network.state_dims)

    def input_vectors(self, item_rows: tf.Tensor) -> tf.Tensor:
        """Returns float [..., E], the network's inputs for int32 item rows."""
        table = self.item_table if self.input_table is None else self.input_table
        return self.trim_inputs(tf.gather(table, item_rows))

    def trim_inputs(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the input part [..., E] of table rows [..., W]: all but a tied table's bias."""
        return rows[..., : self.input_dim]

    def call(self, item_rows: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """Advances each session by one click, without dropout.

        Args:
            item_rows: int32 [B]; 0, padding or an unknown item, leaves the session's state as it
                is.
            states: float [B, H_i] of each layer.

        Returns:
            The session vector, float [B, H], and the new states.
        """
        advanced = self.network(self.input_vectors(item_rows), states)
        is_item = (item_rows > 0)[:, None]
        states = tuple(
            tf.where(is_item, new, old) for new, old in zip(advanced, states, strict=True)
        )
        return states[-1], states

    def unroll(
        self, inputs: tf.Tensor, is_first: tf.Tensor, states: States, noise: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, States]:
        """Plays T steps of the lanes, with dropout where noise is given.

        Args:
            inputs: float [T, B, E].
            is_first: bool [T, B], a session begins with this step: its lane's state is zero before.
            states: float [B, H_i] of each layer.
            noise: uint16 [T, B, noise_width], random numbers of the dropout; None: inference.

        Returns:
            The outputs, float [T, B, H], and the states after the last step.
        """
        if noise is not None and self.config.dropout_embedding:
            input_noise, noise = noise[..., : self.input_dim], noise[..., self.input_dim :]
            inputs = dropout(inputs, input_noise, self.config.dropout_embedding)

        def advance(step: int | tf.Tensor, states: States) -> States:
            started = is_first[step][:, None]
            states = tuple(tf.where(started, tf.zeros_like(state), state) for state in states)
            return self.network(inputs[step], states, None if noise is None else noise[step])

        num_steps = inputs.shape[0]
        if num_steps == 1:
            states = advance(0, states)
            return states[-1][None], states
        return _scan(advance, num_steps, states)

    def score(self, session_vectors: tf.Tensor, item_rows: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the activated scores float [B, C] of session vectors float [B, H].

        Args:
            session_vectors: float [B, H].
            item_rows: rows of the item table, float [C, W]; None: the whole table, C = V + 1.
        """
        table = self.item_table if item_rows is None else item_rows
        products = tf.matmul(self.augment(session_vectors), table, transpose_b=True)
        return self.activate(products)

    def augment(self, session_vectors: tf.Tensor) -> tf.Tensor:
        """Returns `[h, 1]`, float [..., W], whose product with an item's row includes its bias."""
        if not self.config.use_item_bias:
            return session_vectors
        return tf.concat([session_vectors, tf.ones_like(session_vectors[..., :1])], axis=-1)

    def activate(self, scores: tf.Tensor) -> tf.Tensor:
        """Applies `score_activation`, element by element."""
        if self.config.score_activation == "elu":
            negative = self.config.elu_alpha * tf.math.expm1(tf.minimum(scores, 0.0))
            return tf.where(scores > 0, scores, negative)
        return tf_keras.activations.get(self.config.score_activation)(scores)


def _scan(
    advance: Callable[[tf.Tensor, States], States], num_steps: int, states: States
) -> tuple[tf.Tensor, States]:
    """Runs `advance(step, states) -> states` and stacks the last states to float [T, B, H]."""
    outputs = tf.TensorArray(tf.float32, num_steps, element_shape=states[-1].shape)

    def body(step: tf.Tensor, outputs: tf.TensorArray, states: States):
        states = advance(step, states)
        return step + 1, outputs.write(step, states[-1]), states

    _, outputs, states = tf.while_loop(
        lambda step, *_: step < num_steps,
        body,
        (tf.constant(0), outputs, states),
        maximum_iterations=num_steps,
    )
    return outputs.stack(), states
