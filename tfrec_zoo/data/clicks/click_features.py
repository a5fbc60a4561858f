"""What is learned of the features from the training part: vocabularies, buckets, scales."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tfrec_zoo.data.clicks.click_encoding import hash_outside
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_spill import ClickSpill
from tfrec_zoo.data.clicks.click_split import TRAIN
from tfrec_zoo.data.clicks.farm_hash import hash_rows
from tfrec_zoo.data.clicks.number_statistics import (
    NumberStatistics,
    list_measured,
    name_scale,
    take_numbers,
)
from tfrec_zoo.data.clicks.prepared_clicks import vocabulary_path
from tfrec_zoo.data.clicks.value_codes import BlockCodes, build_vocabulary, merge_texts
from tfrec_zoo.data.tables.table_columns import CategoricalColumn, DenseColumn
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.vocabulary import Vocabulary


@dataclass(frozen=True)
class LearnedFeatures:
    """The features of a spill.

    Attributes:
        schema: the features.
        rows_of_texts: name of a feature of texts -> the row of each text of each block.
        counts: name of such a feature -> what was counted: `num_values`, the distinct ones of the
            training part, and `num_kept`, those with a row of their own; not for hashed ones.
    """

    schema: ClickSchema
    rows_of_texts: dict[str, BlockCodes]
    counts: dict[str, dict[str, int]]


def describe_feature(column: CategoricalColumn, **learned: Any) -> CategoricalFeature:
    """Returns the feature that a specification describes, with what was `learned` of it."""
    return CategoricalFeature(
        name=column.name,
        column=column.column,
        max_values=column.max_values,
        pooling=column.pooling,
        is_weighted=column.weight_separator is not None,
        separator=column.separator,
        weight_separator=column.weight_separator,
        tokens=column.tokens,
        **learned,
    )


def learn_features(
    spill: ClickSpill,
    parts: np.ndarray,
    spec: TableSpec,
    config: ClickPreparationConfig,
    scratch: Path,
    folder: Path,
    watch: Callable[[str, int, int], None],
) -> LearnedFeatures:
    """Learns the features one after the other, so that memory holds the values of one.

    Args:
        spill: all rows.
        parts: int8 [N], which of them are to learn from, see `click_split`.
        spec: the columns.
        config: minimal count and sizes of tables.
        scratch: a folder for files that the result reads.
        folder: where the vocabularies are saved.
        watch: is told the number of features done, of all.
    """
    numbers = _measure_numbers(spill, parts, spec, config.sampling_seed)
    categorical, rows_of_texts, counts = [], {}, {}
    for place, column in enumerate(spec.categorical, start=1):
        if column.buckets:
            boundaries = numbers[column.column].find_boundaries(column.buckets)
            size = {"kind": "buckets", "num_rows": len(boundaries) + 2, "boundaries": boundaries}
        else:
            codes = BlockCodes(scratch / f"rows-{column.name}")
            size, vocabulary, num_values = _number_values(spill, parts, column, config, codes)
            rows_of_texts[column.name] = codes
            if num_values is not None:
                counts[column.name] = {"num_values": num_values}
            if vocabulary is not None:
                counts[column.name]["num_kept"] = vocabulary.num_items
                vocabulary.save(vocabulary_path(folder, column.name))
        categorical.append(describe_feature(column, **size))
        watch("features counted", place, len(spec.categorical))
    dense = [_scale(column, numbers) for column in spec.dense]
    schema = ClickSchema(dense, categorical, bool(spec.weight) or config.negative_keep_rate < 1)
    return LearnedFeatures(schema, rows_of_texts, counts)


def _number_values(
    spill: ClickSpill,
    parts: np.ndarray,
    column: CategoricalColumn,
    config: ClickPreparationConfig,
    codes: BlockCodes,
) -> tuple[dict[str, Any], Vocabulary | None, int | None]:
    """Puts the row of each text into `codes`.

    Returns:
        Kind and size of the table; the vocabulary, None where values are hashed; how many distinct
        values the training part has, None where that was not counted.
    """
    if column.hash_rows:
        size = {"kind": "hash", "num_rows": column.hash_rows + 1}
        codes.append(hash_rows(texts, size["num_rows"]) for texts in spill.texts(column.name))
        return size, None, None
    texts, counts = merge_texts(_count_texts(spill, parts, column.name), codes)
    num_values = int(np.count_nonzero(counts))
    min_count = column.min_count or config.min_count
    oov_rows = column.oov_rows or 0
    first_oov_row = 1 + int(np.count_nonzero(counts >= min_count))
    num_rows = first_oov_row + oov_rows
    if config.max_rows is not None and num_rows > config.max_rows:
        codes.replace(hash_rows(texts, config.max_rows))
        return {"kind": "hash", "num_rows": config.max_rows}, None, num_values
    try:
        vocabulary, rows = build_vocabulary(texts, counts, min_count)
    except ValueError as error:
        raise ValueError(f"feature {column.name}: {error}") from None
    codes.replace(hash_outside(rows, texts, first_oov_row, oov_rows))
    size = {"kind": "vocabulary", "num_rows": num_rows, "oov_rows": oov_rows}
    return size, vocabulary, num_values


def _count_texts(
    spill: ClickSpill, parts: np.ndarray, feature: str
) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """Yields the texts of each block and how often each occurs in the training part."""
    for block, texts in enumerate(spill.texts(feature)):
        values = spill.values(feature, block)
        is_train = parts[spill.starts[block] : spill.starts[block + 1]] == TRAIN
        if values.offsets is not None:
            is_train = np.repeat(is_train, np.diff(values.offsets))
        yield texts, np.bincount(values.codes[is_train], minlength=len(texts))


def _measure_numbers(
    spill: ClickSpill, parts: np.ndarray, spec: TableSpec, seed: int
) -> dict[str, NumberStatistics]:
    """Returns the statistics of the numbers that give a scale or buckets."""
    found = {name: NumberStatistics(seed) for name in list_measured(spec)}
    for block in range(spill.num_blocks if found else 0):
        is_train = parts[spill.starts[block] : spill.starts[block + 1]] == TRAIN
        values = spill.read(block).dense
        for name, statistics in found.items():
            statistics.add(take_numbers(values, name)[is_train])
    return found


def _scale(column: DenseColumn, numbers: Mapping[str, NumberStatistics]) -> DenseFeature:
    name = name_scale(column)
    if name is None:
        return DenseFeature(column.name, column.column, column.transform)
    found = numbers[name]
    return DenseFeature(column.name, column.column, column.transform, found.mean, found.std)
