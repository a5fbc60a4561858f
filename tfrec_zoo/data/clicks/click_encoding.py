"""Blocks of a raw table as rows and numbers, by a `ClickSchema` and its vocabularies.

Texts are looked up once a block, each distinct one of it; examples are never touched one by one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tfrec_zoo.data.clicks.click_schema import MISSING, CategoricalFeature, ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.farm_hash import hash_rows
from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.vocabulary import Vocabulary


def encode_blocks(
    blocks: Iterable[TableBlock], schema: ClickSchema, vocabularies: Mapping[str, Vocabulary]
) -> Iterator[ClickRows]:
    """Encodes new raw data as the training data were encoded.

    Args:
        blocks: of `read_table_blocks`, with the specification that the schema was made from.
        schema: the features.
        vocabularies: name of a feature -> its vocabulary, for all features that have one.

    Yields:
        The examples of each block; labels are NaN where the table has none.
    """
    for block in blocks:
        values, rows_of_texts = {}, {}
        for feature in schema.categorical:
            if feature.kind == "buckets":
                continue
            found = fit_slots(block.categorical[feature.name], feature.max_values, feature.has_bag)
            values[feature.name] = found
            rows_of_texts[feature.name] = find_rows(
                feature, found.texts, vocabularies.get(feature.name)
            )
        yield encode_block(block, schema, values, rows_of_texts)


def fit_slots(values: Values, max_values: int, has_bag: bool) -> Values:
    """Returns values as they are counted and encoded.

    Args:
        values: of a feature, as read.
        max_values: of the feature: of each row, the values after these are left out.
        has_bag: whether the feature takes any number of values up to that. One that takes exactly
            one has `MISSING` for a missing value.
    """
    values = _drop_unused_texts(values)
    texts = values.texts
    if values.offsets is None:
        if (is_missing := texts == "").any():
            texts = np.where(is_missing, MISSING, texts)
        return Values(values.codes, texts, None, values.weights)
    lengths = np.diff(values.offsets)
    if not has_bag:
        codes = np.full(len(lengths), len(texts), np.int32)
        codes[lengths > 0] = values.codes[values.offsets[:-1][lengths > 0]]
        return Values(codes, np.append(texts, np.array([MISSING], dtype=object)))
    if (lengths <= max_values).all():
        return values
    places = np.arange(len(values.codes)) - np.repeat(values.offsets[:-1], lengths)
    is_kept = places < max_values
    offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, max_values))])
    weights = None if values.weights is None else values.weights[is_kept]
    return Values(values.codes[is_kept], texts, offsets, weights)


def _drop_unused_texts(values: Values) -> Values:
    """Returns the same values; the texts may be those of a side table, far more than are used."""
    if len(values.texts) <= len(values.codes):
        return values
    used, codes = np.unique(values.codes, return_inverse=True)
    return replace(values, codes=codes.astype(np.int32), texts=values.texts[used])


def find_rows(
    feature: CategoricalFeature, texts: np.ndarray, vocabulary: Vocabulary | None
) -> np.ndarray:
    """Returns the row of each text (object [m]) in the feature's table; int32 [m].

    Raises:
        ValueError: the feature needs a vocabulary, and there is none.
    """
    if feature.kind == "hash":
        return hash_rows(texts, feature.num_rows)
    if vocabulary is None:
        raise ValueError(f"feature {feature.name} has no vocabulary: pass it with the others")
    rows = vocabulary.rows(texts)
    return hash_outside(rows, texts, feature.first_oov_row, feature.oov_rows)


def hash_outside(rows: np.ndarray, texts: Any, first_oov_row: int, oov_rows: int) -> np.ndarray:
    """Returns the rows of values with those outside the vocabulary put behind it.

    Args:
        rows: int32 [m], 0 for a value outside the vocabulary.
        texts: the values, in a NumPy or an Arrow array [m].
        first_oov_row: where the rows for those begin.
        oov_rows: their number; 0 leaves all as it is.
    """
    outside = np.flatnonzero(rows == 0)
    if not oov_rows or not len(outside):
        return rows
    rows = rows.copy()
    # `hash_rows` leaves row 0 free, and here there is no such row.
    rows[outside] = first_oov_row - 1 + hash_rows(texts.take(outside), oov_rows + 1)
    return rows


def encode_block(
    block: TableBlock,
    schema: ClickSchema,
    values: Mapping[str, Values],
    rows_of_texts: Mapping[str, np.ndarray],
) -> ClickRows:
    """Returns the examples of a block.

    Args:
        block: labels, weights and raw numbers.
        schema: the features.
        values: name of a feature -> its values as `fit_slots` gives them; their texts are not used.
        rows_of_texts: name of a feature -> int32 [m], the row of each text of its values.
    """
    dense = np.empty((block.num_rows, schema.num_dense), np.float32)
    for place, feature in enumerate(schema.dense):
        dense[:, place] = feature.apply(block.dense[feature.column])
    for feature, place in zip(schema.vectors, schema.vector_offsets, strict=False):
        dense[:, place : place + feature.size] = np.nan_to_num(block.vectors[feature.name])
    rows = np.zeros((block.num_rows, schema.num_slots), np.int32)
    row_weights = np.zeros(rows.shape, np.float32) if schema.needs_row_weights else None
    for feature, slot in zip(schema.categorical, schema.slot_offsets, strict=False):
        if feature.kind == "buckets":
            target, weights = (slice(None), slot), None
            rows[target] = feature.bucket_rows(block.dense[feature.column])
        else:
            found = values[feature.name]
            target = _find_slots(found, slot)
            rows[target] = rows_of_texts[feature.name][found.codes]
            weights = found.weights
        if row_weights is not None:
            row_weights[target] = 1 if weights is None else weights
            if feature.pooling == "mean":
                _normalize(row_weights[:, slot : slot + feature.max_values])
    labels = np.full(block.num_rows, np.nan, np.float32) if block.labels is None else block.labels
    weights = block.weights
    if weights is None and schema.has_weights:
        weights = np.ones(block.num_rows, np.float32)
    return ClickRows(labels, dense, rows, row_weights, weights)


def _find_slots(values: Values, first_slot: int) -> tuple[slice | np.ndarray, int | np.ndarray]:
    """Returns the index of each value in an array [n, S]."""
    if values.offsets is None:
        return slice(None), first_slot
    lengths = np.diff(values.offsets)
    examples = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(values.codes)) - np.repeat(values.offsets[:-1], lengths)
    return examples, first_slot + places


def _normalize(weights: np.ndarray) -> None:
    """Divides the weights of each row by their sum, in place; those of a sum of 0 stay 0."""
    sums = weights.sum(axis=1, keepdims=True)
    np.divide(weights, sums, out=weights, where=sums > 0)
