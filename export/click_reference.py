"""What exports are compared with that read raw values: examples, encoded and scored in Python.

Texts are taken apart here and encoded by the functions that read logs, which the graph has none of.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow as tf

from tfrec_zoo.data.clicks.click_encoding import encode_blocks
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.data.tables.tokens import split_tokens
from tfrec_zoo.export.click_inputs import (
    find_separator,
    list_number_columns,
    list_text_features,
)
from tfrec_zoo.export.conformance import Export, require_close
from tfrec_zoo.export.restore import RestoredDLRM
from tfrec_zoo.vocabulary import Vocabulary

NUM_EXAMPLES = 64
# Kernels of other shapes add in another order.
TOLERANCES = {
    "float32": {"rtol": 1e-4, "atol": 1e-5},
    "mixed_bfloat16": {"rtol": 2e-2, "atol": 1e-2},
}
UNKNOWN = "\x01unknown\x01"


@dataclass(frozen=True)
class Examples:
    """Raw examples.

    Numbers float32 [n, N], NaN for a missing one, texts object [n, F], and the numbers of vectors
    one behind the other, float32 [n, M], NaN for missing ones.
    """

    dense: np.ndarray
    sparse: np.ndarray
    vectors: np.ndarray

    def take(self, places: np.ndarray) -> "Examples":
        """Returns the examples at `places`."""
        return Examples(self.dense[places], self.sparse[places], self.vectors[places])


class ExampleEncoder:
    """Draws raw examples of features, and encodes them as a reader of logs does."""

    def __init__(self, schema: ClickSchema, vocabularies: Mapping[str, Vocabulary]) -> None:
        """Takes the features, and the vocabularies of those that have one."""
        self.schema = schema
        self.vocabularies = vocabularies
        self.columns = list_number_columns(schema)
        self.texts = list_text_features(schema)

    def draw(self) -> Examples:
        """Returns random examples: known values and unknown ones, missing ones, several ones."""
        rng = np.random.default_rng(len(self.texts))
        numbers = [self._draw_numbers(rng, column) for column in self.columns]
        texts = [
            [self._draw_text(rng, feature) for _ in range(NUM_EXAMPLES)] for feature in self.texts
        ]
        dense = np.array(numbers, np.float32).reshape(-1, NUM_EXAMPLES).T
        sparse = np.array(texts, dtype=object).reshape(-1, NUM_EXAMPLES).T
        vectors = [self._draw_vectors(rng, feature.size) for feature in self.schema.vectors]
        vectors = np.concatenate([np.zeros((NUM_EXAMPLES, 0), np.float32), *vectors], axis=1)
        return Examples(np.ascontiguousarray(dense), np.ascontiguousarray(sparse), vectors)

    def _draw_vectors(self, rng: np.random.Generator, size: int) -> np.ndarray:
        vectors = rng.normal(size=(NUM_EXAMPLES, size)).astype(np.float32)
        vectors[rng.random(NUM_EXAMPLES) < 0.2] = np.nan
        return vectors

    def _draw_numbers(self, rng: np.random.Generator, column: str) -> np.ndarray:
        edges = [f.boundaries for f in self.schema.categorical if f.column == column]
        around = [(f.mean, f.mean + f.std) for f in self.schema.dense if f.column == column]
        known = np.array([0.0, 1.0, *sum([*edges, *around], ())], np.float32)
        numbers = rng.choice(known, NUM_EXAMPLES) * rng.choice([1, 1, 1.5, -1], NUM_EXAMPLES)
        return np.where(rng.random(NUM_EXAMPLES) < 0.2, np.nan, numbers)

    def _draw_text(self, rng: np.random.Generator, feature: CategoricalFeature) -> str:
        separator = find_separator(feature)
        if separator is None:
            return self._draw_value(rng, feature)
        values = []
        for _ in range(rng.integers(0, feature.max_values + 2)):
            value = self._draw_value(rng, feature)
            weight_separator = feature.weight_separator
            # What follows a separator is a weight, also where a value has one of its own.
            if weight_separator and (weight_separator in value or rng.random() < 0.8):
                value += f"{weight_separator}{rng.integers(0, 5) / 4:g}"
            values.append(value)
        return separator.join(values)

    def _draw_value(self, rng: np.random.Generator, feature: CategoricalFeature) -> str:
        chance = rng.random()
        if chance < 0.2:
            return "" if chance < 0.1 else UNKNOWN
        vocabulary = self.vocabularies.get(feature.name)
        if vocabulary is None or not vocabulary.num_items:
            return str(rng.integers(1000))
        return vocabulary.ids[rng.integers(vocabulary.num_items)]

    def encode(self, examples: Examples) -> ClickRows:
        """Returns what the Python model is fed for raw examples."""
        dense = np.where(np.isfinite(examples.dense), examples.dense, np.nan)
        texts = zip(self.texts, examples.sparse.T, strict=True)
        sizes = [feature.size for feature in self.schema.vectors]
        vectors = np.split(examples.vectors, np.cumsum(sizes, dtype=int)[:-1], axis=1)
        block = TableBlock(
            num_rows=len(examples.dense),
            labels=None,
            weights=None,
            times=None,
            dense=dict(zip(self.columns, dense.T, strict=True)),
            categorical={feature.name: _read_values(feature, column) for feature, column in texts},
            vectors=dict(zip((v.name for v in self.schema.vectors), vectors, strict=False)),
        )
        (rows,) = encode_blocks([block], self.schema, self.vocabularies)
        return rows


class Reference(ExampleEncoder):
    """The Python model's answers, and the export's."""

    def __init__(self, export: Export) -> None:
        """Takes an export of DLRM."""
        self.export = export
        self.restored: RestoredDLRM = export.restored
        super().__init__(self.restored.schema, self.restored.vocabularies)
        self.tolerance = TOLERANCES[self.restored.experiment.model.precision]
        # As the export has it: one operation after the other, bfloat16 is rounded more often.
        self._score = tf.function(self.restored.model.__call__, reduce_retracing=True)

    def score(self, rows: ClickRows) -> np.ndarray:
        """Returns the Python model's probabilities, [n]."""
        logits = self._score(
            tf.constant(rows.dense),
            tf.constant(rows.rows),
            None if rows.row_weights is None else tf.constant(rows.row_weights),
        )
        return tf.sigmoid(logits).numpy()

    def predict(self, examples: Examples, signature: str = "predict") -> np.ndarray:
        """Returns the export's probabilities of raw examples, [n]."""
        return self.ask(signature, dense=examples.dense, sparse=examples.sparse)

    def predict_rows(self, rows: ClickRows) -> np.ndarray:
        """Returns the export's probabilities of encoded examples, [n]."""
        return self.ask(
            "predict_rows",
            dense_values=rows.dense,
            rows=rows.rows,
            row_weights=rows.row_weights,
        )

    def ask(self, signature: str, **inputs: np.ndarray | None) -> np.ndarray:
        """Returns the export's probabilities; passes the inputs that it has columns for."""
        inputs = {
            name: value for name, value in inputs.items() if value is not None and value.shape[1]
        }
        return self.export.ask(signature, **inputs)["click_probability"]

    def require_close(self, answers: np.ndarray, expected: np.ndarray, when: str) -> None:
        """Raises an error unless probabilities are nearly the same."""
        require_close(answers, expected, f"the probabilities {when}", **self.tolerance)


def _read_values(feature: CategoricalFeature, texts: np.ndarray) -> Values:
    """Returns the values in a feature's texts, as a reader of logs does."""
    separator = find_separator(feature)
    if separator is None:
        codes, distinct = pd.factorize(texts)
        return Values(codes.astype(np.int32), distinct.astype(object))
    if feature.tokens:
        words = split_tokens(pa.array(texts, pa.string())).to_pylist()
        split = [[(word, 1.0) for word in parts if word] for parts in words]
    else:
        split = [_split(text, separator, feature.weight_separator) for text in texts]
    values = [value for parts in split for value, _ in parts]
    codes, distinct = pd.factorize(np.array(values, dtype=object))
    weights = [weight for parts in split for _, weight in parts]
    return Values(
        codes.astype(np.int32),
        distinct.astype(object),
        np.cumsum([0, *map(len, split)]),
        np.array(weights, np.float32) if feature.is_weighted else None,
    )


def _split(text: str, separator: str, weight_separator: str | None) -> list[tuple[str, float]]:
    """Returns the values in a text with their weights."""
    found = []
    for part in text.split(separator):
        value, weight = part, 1.0
        if weight_separator and weight_separator in part:
            value, _, written = part.rpartition(weight_separator)
            weight = float(written)
        if value:
            found.append((value, weight))
    return found
