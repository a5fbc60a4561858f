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
        vectors, bottom = pooled.vectors, None
        if self.bottom is not None:
            bottom = self.bottom(dense)
            vectors = tf.concat([bottom[:, None], vectors], axis=1)
        logits = self.top(self._interact(vectors, bottom), noise)[:, 0]
        return logits if pooled.first_order is None else logits + pooled.first_order

    def _interact(self, vectors: tf.Tensor, bottom: tf.Tensor | None) -> tf.Tensor:
        """Returns R of vectors float [B, F + 1, D], the first of which is `bottom`."""
        parts = []
        if self.config.interaction != "dot":
            side_by_side = tf.reshape(vectors, [-1, vectors.shape[1] * vectors.shape[2]])
            parts.append(side_by_side if self.cross is None else self.cross(side_by_side))
        elif bottom is not None:
            parts.append(bottom)
        if self.config.has_products:
            parts.append(dot_interaction(vectors, self.config.self_interaction))
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)


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
