"""Raw files as blocks of rows in a Beam pipeline, each with its place among all rows.

A block is what `read_table_blocks` makes of it, so that the pipeline draws the same numbers and
finds the same order of rows as a preparation on one machine.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
import numpy as np
import pyarrow as pa

from tfrec_zoo.data.beam.beam_files import open_local
from tfrec_zoo.data.clicks.click_encoding import fit_slots
from tfrec_zoo.data.clicks.click_features import describe_feature
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_split import DROPPED, PARTS, TRAIN, Cut
from tfrec_zoo.data.tables.table_block import TableBlock
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec

BAD_ROWS = "bad_rows"

Key = tuple[int, int]


@dataclass(frozen=True)
class InputFile:
    """A file, in the order of all: its number, the part that it was named for, its path."""

    number: int
    part: str
    path: str


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of a file.

    Attributes:
        key: the number of the file and that of the block in it; they are in the rows' order.
        part: that the file was named for.
        rows: with the values as `fit_slots` gives them, but without their texts.
        texts: name of a feature -> large_string [m], what the codes of its values stand for. (Arrow
            sends texts from worker to worker several times as fast as NumPy does.)
        num_cut: name of a multi-valued feature -> rows that had more values than it takes.
    """

    key: Key
    part: str
    rows: TableBlock
    texts: dict[str, pa.Array]
    num_cut: dict[str, int]

    @property
    def times(self) -> "BlockTimes":
        """The times of the rows."""
        return BlockTimes(self.key, self.rows.num_rows, self.rows.times)


@dataclass(frozen=True, eq=False)
class BlockTimes:
    """The times of a block's rows, from which the cuts between the parts are found.

    Attributes:
        key: of the block.
        num_rows: n.
        column: int64 or float64 [n]; None where there are none.
    """

    key: Key
    num_rows: int
    column: np.ndarray | None

    @property
    def values(self) -> np.ndarray:
        """The times, float64 [n]; all equal where there are none."""
        if self.column is None:
            return np.zeros(self.num_rows)
        return self.column.astype(np.float64)


@dataclass(frozen=True, eq=False)
class PlacedBlock:
    """Rows whose parts are known.

    Attributes:
        ordinal: the number of the block among all.
        rows: the rows, see `Block`.
        texts: of their values.
        parts: int8 [n], the place of each row's part in `PARTS`, or `DROPPED`.
    """

    ordinal: int
    rows: TableBlock
    texts: dict[str, pa.Array]
    parts: np.ndarray


class ReadBlocks(beam.DoFn):
    """`InputFile` -> its blocks that have rows; tagged `BAD_ROWS`: its part, its bad rows."""

    def __init__(self, spec: TableSpec, max_bad_rows: int) -> None:
        """Takes what the columns are, and how many rows of a file may be passed over."""
        self._spec = spec
        self._max_bad_rows = max_bad_rows

    def process(self, file: InputFile) -> Iterator[Block]:
        """Reads a file."""
        columns = [column for column in self._spec.categorical if not column.buckets]
        features = [describe_feature(column, num_rows=2) for column in columns]
        number = num_bad_rows = 0
        with open_local(file.path) as path:
            for block in read_table_blocks(path, self._spec, max_bad_rows=self._max_bad_rows):
                num_bad_rows = block.num_bad_rows
                if not block.num_rows:
                    continue
                values, texts, num_cut = {}, {}, {}
                for feature in features:
                    found = block.categorical[feature.name]
                    if feature.max_values > 1:
                        is_cut = np.diff(found.offsets) > feature.max_values
                        num_cut[feature.name] = int(is_cut.sum())
                    found = fit_slots(found, feature.max_values, feature.has_bag)
                    texts[feature.name] = pa.array(found.texts, pa.large_string())
                    values[feature.name] = replace(found, texts=np.empty(0, dtype=object))
                rows = replace(block, categorical=values)
                yield Block((file.number, number), file.part, rows, texts, num_cut)
                number += 1
        yield beam.pvalue.TaggedOutput(BAD_ROWS, (file.part, num_bad_rows))


@dataclass(frozen=True)
class BlockSize:
    """What the layout has to know of a block, see `Block`."""

    key: Key
    part: str
    num_rows: int
    num_cut: dict[str, int]

    @classmethod
    def of(cls, block: Block) -> "BlockSize":
        """Returns that of `block`."""
        return cls(block.key, block.part, block.rows.num_rows, block.num_cut)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each block lies among all rows.

    Attributes:
        ordinals: the key of a block -> its number among all.
        starts: int64, the place of each block's first row, and at the end the number of all rows.
        num_log_rows: rows of the files that are to be split; they are the first ones.
        num_bad_rows: rows passed over.
        num_cut: name of a multi-valued feature -> rows that had more values than it takes.
    """

    ordinals: dict[Key, int]
    starts: np.ndarray
    num_log_rows: int
    num_bad_rows: int
    num_cut: dict[str, int]

    @property
    def num_rows(self) -> int:
        """The rows of all blocks."""
        return int(self.starts[-1])

    def places(self, block: BlockTimes) -> np.ndarray:
        """Returns the places of a block's rows among all; int64 [n]."""
        start = self.starts[self.ordinals[block.key]]
        return np.arange(start, start + block.num_rows)


def make_layout(
    sizes: Sequence[BlockSize], bad_rows: Sequence[tuple[str, int]], max_bad_rows: int
) -> Layout:
    """Puts the blocks in order.

    Args:
        sizes: of all blocks, in any order.
        bad_rows: part and number of bad rows of each file.
        max_bad_rows: how many of them may be passed over in all.

    Raises:
        ValueError: there are more bad rows, or a part's files have no good one.
    """
    num_bad_rows = sum(number for _, number in bad_rows)
    if num_bad_rows > max_bad_rows:
        raise ValueError(
            f"the files together have {num_bad_rows:,} bad rows, more than "
            f"max_bad_rows={max_bad_rows} allows"
        )
    for part in dict(bad_rows):
        if not any(size.part == part for size in sizes):
            number = sum(number for name, number in bad_rows if name == part)
            raise ValueError(f"the files of {part} have no good row, only {number:,} bad ones")
    sizes = sorted(sizes, key=lambda size: size.key)
    ends = np.cumsum([size.num_rows for size in sizes])
    num_cut = {}
    for size in sizes:
        for name, number in size.num_cut.items():
            num_cut[name] = num_cut.get(name, 0) + number
    return Layout(
        ordinals={size.key: ordinal for ordinal, size in enumerate(sizes)},
        starts=np.concatenate([[0], ends]).astype(np.int64),
        num_log_rows=sum(size.num_rows for size in sizes if size.part == PARTS[TRAIN]),
        num_bad_rows=num_bad_rows,
        num_cut=num_cut,
    )


def place_block(
    block: Block, layout: Layout, cuts: Mapping[int, Cut], config: ClickPreparationConfig
) -> PlacedBlock:
    """Assigns the rows of a block to parts, as `click_split` does.

    Args:
        block: the rows.
        layout: of all blocks.
        cuts: the places of parts in `PARTS` -> where each begins among the rows that are split.
        config: the share of examples without a click.
    """
    ordinal, times = layout.ordinals[block.key], block.times
    parts = np.full(block.rows.num_rows, PARTS.index(block.part), np.int8)
    if block.part == PARTS[TRAIN]:
        for number, cut in cuts.items():
            parts[cut.is_newer(times.values, layout.places(times))] = number
        if config.negative_keep_rate < 1:
            draws = np.random.default_rng((config.sampling_seed, ordinal)).random(len(parts))
            is_negative = (parts == TRAIN) & (block.rows.labels == 0)
            parts[is_negative & (draws >= config.negative_keep_rate)] = DROPPED
    return PlacedBlock(ordinal, block.rows, block.texts, parts)


def list_inputs(files: Mapping[str, Iterable[str]]) -> list[InputFile]:
    """Returns the files of all parts (part -> paths) with their numbers."""
    pairs = [(part, path) for part, paths in files.items() for path in paths]
    return [InputFile(number, part, path) for number, (part, path) in enumerate(pairs)]
