"""What the exported graphs ask of a model, answered from tables of float16 or int8.

Each class has of its model's attributes those that the graph reads, and computes as the model does;
only rows come out of `QuantizedTable`s, and the scores of GRU4Rec out of `QuantizedColumns`.
"""

import numpy as np
import tensorflow as tf

from tfrec_zoo.export.quantized_weights import AnyModel, Weight, quantize_weights
from tfrec_zoo.layers.embedding_tables import EmbeddingTables, Pooled
from tfrec_zoo.layers.quantized_table import QuantizedColumns, QuantizedTable
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.gru4rec import GRU4Rec, States
from tfrec_zoo.models.ssr import SSR


class QuantizedGRU4Rec:
    """A GRU4Rec with quantized tables.

    Attributes:
        weights: of `quantize_weights`.
        columns: the table of the items as they are scored.
        network, input_dim, config: the model's.
    """

    def __init__(self, model: GRU4Rec, table_format: str, num_columns: int | None = None) -> None:
        """Quantizes the tables of a model, which keeps its own.

        Args:
            model: the network and its tables.
            table_format: see `tfrec_zoo.layers.row_quantization`.
            num_columns: how many scores there are, more than V + 1 only to be as many; None: V + 1.

        Raises:
            ValueError: a table cannot be stored so, or the model's class reads it in a way of its
                own.
        """
        _require_inherited(model, GRU4Rec, "call", "input_vectors", "trim_inputs", "score")
        self.weights = quantize_weights(model, table_format)
        missing = (num_columns or model.num_rows) - model.num_rows
        self.columns = QuantizedColumns(
            np.pad(model.item_table.numpy(), [[0, missing], [0, 0]]),
            table_format,
            int(model.config.use_item_bias),
        )
        self.network, self.input_dim, self.config = model.network, model.input_dim, model.config
        self.initial_state = model.initial_state
        self._augment, self._activate = model.augment, model.activate
        table = model.item_table if model.input_table is None else model.input_table
        self._inputs = _find_stored(model, self.weights, table)

    def __call__(self, item_rows: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """Advances each session by one click, see `GRU4Rec.call`."""
        advanced = self.network(self.input_vectors(item_rows), states)
        is_item = (item_rows > 0)[:, None]
        states = tuple(
            tf.where(is_item, new, old) for new, old in zip(advanced, states, strict=True)
        )
        return states[-1], states

    def input_vectors(self, item_rows: tf.Tensor) -> tf.Tensor:
        """Returns the network's inputs, float [..., E], for int32 item rows [...]."""
        if isinstance(self._inputs, QuantizedTable):
            return self._inputs.gather_values(item_rows)
        return tf.gather(self._inputs, item_rows)[..., : self.input_dim]

    def score(self, session_vectors: tf.Tensor) -> tf.Tensor:
        """Returns the activated scores float [B, num_columns] of session vectors float [B, H]."""
        return self._activate(self.columns.multiply(self._augment(session_vectors)))


class QuantizedDLRM:
    """A DLRM with quantized tables.

    Attributes:
        weights: of `quantize_weights`.
    """

    def __init__(self, model: DLRM, table_format: str) -> None:
        """Quantizes the tables of a model, see `QuantizedGRU4Rec`."""
        _require_inherited(model, DLRM, "call")
        self.weights = quantize_weights(model, table_format)
        self._look_up = _Lookup(model, self.weights)
        self._predict_logits = model.predict_logits

    def __call__(
        self, dense: tf.Tensor, rows: tf.Tensor, row_weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the logits, float [B], see `DLRM.call`."""
        return self._predict_logits(dense, self._look_up(rows, row_weights))


class QuantizedSSR:
    """What an SSR reads of items, with quantized tables.

    Attributes:
        weights: of `quantize_weights`.
        config: the model's.
    """

    def __init__(self, model: SSR, table_format: str) -> None:
        """Quantizes the tables of a model, see `QuantizedGRU4Rec`."""
        _require_inherited(model, SSR, "read_items")
        self.weights = quantize_weights(model, table_format)
        self.config = model.config
        self._look_up = _Lookup(model, self.weights)
        self._item_inputs = model.item_inputs

    def read_items(
        self, dense: tf.Tensor, rows: tf.Tensor, row_weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns what the towers see of items, float [I, E], see `SSR.read_items`."""
        return self._item_inputs(dense, self._look_up(rows, row_weights))


class _Lookup:
    """The tables of categorical features, see `EmbeddingTables.call`."""

    def __init__(self, model: DLRM | SSR, weights: list[Weight]) -> None:
        _require_inherited(model.tables, EmbeddingTables, "call")
        self._stored = [
            _find_stored(model, weights, table.variable) for table in model.tables.tables
        ]
        self._locate, self._pool = model.tables.locate, model.tables.pool

    def __call__(self, rows: tf.Tensor, row_weights: tf.Tensor | None) -> Pooled:
        located = self._locate(rows, row_weights)
        gathered = [
            stored.gather(places)
            if isinstance(stored, QuantizedTable)
            else tf.gather(stored, places)
            for stored, places in zip(self._stored, located, strict=True)
        ]
        return self._pool(gathered, row_weights)


def _find_stored(model: AnyModel, weights: list[Weight], table: tf.Variable) -> Weight:
    """Returns what is stored in place of one of a model's tables."""
    return next(
        stored for weight, stored in zip(model.weights, weights, strict=True) if weight is table
    )


def _require_inherited(model: object, base: type, *names: str) -> None:
    """Raises ValueError where a class computes in a way of its own what is computed here."""
    for name in names:
        if getattr(type(model), name) is not getattr(base, name):
            raise ValueError(
                f"{type(model).__name__} has a {name} of its own, which may read its tables in "
                "another way than quantized ones are read: export it with tables of float32"
            )
