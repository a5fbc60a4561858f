"""What TensorFlow Serving runs of DLRM: the raw values of a log in, the click probability out."""

import os
from collections.abc import Callable, Mapping

import tensorflow as tf

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.export.click_inputs import (
    TextEncoder,
    encode_features,
    list_number_columns,
    list_text_features,
    parse_numbers,
    transform_numbers,
)
from tfrec_zoo.export.quantized_models import QuantizedDLRM
from tfrec_zoo.export.quantized_weights import PLAIN, require_format
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.vocabulary import Vocabulary

Answer = dict[str, tf.Tensor]


def list_inputs(schema: ClickSchema) -> dict[str, dict[str, tf.TensorSpec]]:
    """Returns the inputs of each signature, see `DLRMModule`."""
    num_columns, num_texts = len(list_number_columns(schema)), len(list_text_features(schema))
    widths = {
        "predict": {"dense": (tf.float32, num_columns), "sparse": (tf.string, num_texts)},
        "predict_text": {"dense_text": (tf.string, num_columns), "sparse": (tf.string, num_texts)},
        "predict_rows": {
            "dense_values": (tf.float32, schema.num_dense),
            "rows": (tf.int32, schema.num_slots),
            "row_weights": (tf.float32, schema.num_slots * schema.needs_row_weights),
        },
    }
    return {
        signature: {
            name: tf.TensorSpec([None, width], dtype, name)
            for name, (dtype, width) in inputs.items()
            if width
        }
        for signature, inputs in widths.items()
    }


class DLRMModule(tf.Module):
    """A trained DLRM with its vocabularies inside, made of stock TensorFlow operations alone.

    Signatures (`trace_signatures`), where the first is also `serving_default`; each answers
    `click_probability` float [B]:

    - `predict`: `dense` float [B, N], raw numbers, NaN for a missing one, and `sparse` string
      [B, F], raw texts, "" for a missing one;
    - `predict_text`: `dense_text` string [B, N], the same numbers as the log has them, and
      `sparse`;
    - `predict_rows`: `dense_values` float [B, Dn], transformed, `rows` int32 [B, S], the rows of
      each feature's own table, and where a feature has several values or weighted ones
      `row_weights` float [B, S], 0 for a slot without a value. A row outside of the table is row 0,
      that of unknown values.

    N are the columns of `list_number_columns`, F the features of `list_text_features`; several
    values of one feature are one text, see `find_separator`. Inputs of no column are left out.
    Transforms, buckets, vocabularies, hashing, and what is missing or unknown, are as in the
    preparation of the training data.

    Attributes:
        weights: the variables of the Python model, in its order; see `quantize_weights`.
    """

    def __init__(
        self,
        model: DLRM,
        vocabularies: Mapping[str, Vocabulary],
        folder: str | os.PathLike,
        tables: str = PLAIN,
    ) -> None:
        """Takes the weights of a model that lives on one device.

        Args:
            model: the network and its tables.
            vocabularies: name of a feature -> its vocabulary, for all features that have one.
            folder: takes up the vocabularies' files, which become assets of their names.
            tables: how they are stored, see `tfrec_zoo.layers.row_quantization`.

        Raises:
            ValueError: the tables cannot be stored so.
        """
        super().__init__(name="dlrm")
        require_format(tables)
        self._schema = model.schema
        self._texts = TextEncoder(model.schema, vocabularies, folder)
        if tables != PLAIN:
            model = QuantizedDLRM(model, tables)
        self.weights = list(model.weights)
        # A function, not the model: tracked, it would bring its Keras metadata into the export.
        self._score = model.__call__

    def trace_signatures(self) -> dict[str, Callable]:
        """Returns the signature functions by name, traced for any batch size."""

        def trace(name: str) -> Callable:
            function = tf.function(getattr(self, name), autograph=False)
            return function.get_concrete_function(**list_inputs(self._schema)[name])

        traced = {name: trace(name) for name in list_inputs(self._schema)}
        return {"serving_default": traced["predict"], **traced}

    def predict(self, dense: tf.Tensor | None = None, sparse: tf.Tensor | None = None) -> Answer:
        """Answers raw numbers and texts, see the class."""
        encoded = encode_features(self._texts, dense, sparse, self._schema)
        values = transform_numbers(dense, self._schema) if self._schema.dense else None
        return self._answer(values, encoded.rows, encoded.weights)

    def predict_text(
        self, dense_text: tf.Tensor | None = None, sparse: tf.Tensor | None = None
    ) -> Answer:
        """Answers texts only, see the class."""
        return self.predict(None if dense_text is None else parse_numbers(dense_text), sparse)

    def predict_rows(
        self,
        rows: tf.Tensor,
        dense_values: tf.Tensor | None = None,
        row_weights: tf.Tensor | None = None,
    ) -> Answer:
        """Answers what is encoded already, see the class."""
        limits = [
            feature.num_rows
            for feature in self._schema.categorical
            for _ in range(feature.max_values)
        ]
        is_row = (rows >= 0) & (rows < tf.constant(limits))
        return self._answer(dense_values, tf.where(is_row, rows, 0), row_weights)

    def _answer(
        self, values: tf.Tensor | None, rows: tf.Tensor, row_weights: tf.Tensor | None
    ) -> Answer:
        if values is None:
            values = tf.zeros([tf.shape(rows)[0], 0])
        logits = self._score(values, rows, row_weights)
        return {"click_probability": tf.sigmoid(logits)}
