"""SSR: vectors of sessions and of items, whose product says what comes next."""

import math

import tensorflow as tf
import tf_keras

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.layers.dropout import dropout
from tfrec_zoo.layers.embedding_tables import EmbeddingTables, Pooled
from tfrec_zoo.layers.gru import GRUCell
from tfrec_zoo.layers.table_layout import TableSettings
from tfrec_zoo.models.ssr_config import SSRConfig

# Keys that keep the random numbers of one seed apart.
_TABLES, _GRU, _LAYERS = 1, 2, 3
_SEED_STRIDE = 7919
# Each of the ages that are told apart is this much longer than the one before.
_AGE_FACTOR = 1.5


class SSR(tf_keras.Model):
    """A session tower and an item tower over the same content.

        x_j = sum over the features of item j of their vectors + dense_j D     [E]
        v_j = x_j W_item + b_item                                             [D]
        u   = max over time of GRU(x_1, ..., x_T), times W_session, + b       [D]
        score(u, v_j) = u . v_j + a(age of j) + e(shows of j) + c(clicks of j)

    of vectors of length 1 with `normalize`.

    a is learned for each of `age_buckets` ages, and for one that is not known; without them it is
    0. An item is nothing but its content, so that one which nobody has clicked has a vector as good
    as any. The id is content where the features have it.
    """

    def __init__(self, config: SSRConfig, schema: ClickSchema, seed: int = 0) -> None:
        """Makes the weights.

        Args:
            config: the towers.
            schema: the features of an item.
            seed: of the initial weights.
        """
        super().__init__(name="ssr")
        self.config = config
        self.schema = schema
        seed *= _SEED_STRIDE
        self.tables = EmbeddingTables(
            schema,
            TableSettings(config.embedding_dim, {}),
            init_scale=config.table_init_scale,
            seed=seed + _TABLES,
        )
        self.dense_projection = None
        if schema.num_dense:
            self.dense_projection = _linear(
                schema.num_dense, config.embedding_dim, seed + _LAYERS, "dense", use_bias=False
            )
        self.cell, session_width = None, config.embedding_dim
        if config.session_encoder == "gru":
            self.cell = GRUCell(config.hidden_dim, seed=seed + _GRU)
            self.cell.build((None, config.embedding_dim))
            session_width = config.hidden_dim
        width = config.vector_dim
        self.session_layer = _linear(session_width, width, seed + _LAYERS + 1, "session")
        self.item_layer = _linear(config.embedding_dim, width, seed + _LAYERS + 2, "item")
        self.age_scores = None
        if config.age_buckets:
            self.age_scores = self.add_weight(
                name="age_scores", shape=[config.age_buckets + 1], initializer="zeros"
            )
        # Keras would build a model whose own `build` does not say so again at its first call.
        self.built = True

    @property
    def noise_width(self) -> int:
        """Random numbers that the dropout of a click takes in training."""
        return self.config.embedding_dim if self.config.item_dropout else 0

    def item_inputs(self, dense: tf.Tensor, pooled: Pooled) -> tf.Tensor:
        """Returns x, what both towers see of items, float [I, E].

        Args:
            dense: float [I, Dn], the items' numbers.
            pooled: of `EmbeddingTables.pool`, [I, F, E].
        """
        inputs = tf.reduce_sum(pooled.vectors, axis=1)
        return inputs if self.dense_projection is None else inputs + self.dense_projection(dense)

    def read_items(
        self, dense: tf.Tensor, rows: tf.Tensor, row_weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns x of items given by their encoded features, see `ClickSchema`; float [I, E]."""
        return self.item_inputs(dense, self.tables(rows, row_weights))

    def item_vectors(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns v, float [I, D], of inputs x, float [I, E]."""
        return self._finish(self.item_layer(inputs))

    def score_ages(self, ages: tf.Tensor) -> tf.Tensor:
        """Returns a, float of the shape of `ages`.

        Args:
            ages: float, what has passed since an item came up, in the unit of the times. What has
                not come up before a request, -inf among it, is of the age that is not known.
        """
        if self.age_scores is None:
            return tf.zeros_like(ages)
        steps = tf.math.log(1.0 + tf.maximum(ages, 0.0) / self.config.age_unit)
        buckets = 1 + tf.cast(steps / math.log(_AGE_FACTOR), tf.int32)
        buckets = tf.minimum(buckets, self.config.age_buckets)
        return tf.gather(self.age_scores, tf.where(ages > 0, buckets, 0))

    def score_shows(self, shows: tf.Tensor) -> tf.Tensor:
        """Returns e = exposure_weight * log(1 + shows / exposure_prior), of the shape of `shows`.

        A click needs a show: P(click) = P(shown) P(click | shown). The towers learn the second
        factor, and how much an item is being shown (`Exposures.levels`) tells the first.
        """
        return self.config.exposure_weight * tf.math.log1p(shows / self.config.exposure_prior)

    def score_click_lifts(self, click_lifts: tf.Tensor) -> tf.Tensor:
        """Returns c = click_rate_weight * log(lift), of the shape of `click_lifts`.

        Args:
            click_lifts: float, positive: by how many times more often than others an item is
                clicked when it is shown (`Exposures.click_lifts`).
        """
        return self.config.click_rate_weight * tf.math.log(click_lifts)

    @property
    def has_offsets(self) -> bool:
        """Whether items have scores beside those of their vectors."""
        return self.age_scores is not None or self.config.asks_impressions

    def session_vectors(
        self, inputs: tf.Tensor, lengths: tf.Tensor, noise: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns u, float [B, D]; what lies behind a session's length changes nothing.

        Args:
            inputs: float [B, T, E], x of the clicked items, in their order.
            lengths: int32 [B], clicks of each session; a session without any has the vector of
                an empty one.
            noise: uint16 [B, T, E], random numbers of the dropout; None: no dropout.
        """
        if noise is not None and self.config.item_dropout:
            inputs = dropout(inputs, noise, self.config.item_dropout)
        is_click = tf.sequence_mask(lengths, tf.shape(inputs)[1])
        if self.cell is not None:
            return self._finish(self.session_layer(self._play(inputs, is_click)))
        weights = tf.cast(is_click, tf.float32)
        total = tf.einsum("bte,bt->be", inputs, weights)
        count = tf.maximum(tf.cast(lengths, tf.float32), 1.0)[:, None]
        return self._finish(self.session_layer(total / count))

    def _play(self, inputs: tf.Tensor, is_click: tf.Tensor) -> tf.Tensor:
        """Returns the pooled outputs of the GRU, float [B, H]."""
        pooling, batch_size = self.config.session_pooling, tf.shape(inputs)[0]
        shape = [batch_size, self.config.hidden_dim]
        # The state is within (-1, 1), so -1 is below every output that can be pooled.
        start = tf.fill(shape, -1.0) if pooling == "max" else tf.zeros(shape)
        inputs = self.cell.project(tf.transpose(inputs, [1, 0, 2]))
        is_click = tf.transpose(is_click)

        def advance(step: tf.Tensor, state: tf.Tensor, pooled: tf.Tensor) -> tuple:
            is_valid = is_click[step][:, None]
            new = self.cell.advance(inputs[step], state)
            if pooling == "max":
                pooled = tf.where(is_valid, tf.maximum(pooled, new), pooled)
            elif pooling == "mean":
                pooled = tf.where(is_valid, pooled + new, pooled)
            return step + 1, tf.where(is_valid, new, state), pooled

        # The clicks' number may be known or not.
        num_steps = inputs.shape[0] or tf.shape(inputs)[0]
        _, state, pooled = tf.while_loop(
            lambda step, *_: step < num_steps,
            advance,
            (tf.constant(0), tf.zeros(shape), start),
            maximum_iterations=num_steps,
        )
        if pooling == "last":
            return state
        counts = tf.reduce_sum(tf.cast(is_click, tf.float32), axis=0)[:, None]
        if pooling == "mean":
            return pooled / tf.maximum(counts, 1.0)
        return tf.where(counts > 0, pooled, 0.0)

    def _finish(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(vectors, axis=-1) if self.config.normalize else vectors


def _linear(
    fan_in: int, fan_out: int, seed: int, name: str, use_bias: bool = True
) -> tf_keras.layers.Dense:
    layer = tf_keras.layers.Dense(
        fan_out,
        use_bias=use_bias,
        kernel_initializer=tf_keras.initializers.GlorotUniform(seed),
        name=name,
    )
    layer.build([None, fan_in])
    return layer
