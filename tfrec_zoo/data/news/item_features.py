"""What is learned of the features of items: vocabularies, buckets, scales; and their encoding."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tfrec_zoo.data.clicks.click_encoding import encode_blocks, fit_slots
from tfrec_zoo.data.clicks.click_features import describe_feature
from tfrec_zoo.data.clicks.click_schema import (
    CategoricalFeature,
    ClickSchema,
    DenseFeature,
    VectorFeature,
)
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.number_statistics import (
    NumberStatistics,
    list_measured,
    name_scale,
    take_numbers,
)
from tfrec_zoo.data.clicks.value_codes import build_vocabulary
from tfrec_zoo.data.tables.table_block import TableBlock
from tfrec_zoo.data.tables.table_columns import CategoricalColumn, DenseColumn
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.vocabulary import Vocabulary

_SAMPLING_SEED = 0


def learn_item_features(
    block: TableBlock, spec: TableSpec, is_training: np.ndarray, min_count: int
) -> tuple[ClickSchema, dict[str, Vocabulary]]:
    """Learns the features from some of the items, whatever their clicks.

    Args:
        block: all items.
        spec: the columns.
        is_training: bool [n], the items to learn from.
        min_count: how often a value must occur in them to get a row of its own, where the
            specification says nothing.

    Returns:
        The features, and the vocabularies of those that have one.
    """
    numbers = {name: NumberStatistics(_SAMPLING_SEED) for name in list_measured(spec)}
    for name, statistics in numbers.items():
        statistics.add(take_numbers(block.dense, name)[is_training])
    features, vocabularies = [], {}
    for column in spec.categorical:
        if column.buckets:
            edges = numbers[column.column].find_boundaries(column.buckets)
            size = {"kind": "buckets", "num_rows": len(edges) + 2, "boundaries": edges}
        elif column.hash_rows:
            size = {"kind": "hash", "num_rows": column.hash_rows + 1}
        else:
            vocabulary = _build_vocabulary(block, column, is_training, min_count)
            vocabularies[column.name] = vocabulary
            oov_rows = column.oov_rows or 0
            size = {"num_rows": vocabulary.num_rows + oov_rows, "oov_rows": oov_rows}
        features.append(describe_feature(column, **size))
    dense = [_scale(column, numbers) for column in spec.dense]
    vectors = [VectorFeature(vector.name, vector.column, vector.size) for vector in spec.vectors]
    return ClickSchema(dense, features, vectors=vectors), vocabularies


def encode_items(
    block: TableBlock, schema: ClickSchema, vocabularies: Mapping[str, Vocabulary]
) -> ClickRows:
    """Returns the features of padding in row 0, where all is 0, and of item i in row i + 1."""
    (rows,) = encode_blocks([block], schema, vocabularies)
    return ClickRows(
        labels=np.zeros(block.num_rows + 1, np.float32),
        dense=_pad(rows.dense),
        rows=_pad(rows.rows),
        row_weights=None if rows.row_weights is None else _pad(rows.row_weights),
    )


def count_unknown(rows: ClickRows, schema: ClickSchema) -> dict[str, float]:
    """Returns name of a feature -> the share of its values that the vocabulary lacks.

    Args:
        rows: encoded items; padding in row 0 is not counted.
        schema: the features.
    """
    shares = {}
    for feature, start in zip(schema.categorical, schema.slot_offsets, strict=False):
        slots = slice(start, start + feature.max_values)
        found = rows.rows[1:, slots]
        is_value = np.ones(found.shape, bool)
        if feature.has_bag:
            is_value = rows.row_weights[1:, slots] != 0
        is_unknown = is_value & ((found == 0) | (found >= feature.first_oov_row))
        if feature.kind == "vocabulary":
            shares[feature.name] = float(is_unknown.sum() / max(is_value.sum(), 1))
    return shares


def count_cut(block: TableBlock, spec: TableSpec) -> dict[str, int]:
    """Returns name of a feature of several values -> the items that have more than it keeps."""
    return {
        feature.name: int((np.diff(values.offsets) > feature.max_values).sum())
        for feature in spec.categorical
        if not feature.buckets and (values := block.categorical[feature.name]).offsets is not None
    }


def _build_vocabulary(
    block: TableBlock, column: CategoricalColumn, is_training: np.ndarray, min_count: int
) -> Vocabulary:
    feature: CategoricalFeature = describe_feature(column, num_rows=1 + (column.oov_rows or 0))
    values = fit_slots(block.categorical[column.name], feature.max_values, feature.has_bag)
    is_counted = is_training
    if values.offsets is not None:
        is_counted = np.repeat(is_training, np.diff(values.offsets))
    counts = np.bincount(values.codes[is_counted], minlength=len(values.texts))
    texts = pa.array(values.texts, pa.large_string())
    try:
        vocabulary, _ = build_vocabulary(texts, counts, column.min_count or min_count)
    except ValueError as error:
        raise ValueError(f"feature {column.name}: {error}") from None
    return vocabulary


def _scale(column: DenseColumn, numbers: Mapping[str, NumberStatistics]) -> DenseFeature:
    feature = DenseFeature(column.name, column.column, column.transform)
    name = name_scale(column)
    if name is None:
        return feature
    return replace(feature, mean=numbers[name].mean, std=numbers[name].std)


def _pad(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, *values.shape[1:]), values.dtype), values])
