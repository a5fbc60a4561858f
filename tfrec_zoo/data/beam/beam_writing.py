"""The second half of a preparation in a Beam pipeline: placed blocks to encoded shards."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import apache_beam as beam
import numpy as np

from tfrec_zoo.data.beam.beam_blocks import PlacedBlock
from tfrec_zoo.data.beam.beam_files import join_path, open_local, write_local
from tfrec_zoo.data.clicks.click_encoding import encode_block, find_rows
from tfrec_zoo.data.clicks.click_features import LearnedFeatures
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows, ShardWriter
from tfrec_zoo.data.clicks.click_split import DROPPED, PARTS, TRAIN
from tfrec_zoo.data.clicks.click_summary import PartCounts
from tfrec_zoo.data.clicks.prepared_clicks import VOCABULARIES_NAME, PartWriter
from tfrec_zoo.vocabulary import Vocabulary

# The place in `PARTS` and the number of the shard.
ShardKey = tuple[int, int]


@dataclass(frozen=True, eq=False)
class PartLayout:
    """Where the rows of each block lie among those of their parts.

    Attributes:
        starts: int64 [number of blocks, 4], rows of each part (the dropped ones last) before it.
        num_rows: int64 [4], rows of each part.
    """

    starts: np.ndarray
    num_rows: np.ndarray

    @classmethod
    def of(cls, counts: Sequence[tuple[int, np.ndarray]]) -> "PartLayout":
        """Returns that of all blocks: ordinal and rows of each part, in any order."""
        counts = np.stack([found for _, found in sorted(counts, key=lambda pair: pair[0])])
        ends = np.cumsum(counts, axis=0)
        return cls(ends - counts, ends[-1])


def count_parts(block: PlacedBlock) -> tuple[int, np.ndarray]:
    """Returns the ordinal of a block and its rows of each part, int64 [4]."""
    return block.ordinal, np.bincount(block.parts, minlength=DROPPED + 1)


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a shard: the place of the first among those of its part, and their times."""

    place: int
    rows: ClickRows
    times: np.ndarray | None


@dataclass(frozen=True, eq=False)
class WrittenShard:
    """A shard: the place of its part in `PARTS`, its name, what was counted of it."""

    number: int
    name: str
    counts: PartCounts


class EncodeBlocks(beam.DoFn):
    """`PlacedBlock` -> the key of a shard and a piece of it."""

    def __init__(self, config: ClickPreparationConfig, folder: str) -> None:
        """Takes the rules, and the folder in which the vocabularies are."""
        self._config, self._folder = config, folder

    def setup(self) -> None:
        """Begins without vocabularies: a worker reads each of them once."""
        self._vocabularies: dict[str, Vocabulary] = {}

    def process(
        self, block: PlacedBlock, learned: LearnedFeatures, layout: PartLayout
    ) -> Iterator[tuple[ShardKey, Piece]]:
        """Encodes a block."""
        rows = self._encode(block, learned.schema)
        for number in range(len(PARTS)):
            chosen = np.flatnonzero(block.parts == number)
            if not len(chosen):
                continue
            start = int(layout.starts[block.ordinal, number])
            ends = shard_ends(int(layout.num_rows[number]), self._config.num_shards)
            for shard, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
                inside = chosen[max(first - start, 0) : max(last - start, 0)]
                if len(inside):
                    times = block.rows.times
                    times = None if times is None else times[inside].astype(np.float64)
                    piece = Piece(max(first, start), rows.take(inside), times)
                    yield (number, shard), piece

    def _encode(self, block: PlacedBlock, schema: ClickSchema) -> ClickRows:
        rows_of_texts = {}
        for feature in schema.categorical:
            if feature.kind != "buckets":
                texts = block.texts[feature.name].to_numpy(zero_copy_only=False)
                vocabulary = self._vocabulary(feature)
                rows_of_texts[feature.name] = find_rows(feature, texts, vocabulary)
        rows = encode_block(block.rows, schema, block.rows.categorical, rows_of_texts)
        rate = self._config.negative_keep_rate
        if rate < 1:
            # Those that are kept stand for those that are not.
            is_sampled = (block.parts == TRAIN) & (rows.labels == 0)
            weights = np.where(is_sampled, rows.weights / rate, rows.weights)
            rows = replace(rows, weights=weights.astype(np.float32))
        return rows

    def _vocabulary(self, feature: CategoricalFeature) -> Vocabulary | None:
        name = feature.name
        if feature.kind == "vocabulary" and name not in self._vocabularies:
            with open_local(join_path(self._folder, VOCABULARIES_NAME, f"{name}.tsv")) as path:
                self._vocabularies[name] = Vocabulary.load(path)
        return self._vocabularies.get(name)


def shard_ends(num_rows: int, num_shards: int) -> list[int]:
    """Returns the place after each shard's last row, as `PartWriter` cuts them."""
    return [num_rows * (number + 1) // num_shards for number in range(num_shards)]


def write_shard(
    found: tuple[ShardKey, Iterable[Piece]],
    learned: LearnedFeatures,
    layout: PartLayout,
    num_shards: int,
    folder: str,
) -> WrittenShard:
    """Writes a shard, which is put together in memory.

    Raises:
        ValueError: its part has fewer examples than shards.
    """
    (number, shard), pieces = found
    schema, counts = learned.schema, PartCounts(learned.schema)
    num_rows = int(layout.num_rows[number])
    name = PartWriter(Path(), PARTS[number], num_rows, num_shards, schema).files[shard]
    with write_local(join_path(folder, name)) as path, ShardWriter(path, schema) as writer:
        for piece in sorted(pieces, key=lambda piece: piece.place):
            counts.add(piece.rows, piece.times)
            writer.write(piece.rows)
    return WrittenShard(number, name, counts)


def join_counts(counts: Sequence[PartCounts], schema: ClickSchema) -> PartCounts:
    """Returns the counts of all shards of a part."""
    joined = PartCounts(schema)
    for found in counts:
        joined.num_rows += found.num_rows
        joined.num_clicks += found.num_clicks
        joined.num_weighted_rows += found.num_weighted_rows
        joined.num_weighted_clicks += found.num_weighted_clicks
        joined.num_values += found.num_values
        joined.num_unknown += found.num_unknown
    times = [time for found in counts for time in found.times or ()]
    joined.times = (min(times), max(times)) if times else None
    return joined
