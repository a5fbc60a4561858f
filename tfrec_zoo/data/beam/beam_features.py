"""What is learned of the features from the training part, in a Beam pipeline.

The distinct values of a feature are counted in partitions by their hash, so that no worker holds
more than a partition of them; what is frequent enough comes together in the vocabulary.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection

from tfrec_zoo.data.beam.beam_blocks import PlacedBlock
from tfrec_zoo.data.beam.beam_counts import Counts, SumCounts, add_text_counts
from tfrec_zoo.data.beam.beam_files import join_path, write_local
from tfrec_zoo.data.beam.beam_numbers import (
    Measurement,
    MeasureNumbers,
    learn_boundaries,
    learn_scale,
)
from tfrec_zoo.data.clicks.click_features import LearnedFeatures, describe_feature
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_schema import ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_split import TRAIN
from tfrec_zoo.data.clicks.farm_hash import fingerprint64
from tfrec_zoo.data.clicks.number_statistics import list_measured, name_scale
from tfrec_zoo.data.clicks.prepared_clicks import VOCABULARIES_NAME
from tfrec_zoo.data.clicks.value_codes import build_vocabulary
from tfrec_zoo.data.tables.table_columns import CategoricalColumn
from tfrec_zoo.data.tables.table_spec import TableSpec

_NUM_PARTITIONS = 16


@dataclass(frozen=True)
class LearnedTable:
    """What was learned of a feature of texts: see `LearnedFeatures.counts`."""

    name: str
    size: dict[str, Any]
    counts: dict[str, int]


class LearnFeatures(beam.PTransform):
    """Placed blocks -> the one `LearnedFeatures`, without rows of texts; vocabularies are saved."""

    def __init__(self, spec: TableSpec, config: ClickPreparationConfig, folder: str) -> None:
        """Takes the columns, the rules, and the folder of the preparation."""
        super().__init__()
        self._spec, self._config, self._folder = spec, config, folder

    def expand(self, blocks: PCollection) -> PCollection:
        """Builds the steps."""
        spec, config = self._spec, self._config
        numbers = blocks | "Numbers" >> MeasureNumbers(list_measured(spec), config.sampling_seed)
        counted = {c.name: c for c in spec.categorical if not (c.buckets or c.hash_rows)}
        tables = (
            blocks
            | "CountValues" >> beam.FlatMap(_count_values, tuple(counted))
            | "SumCounts" >> beam.CombinePerKey(SumCounts(add_text_counts))
            | "KeepFrequent" >> beam.Map(_keep_frequent, counted, config.min_count)
            | "OfOneFeature" >> beam.GroupByKey()
            | "Vocabulary" >> beam.Map(_learn_table, counted, config.max_rows, self._folder)
            | "Tables" >> beam.combiners.ToList()
        )
        return numbers | "Schema" >> beam.Map(_learn_schema, AsSingleton(tables), spec, config)


def _count_values(
    block: PlacedBlock, features: Sequence[str]
) -> Iterator[tuple[tuple[str, int], Counts]]:
    """Yields name and partition, with the values of the block's training part and their counts."""
    is_train = block.parts == TRAIN
    for name in features:
        values = block.rows.categorical[name]
        chosen = is_train
        if values.offsets is not None:
            chosen = np.repeat(is_train, np.diff(values.offsets))
        texts = block.texts[name]
        counts = np.bincount(values.codes[chosen], minlength=len(texts))
        partitions = fingerprint64(texts) % np.uint64(_NUM_PARTITIONS)
        partitions[counts == 0] = _NUM_PARTITIONS
        for partition in range(_NUM_PARTITIONS):
            places = np.flatnonzero(partitions == partition)
            if len(places) or partition == 0:
                yield (name, partition), (texts.take(pa.array(places)), counts[places])


def _keep_frequent(
    found: tuple[tuple[str, int], Counts], columns: Mapping[str, CategoricalColumn], min_count: int
) -> tuple[str, tuple[Counts, int]]:
    """Returns the feature's name, its column, the values for the vocabulary, the number of all."""
    (name, _), (texts, counts) = found
    kept = np.flatnonzero(counts >= (columns[name].min_count or min_count))
    return name, ((texts.take(pa.array(kept)), counts[kept]), len(texts))


def _learn_table(
    found: tuple[str, Iterable[tuple[Counts, int]]],
    columns: Mapping[str, CategoricalColumn],
    max_rows: int | None,
    folder: str,
) -> LearnedTable:
    """Returns what is learned of a feature, and saves its vocabulary where it has one."""
    name, partitions = found
    partitions = list(partitions)
    num_values = sum(number for _, number in partitions)
    texts = pa.concat_arrays([texts for (texts, _), _ in partitions])
    oov_rows = columns[name].oov_rows or 0
    num_rows = 1 + len(texts) + oov_rows
    if max_rows is not None and num_rows > max_rows:
        size = {"kind": "hash", "num_rows": max_rows}
        return LearnedTable(name, size, {"num_values": num_values})
    counts = np.concatenate([counts for (_, counts), _ in partitions])
    try:
        vocabulary, _ = build_vocabulary(texts, counts, min_count=1)
    except ValueError as error:
        raise ValueError(f"feature {name}: {error}") from None
    with write_local(join_path(folder, VOCABULARIES_NAME, f"{name}.tsv")) as path:
        vocabulary.save(path)
    size = {"kind": "vocabulary", "num_rows": num_rows, "oov_rows": oov_rows}
    return LearnedTable(name, size, {"num_values": num_values, "num_kept": vocabulary.num_items})


def _learn_schema(
    numbers: Mapping[str, Measurement],
    tables: Sequence[LearnedTable],
    spec: TableSpec,
    config: ClickPreparationConfig,
) -> LearnedFeatures:
    sizes = {table.name: table.size for table in tables}
    for column in spec.categorical:
        if column.buckets:
            edges = learn_boundaries(numbers[column.column], column.buckets)
            sizes[column.name] = {
                "kind": "buckets",
                "num_rows": len(edges) + 2,
                "boundaries": edges,
            }
        elif column.hash_rows:
            sizes[column.name] = {"kind": "hash", "num_rows": column.hash_rows + 1}
    dense = [
        DenseFeature(
            column.name,
            column.column,
            column.transform,
            *(learn_scale(numbers[name]) if (name := name_scale(column)) else ()),
        )
        for column in spec.dense
    ]
    categorical = [describe_feature(column, **sizes[column.name]) for column in spec.categorical]
    schema = ClickSchema(dense, categorical, bool(spec.weight) or config.negative_keep_rate < 1)
    return LearnedFeatures(schema, {}, {table.name: table.counts for table in tables})
