"""The first pass of a preparation: raw files, read once, to blocks on the disk."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrec_zoo.data.clicks.click_encoding import fit_slots
from tfrec_zoo.data.clicks.click_features import describe_feature
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature
from tfrec_zoo.data.clicks.click_spill import ClickSpill, SpillWriter
from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec

Paths = Sequence[str | os.PathLike]
# Takes a step's name, how much of it is done, and of how much (None: unknown).
Watch = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class SpilledFiles:
    """What the first pass has left.

    Attributes:
        spill: the rows of all files.
        blocks: part -> the blocks of the files that were named for it.
        num_bad_rows: rows passed over.
        num_cut: name of a multi-valued feature -> rows that had more values than it takes.
    """

    spill: ClickSpill
    blocks: dict[str, range]
    num_bad_rows: int
    num_cut: dict[str, int]


def spill_files(
    files: Mapping[str, Paths], spec: TableSpec, max_bad_rows: int, folder: Path, watch: Watch
) -> SpilledFiles:
    """Reads files into a spill.

    Args:
        files: part -> its files, empty for none.
        spec: what their columns are.
        max_bad_rows: rows of all files that may be passed over.
        folder: of the spill.
        watch: is told the number of rows read.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not as specified, or has nothing but bad rows.
    """
    columns = [column for column in spec.categorical if not column.buckets]
    features = [describe_feature(column, num_rows=2) for column in columns]
    num_cut = {feature.name: 0 for feature in features if feature.max_values > 1}
    blocks, num_blocks, num_rows, num_bad_before = {}, 0, 0, 0
    with SpillWriter(folder) as writer:
        for part, paths in files.items():
            first, num_bad = num_blocks, 0
            allowed = max_bad_rows - num_bad_before
            for block in read_table_blocks(paths, spec, max_bad_rows=allowed) if paths else ():
                num_bad = block.num_bad_rows
                if not block.num_rows:
                    continue
                writer.write(block, _fit_values(block, features, num_cut))
                num_blocks += 1
                num_rows += block.num_rows
                watch("rows read", num_rows, None)
            if paths and first == num_blocks:
                raise ValueError(f"the files of {part} have no good row, only {num_bad:,} bad ones")
            blocks[part] = range(first, num_blocks)
            num_bad_before += num_bad
    return SpilledFiles(ClickSpill(folder), blocks, num_bad_before, num_cut)


def _fit_values(
    block: TableBlock, features: Sequence[CategoricalFeature], num_cut: dict[str, int]
) -> dict[str, Values]:
    values = {}
    for feature in features:
        found = block.categorical[feature.name]
        if feature.name in num_cut:
            num_cut[feature.name] += int((np.diff(found.offsets) > feature.max_values).sum())
        values[feature.name] = fit_slots(found, feature.max_values, feature.has_bag)
    return values
