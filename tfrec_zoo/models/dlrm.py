"""DLRM: the log-odds of a click from dense and categorical features (Naumov et al. 2019)."""

import math

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.layers.cross import CrossLayers
from tfrec_zoo.layers.embedding_tables import EmbeddingTables, Pooled
from tfrec_zoo.layers.interactions import dot_interaction
from tfrec_zoo.layers.mlp import MLP
from tfrec_zoo.layers.table_layout import Store, TableSettings, lay_out, mixed_widths
from tfrec_zoo.models.dlrm_config import DLRMConfig

# Keys that keep the random numbers of one seed apart.
_TABLES, _BOTTOM, _TOP, _CROSS = 1, 2, 3, 4
_SEED_STRIDE = 7919
_SMALLEST_RATE = 1e-6


class DLRM(tf_keras.Model):
    """A bottom MLP over numbers, tables of categorical features, their interaction, a top MLP.

        x = bottom(dense)                                 [B, D]
        T = [x; e_1; ...; e_F]                            [B, F + 1, D]
        dot:      R = [x, T_i . T_j for j < i, row by row]  [B, D + F (F + 1) / 2]
        cat:      R = T side by side                        [B, (F + 1) D]
        dot_cat:  R = that, and all T_i . T_j               [B, (F + 1) (D + F / 2)]
        cross:    R = cross layers over T side by side      [B, (F + 1) D]
        logit = top(R) (+ first-order weights of the rows)

    Without dense features there is no x. The probability is sigma(logit).
    """

    def __init__(self, config: DLRMConfig, schema: ClickSchema, seed: int = 0) -> None:
        """Makes the weights.

        Args:
            config: the network.
            schema: the features.
            seed: of the initial weights.

        Raises:
            ValueError: the features leave nothing for the top MLP, or do not go with a size.
        """
        super().__init__(name="dlrm")
        self.config = config
        self.schema = schema
        seed *= _SEED_STRIDE
        options = {"activation": config.activation, "precision": config.precision}
        self.bottom = None
        if schema.num_dense:
            self.bottom = MLP(
                schema.num_dense, config.bottom_mlp, seed=seed + _BOTTOM, name="bottom", **options
            )
        self.tables = EmbeddingTables(
            schema,
            table_settings(config, schema),
            has_first_order=config.first_order,
            has_factors=config.weighted_pooling,
            init_scale=config.table_init_scale,
            seed=seed + _TABLES,
        )
        self.cross = None
        num_vectors = len(schema.categorical) + (self.bottom is not None)
        if config.interaction == "cross":
            self.cross = CrossLayers(
                num_vectors * config.embedding_dim,
                config.cross_layers,
                config.cross_rank,
                config.precision,
                seed + _CROSS,
            )
        interaction_width = self._interaction_width(num_vectors)
        if not interaction_width:
            raise ValueError(
                "interaction=dot needs dense features or at least two categorical ones, got only "
                f"{schema.categorical[0].name}: set interaction=cat"
            )
        self.top = MLP(
            interaction_width,
            config.top_mlp,
            is_last_linear=True,
            dropout_rate=config.mlp_dropout,
            seed=seed + _TOP,
            name="top",
            **options,
        )
        # Keras would build a model whose own `build` does not say so again at its first call.
        self.built = True

    def _interaction_width(self, num_vectors: int) -> int:
        config = self.config
        num_pairs = num_vectors * (num_vectors - 1) // 2 + num_vectors * config.self_interaction
        if config.interaction == "dot":
            return num_pairs + config.embedding_dim * (self.bottom is not None)
        return num_vectors * config.embedding_dim + num_pairs * config.has_products

    @property
    def noise_width(self) -> int:
        """Random numbers that dropout takes for an example."""
        return self.top.noise_width

    def prepare_for_xla(self) -> None:
        """Has the gradients of layers taken by the products that XLA is fast at."""
        if self.bottom is not None:
            self.bottom.prepare_for_xla(has_constant_inputs=True)
        self.top.prepare_for_xla()

    def set_click_rate(self, rate: float) -> None:
        """Sets the logit's bias to the log-odds of `rate`, which is cut off near 0 and 1."""
        rate = min(max(rate, _SMALLEST_RATE), 1.0 - _SMALLEST_RATE)
        self.top.layers[-1].bias.assign([math.log(rate / (1.0 - rate))])

    def call(
        self, dense: tf.Tensor, rows: tf.Tensor, row_weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the logits, float [B].

        Args:
            dense: float [B, Dn], transformed.
            rows: int32 [B, S], rows of the features' own tables, see `ClickSchema`.
            row_weights: float [B, S], 0 for padding; None: each slot has a value of weight 1.
        """
        return self.predict_logits(dense, self.tables(rows, row_weights))

    def predict_logits(
        self, dense: tf.Tensor, pooled: Pooled, noise: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the logits, float [B], of looked-up features.

        Args:
            dense: float [B, Dn].
            pooled: of `EmbeddingTables.pool`.
            noise: uint16 [B, noise_width]; None: no dropout.
        """
        joined = self.join(self.encode_dense(dense), pooled.vectors)
        return self.predict_joined(joined, pooled.first_order, noise)

    def encode_dense(self, dense: tf.Tensor) -> tf.Tensor | None:
        """Returns x float [B, D] of numbers float [B, Dn]; None without dense features."""
        return None if self.bottom is None else self.bottom(dense)

    def join(self, bottom: tf.Tensor | None, vectors: tf.Tensor, alignment: int = 1) -> tf.Tensor:
        """Returns what comes before the layers on top: R, with `cross` before the cross layers.

        Args:
            bottom: x, of `encode_dense`.
            vectors: e, float [B, F, D].
            alignment: of what R has a multiple of columns, the last ones zeros.
        """
        if bottom is not None:
            vectors = tf.concat([bottom[:, None], vectors], axis=1)
        parts = []
        if self.config.interaction != "dot":
            parts.append(tf.reshape(vectors, [-1, vectors.shape[1] * vectors.shape[2]]))
        elif bottom is not None:
            parts.append(bottom)
        if self.config.has_products:
            parts.append(dot_interaction(vectors, self.config.self_interaction))
        joined = parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)
        num_zeros = 0 if self.cross else -joined.shape[1] % alignment
        return tf.pad(joined, [[0, 0], [0, num_zeros]]) if num_zeros else joined

    def predict_joined(
        self, joined: tf.Tensor, first_order: tf.Tensor | None, noise: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the logits, float [B], of what `join` returns.

        Args:
            joined: float [B, ...].
            first_order: float [B], see `Pooled`.
            noise: uint16 [B, noise_width]; None: no dropout.
        """
        if self.cross is not None:
            joined = self.cross(joined)
        logits = self.top(joined, noise)[:, 0]
        return logits if first_order is None else logits + first_order


def table_settings(config: DLRMConfig, schema: ClickSchema) -> TableSettings:
    """Returns how the tables of a configuration are stored."""
    widths = {}
    if config.mixed_dim_temperature:
        widths = mixed_widths(schema, config.embedding_dim, config.mixed_dim_temperature)
    return TableSettings(
        embedding_dim=config.embedding_dim,
        widths=widths | config.parse_table_dims(),
        num_extra_columns=config.first_order + config.weighted_pooling,
        qr_threshold=config.qr_threshold,
        qr_collisions=config.qr_collisions,
        qr_operation=config.qr_operation,
    )


def list_stores(config: DLRMConfig, schema: ClickSchema) -> tuple[Store, ...]:
    """Returns the layout of the tables without making them, to say what they will take."""
    return lay_out(schema, table_settings(config, schema))


def count_dense_weights(model: DLRM) -> int:
    """Returns the number of weights outside of the tables."""
    tables = {id(table.variable) for table in model.tables.tables}
    weights = [w for w in model.trainable_variables if id(w) not in tables]
    return int(sum(np.prod(w.shape) for w in weights))
