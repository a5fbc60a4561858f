"""The embedding tables of categorical features: from rows to a vector a feature."""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.layers.fused_table import FusedTable
from tfrec_zoo.layers.table_layout import PADDING_ROW, Store, TablePart, TableSettings, lay_out


class Pooled(NamedTuple):
    """What a model sees of an example's categorical features.

    `vectors` float [B, F, D], in the schema's order; `first_order` float [B], the sum of the rows'
    own weights, None without them.
    """

    vectors: tf.Tensor
    first_order: tf.Tensor | None


class EmbeddingTables(tf_keras.layers.Layer):
    """Looks rows up, sums those of one feature, and brings all features to one width.

    The vector of a feature with the rows r and their weights w (1 for a single value; those of a
    mean are divided by their sum before) is

        e = P sum_r w_r p_r v_r

    where v_r is the table's row, or that of the quotient and of the remainder table combined
    (`mult`, `add`, `concat`); p_r is learned with `has_factors`, else 1; P is a matrix without bias
    for tables of another width than D, else missing.

    Attributes:
        stores: the layout, see `table_layout`.
        tables: the `FusedTable` of each store.
    """

    def __init__(
        self,
        schema: ClickSchema,
        settings: TableSettings,
        *,
        has_first_order: bool = False,
        has_factors: bool = False,
        init_scale: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Makes the tables.

        Args:
            schema: the features.
            settings: widths and splits; its extra columns must be those of the next two.
            has_first_order: whether each row has a weight of its own, which starts at 0.
            has_factors: whether each row has a factor p, which starts at 1.
            init_scale: rows start in U(-s, s) with this s; 0: sqrt(1 / rows of the feature).
            seed: of the initial rows.
        """
        super().__init__(name="tables")
        self.num_features = len(schema.categorical)
        self.settings = settings
        self.stores = lay_out(schema, settings)
        self._has_first_order, self._has_factors = has_first_order, has_factors
        self._init_scale, self._seed = init_scale, seed
        self._lengths = [feature.max_values for feature in schema.categorical]
        order = [index for store in self.stores for index in store.features]
        self._order = None if order == sorted(order) else [order.index(i) for i in sorted(order)]
        self.tables = [
            FusedTable(store, self._make_initializer(store, seed)) for store in self.stores
        ]
        self.projections = [self._add_projections(store) for store in self.stores]
        self.built = True

    def redraw(self, seed: int) -> None:
        """Draws all rows anew, from another seed."""
        for store, table in zip(self.stores, self.tables, strict=True):
            table.fill(self._make_initializer(store, seed))

    def _make_initializer(self, store: Store, seed: int) -> Callable[[int, TablePart], tf.Tensor]:
        width = store.width - self.settings.num_extra_columns

        def initialize(number: int, part: TablePart) -> tf.Tensor:
            scale = self._init_scale or math.sqrt(1.0 / part.categories)
            key = (seed, 1000 * store.width + number)
            rows = tf.random.stateless_uniform([part.num_rows, width], key, -scale, scale)
            extra = [tf.zeros([part.num_rows, 1])] * self._has_first_order
            extra += [tf.ones([part.num_rows, 1])] * self._has_factors
            return tf.concat([rows, *extra], axis=1)

        return initialize

    def _add_projections(self, store: Store) -> tf.Variable | None:
        """Returns the matrices P of a store's features, float [F_w, w, D]; None where w is D."""
        width = store.width - self.settings.num_extra_columns
        target = self.settings.embedding_dim
        if store.remainders and self.settings.qr_operation == "concat":
            width *= 2
        if width == target:
            return None
        return self.add_weight(
            name=f"projection_{width}",
            shape=[len(store.features), width, target],
            initializer=tf_keras.initializers.RandomUniform(
                -math.sqrt(6 / (width + target)), math.sqrt(6 / (width + target)), self._seed
            ),
        )

    def locate(self, rows: tf.Tensor, row_weights: tf.Tensor | None) -> list[tf.Tensor]:
        """Returns what `Store.locate` does of each store, for tensors; int32 [B, L] each."""
        located = []
        for store in self.stores:
            slots, first_rows, divisors, moduli = store.lookups
            found = tf.gather(rows, slots, axis=1)
            if store.remainders:
                found = found // divisors % moduli
            found += first_rows
            if row_weights is not None:
                is_real = tf.gather(row_weights, slots, axis=1) != 0.0
                found = tf.where(is_real, found, PADDING_ROW)
            located.append(found)
        return located

    def call(self, rows: tf.Tensor, row_weights: tf.Tensor | None = None) -> Pooled:
        """Returns the vectors of rows int32 [B, S] with weights float [B, S] (None: all 1)."""
        gathered = [
            tf.gather(table.variable, located)
            for table, located in zip(self.tables, self.locate(rows, row_weights), strict=True)
        ]
        return self.pool(gathered, row_weights)

    def pool(self, gathered: list[tf.Tensor], row_weights: tf.Tensor | None) -> Pooled:
        """Returns the vectors of what was looked up, float [B, L, W] of each store.

        Of no features at all the batch is of one: whatever their sum is added to broadcasts it.
        """
        if not self.stores:
            return Pooled(tf.zeros([1, 0, self.settings.embedding_dim]), None)
        vectors, first_orders = [], []
        for store, values, projection in zip(self.stores, gathered, self.projections, strict=True):
            values, first_order = self._combine(store, values)
            weights = None if row_weights is None else tf.gather(row_weights, store.slots, axis=1)
            if weights is not None:
                values *= weights[:, :, None]
            values = self._sum_slots(store, values)
            if projection is not None:
                values = tf.einsum("bfw,fwd->bfd", values, projection)
            vectors.append(values)
            if first_order is not None:
                first_order = first_order if weights is None else first_order * weights
                first_orders.append(tf.reduce_sum(first_order, axis=1))
        vectors = vectors[0] if len(vectors) == 1 else tf.concat(vectors, axis=1)
        if self._order is not None:
            vectors = tf.gather(vectors, self._order, axis=1)
        return Pooled(vectors, tf.add_n(first_orders) if first_orders else None)

    def _combine(self, store: Store, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns a vector and the first-order weight of each slot, from one row or two."""
        width = store.width - self.settings.num_extra_columns
        vectors, extra = values[:, :, :width], values[:, :, width:]
        factors = extra[:, :, -1:] if self._has_factors else None
        first_order = extra[:, :, 0] if self._has_first_order else None
        if store.remainders:
            vectors = self._combine_split(*tf.split(vectors, 2, axis=1))
            if factors is not None:
                factors = tf.multiply(*tf.split(factors, 2, axis=1))
            if first_order is not None:
                first_order = tf.add(*tf.split(first_order, 2, axis=1))
        return vectors if factors is None else vectors * factors, first_order

    def _combine_split(self, quotient: tf.Tensor, remainder: tf.Tensor) -> tf.Tensor:
        if self.settings.qr_operation == "concat":
            return tf.concat([quotient, remainder], axis=2)
        return quotient + remainder if self.settings.qr_operation == "add" else quotient * remainder

    def _sum_slots(self, store: Store, values: tf.Tensor) -> tf.Tensor:
        """Returns the sums over each feature's slots, float [B, F_w, w]."""
        lengths = [self._lengths[index] for index in store.features]
        if max(lengths) == 1:
            return values
        parts = tf.split(values, lengths, axis=1)
        return tf.stack([tf.reduce_sum(part, axis=1) for part in parts], axis=1)
