"""Raw values of click data as a model's inputs: what preparation did, in the graph that is served.

Twin of `tfrec_zoo.data.clicks.click_encoding` in stock TensorFlow operations. Numbers are
float [B, N], a column for each of `list_number_columns`, and texts string [B, F], one for each of
`list_text_features`. Where a reader of logs refuses a row, a request is answered: a number that is
infinite or, as a text, none counts as missing, and a value whose weight is none has the weight 0.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.clicks.click_encoding import find_rows
from tfrec_zoo.data.clicks.click_schema import MISSING, CategoricalFeature, ClickSchema
from tfrec_zoo.export.tokens import split_tokens
from tfrec_zoo.export.vocabulary_table import make_vocabulary_table
from tfrec_zoo.vocabulary import Vocabulary

# Of several values in a text where the log had them in columns or lists of their own.
DEFAULT_SEPARATOR = "|"

# What the lookup tables say of a value that they lack.
_UNKNOWN = -1

_NUMBER = r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*"


class Encoded(NamedTuple):
    """Some features as a model is fed them.

    `rows` int32 [B, S], of the slots of `features`; `weights` float [B, S] of the rows, None where
    all are 1.
    """

    features: Sequence[CategoricalFeature]
    rows: tf.Tensor
    weights: tf.Tensor | None = None


def list_number_columns(schema: ClickSchema) -> list[str]:
    """Returns the columns of numbers, each once: of the dense features, then only of buckets."""
    columns = [feature.column for feature in schema.dense]
    columns += [feature.column for feature in schema.categorical if feature.kind == "buckets"]
    return list(dict.fromkeys(columns))


def list_text_features(schema: ClickSchema) -> list[CategoricalFeature]:
    """Returns the categorical features that are texts, in the schema's order."""
    return [feature for feature in schema.categorical if feature.kind != "buckets"]


def find_separator(feature: CategoricalFeature) -> str | None:
    """Returns what stands between the values of one text; None where a text is one value.

    Between the words of a text stands anything that is neither letter nor digit, such as a blank.
    """
    if feature.tokens:
        return " "
    if feature.separator is None and feature.max_values > 1:
        return DEFAULT_SEPARATOR
    return feature.separator


def parse_numbers(texts: tf.Tensor) -> tf.Tensor:
    """Returns the numbers that are written in texts, float32 of the same shape; NaN for others."""
    is_number = tf.strings.regex_full_match(texts, _NUMBER)
    return tf.strings.to_number(tf.where(is_number, texts, "nan"))


def transform_numbers(numbers: tf.Tensor, schema: ClickSchema) -> tf.Tensor:
    """Returns the values of the dense features, float [B, Dn], for raw numbers float [B, N]."""
    columns = list_number_columns(schema)
    values = _pick(numbers, [columns.index(feature.column) for feature in schema.dense])
    is_real = tf.math.is_finite(values)
    values = tf.where(is_real, values, 0.0)
    is_log = np.array([feature.is_log for feature in schema.dense])
    if is_log.any():
        values = tf.where(is_log, tf.math.log1p(tf.maximum(values, 0.0)), values)
    if not any(feature.is_scaled for feature in schema.dense):
        return values
    # Where nothing is scaled the mean is 0 and the deviation 1.
    means = np.array([feature.mean for feature in schema.dense], np.float32)
    deviations = np.array([feature.std for feature in schema.dense], np.float32)
    return tf.where(is_real, (values - means) / deviations, 0.0)


def encode_buckets(numbers: tf.Tensor, schema: ClickSchema) -> Encoded:
    """Returns the features with buckets, for raw numbers float [B, N]."""
    columns = list_number_columns(schema)
    features = [feature for feature in schema.categorical if feature.kind == "buckets"]
    values = tf.transpose(_pick(numbers, [columns.index(f.column) for f in features]))
    # One search for all: no number is beyond the infinities behind the shorter lists of edges.
    longest = max(len(feature.boundaries) for feature in features)
    edges = np.full((len(features), longest + 1), np.inf, np.float32)
    for line, feature in zip(edges, features, strict=True):
        line[: len(feature.boundaries)] = feature.boundaries
    rows = 1 + tf.searchsorted(edges, values, side="right")
    rows *= tf.cast(tf.math.is_finite(values), tf.int32)
    return Encoded(features, tf.transpose(rows))


def join_features(parts: Sequence[Encoded], schema: ClickSchema) -> Encoded:
    """Returns all features of a schema in its order; weights only where it needs any."""
    offsets = dict(zip(schema.categorical, schema.slot_offsets, strict=False))
    slots = [
        offsets[feature] + place
        for part in parts
        for feature in part.features
        for place in range(feature.max_values)
    ]

    def arrange(columns: list[tf.Tensor]) -> tf.Tensor:
        joined = columns[0] if len(columns) == 1 else tf.concat(columns, axis=1)
        return _pick(joined, np.argsort(slots))

    weights = None
    if schema.needs_row_weights:
        weights = arrange(
            [
                tf.ones_like(part.rows, tf.float32) if part.weights is None else part.weights
                for part in parts
            ]
        )
    return Encoded(schema.categorical, arrange([part.rows for part in parts]), weights)


def encode_features(
    encoder: "TextEncoder", numbers: tf.Tensor | None, texts: tf.Tensor | None, schema: ClickSchema
) -> Encoded:
    """Returns all categorical features of raw numbers and texts; without any, no rows."""
    if not schema.categorical:
        return Encoded((), tf.zeros([0, 0], tf.int32))
    parts = [] if texts is None else encoder.encode(texts)
    if any(feature.kind == "buckets" for feature in schema.categorical):
        parts.append(encode_buckets(numbers, schema))
    return join_features(parts, schema)


class TextEncoder(tf.Module):
    """The texts of categorical features -> rows and their weights.

    Attributes:
        tables: the lookup table of each feature with a vocabulary, by the feature's name. A single
            table for all needs texts with the feature in them: for one example of 26 features it
            takes 0.04 ms less, for 64 as long, and for more of them longer.
    """

    def __init__(
        self,
        schema: ClickSchema,
        vocabularies: Mapping[str, Vocabulary],
        folder: str | os.PathLike,
        prefix: str = "",
    ) -> None:
        """Saves the vocabularies, which become assets.

        Args:
            schema: the features.
            vocabularies: name of a feature -> its vocabulary.
            folder: takes up a file `<prefix><feature>.tsv` for each.
            prefix: of these files' names.
        """
        super().__init__(name="texts")
        self._features = tuple(list_text_features(schema))
        self.tables = {}
        for name, vocabulary in vocabularies.items():
            path = Path(folder) / f"{prefix}{name}.tsv"
            vocabulary.save(path)
            self.tables[name] = make_vocabulary_table(path, vocabulary.num_rows, _UNKNOWN)
        missing = np.array([MISSING], dtype=object)
        self._missing_rows = {
            feature.name: int(find_rows(feature, missing, vocabularies.get(feature.name))[0])
            for feature in self._features
        }

    def encode(self, texts: tf.Tensor) -> list[Encoded]:
        """Returns the features of texts string [B, F] in parts, in any order."""
        columns = dict(zip(self._features, tf.unstack(texts, axis=1), strict=True))
        single = [feature for feature in self._features if find_separator(feature) is None]
        parts = [
            Encoded([feature], *self._encode_several(feature, column))
            for feature, column in columns.items()
            if feature not in single
        ]
        if single:
            # Joined as lines and then turned: to join columns takes longer.
            rows = tf.stack([self._find_rows(f, columns[f]) for f in single])
            missing_rows = [[self._missing_rows[feature.name]] for feature in single]
            parts.append(Encoded(single, tf.transpose(_put_missing(rows, missing_rows))))
        return parts

    def _find_rows(self, feature: CategoricalFeature, texts: tf.Tensor) -> tf.Tensor:
        """Returns the rows of values, int64 of the same shape; 0 for "", -1 for unknown ones."""
        if feature.kind == "vocabulary":
            rows = self.tables[feature.name].lookup(texts)
            if feature.oov_rows:
                hashed = tf.strings.to_hash_bucket_fast(texts, feature.oov_rows)
                rows = tf.where(tf.equal(rows, _UNKNOWN), feature.first_oov_row + hashed, rows)
            return rows
        rows = 1 + tf.strings.to_hash_bucket_fast(texts, feature.num_rows - 1)
        return rows * tf.cast(tf.not_equal(texts, ""), tf.int64)

    def _encode_several(
        self, feature: CategoricalFeature, texts: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        if feature.tokens:
            parts = split_tokens(texts)
        else:
            parts = tf.strings.split(texts, find_separator(feature))
        values = parts.values
        weights = tf.ones_like(values, tf.float32)
        if feature.weight_separator is not None:
            values, weights = _split_weights(values, feature.weight_separator)
        kept = tf.where(tf.not_equal(values, ""))[:, 0]
        examples = tf.gather(parts.value_rowids(), kept)

        def to_slots(numbers: tf.Tensor) -> tf.Tensor:
            ragged = tf.RaggedTensor.from_value_rowids(
                tf.gather(numbers, kept), examples, parts.nrows(), validate=False
            )
            return ragged.to_tensor(shape=[None, feature.max_values])

        rows, weights = to_slots(self._find_rows(feature, values)), to_slots(weights)
        if not feature.has_bag:
            return _put_missing(rows, self._missing_rows[feature.name]), None
        rows = _put_missing(rows, 0)
        if feature.pooling == "mean":
            weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, 1, keepdims=True))
        return rows, weights


def _put_missing(rows: tf.Tensor, missing_rows: Any) -> tf.Tensor:
    """Returns rows int64 as int32 with `missing_rows` for 0, and with 0, unknown, for -1."""
    # By what the tables say of "": comparing all texts with it is a fifth of the whole encoding.
    rows = tf.cast(rows, tf.int32)
    return tf.maximum(rows + missing_rows * tf.cast(tf.equal(rows, 0), tf.int32), 0)


def _split_weights(values: tf.Tensor, separator: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts the weight off each value, at the last separator in it; 1 where it has none."""
    # \C is any byte, for texts need not be UTF-8.
    pattern = rf"(\C*){re.escape(separator)}(\C*)"
    has_weight = tf.strings.regex_full_match(values, pattern)
    texts = tf.strings.regex_replace(values, f"^{pattern}$", r"\1")
    numbers = parse_numbers(tf.strings.regex_replace(values, f"^{pattern}$", r"\2"))
    is_weight = tf.math.is_finite(numbers) & (numbers >= 0.0)
    return texts, tf.where(has_weight, tf.where(is_weight, numbers, 0.0), 1.0)


def _pick(values: tf.Tensor, columns: Sequence[int]) -> tf.Tensor:
    """Returns the columns of values [B, N], [B, len(columns)]."""
    if list(columns) == list(range(values.shape[1])):
        return values
    return tf.gather(values, columns, axis=1)
