"""The second pass of a preparation: blocks from the disk to the encoded shards of the parts."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from tfrec_zoo.data.clicks.click_encoding import encode_block
from tfrec_zoo.data.clicks.click_features import LearnedFeatures
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_reading import Watch
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.click_spill import ClickSpill
from tfrec_zoo.data.clicks.click_split import DROPPED, PARTS, TRAIN
from tfrec_zoo.data.clicks.click_summary import PartCounts
from tfrec_zoo.data.clicks.prepared_clicks import PartWriter
from tfrec_zoo.data.run_ahead import run_ahead


@dataclass(frozen=True)
class WrittenParts:
    """What the second pass has written.

    Attributes:
        files: part -> the names of its shards.
        counts: part -> what was counted of it.
        num_dropped: training examples without a click that were left out.
    """

    files: dict[str, list[str]]
    counts: dict[str, PartCounts]
    num_dropped: int


def write_parts(
    spill: ClickSpill,
    parts: np.ndarray,
    learned: LearnedFeatures,
    config: ClickPreparationConfig,
    folder: Path,
    watch: Watch,
) -> WrittenParts:
    """Encodes all rows and writes the parts that have any.

    Args:
        spill: the rows.
        parts: int8 [N], the part of each, see `click_split`.
        learned: the features.
        config: the number of shards, and the share of examples without a click.
        folder: where to.
        watch: is told the number of rows written, of all.

    Raises:
        ValueError: a part has fewer examples than shards.
    """
    num_rows = _count_parts(spill, parts)
    numbers = {name: number for number, name in enumerate(PARTS) if num_rows[number]}
    counts = {name: PartCounts(learned.schema) for name in numbers}
    writers = {
        name: PartWriter(folder, name, int(num_rows[number]), config.num_shards, learned.schema)
        for name, number in numbers.items()
    }
    with ExitStack() as stack:
        for writer in writers.values():
            stack.enter_context(writer)
        # One block is encoded while the one before it is counted and written.
        tasks = (
            partial(_encode, spill, block, parts, numbers, learned, config)
            for block in range(spill.num_blocks)
        )
        for block, pieces in enumerate(run_ahead(tasks, num_threads=1)):
            for name, (rows, times) in pieces.items():
                counts[name].add(rows, times)
                writers[name].write(rows)
            watch("rows written", int(spill.starts[block + 1]), spill.num_rows)
    files = {name: writer.files for name, writer in writers.items()}
    return WrittenParts(files, counts, int(num_rows[DROPPED]))


def _count_parts(spill: ClickSpill, parts: np.ndarray) -> np.ndarray:
    """Returns the rows of each part, the dropped ones last; int64 [4]."""
    bounds = zip(spill.starts[:-1], spill.starts[1:], strict=True)
    return sum(np.bincount(parts[start:stop], minlength=DROPPED + 1) for start, stop in bounds)


def _encode(
    spill: ClickSpill,
    block: int,
    parts: np.ndarray,
    numbers: Mapping[str, int],
    learned: LearnedFeatures,
    config: ClickPreparationConfig,
) -> dict[str, tuple[ClickRows, np.ndarray | None]]:
    """Returns part -> its examples and their times, for the parts that the block has a row of."""
    raw = spill.read(block)
    part_of_row = parts[spill.starts[block] : spill.starts[block + 1]]
    rows_of_texts = {name: rows.of_block(block) for name, rows in learned.rows_of_texts.items()}
    rows = encode_block(raw, learned.schema, raw.categorical, rows_of_texts)
    if config.negative_keep_rate < 1:
        # Those that are kept stand for those that are not.
        is_sampled = (part_of_row == TRAIN) & (rows.labels == 0)
        weights = np.where(is_sampled, rows.weights / config.negative_keep_rate, rows.weights)
        rows = replace(rows, weights=weights.astype(np.float32))
    pieces = {}
    for name, number in numbers.items():
        chosen = np.flatnonzero(part_of_row == number)
        if len(chosen):
            piece = rows if len(chosen) == rows.num_rows else rows.take(chosen)
            pieces[name] = (piece, None if raw.times is None else raw.times[chosen])
    return pieces
