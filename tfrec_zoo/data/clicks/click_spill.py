"""Blocks of a table on the disk between the passes of a preparation, to be read feature by feature.

A text is parsed once. The numbers of the rows and the codes of their values go into one Arrow file,
a record batch a block; the distinct texts that the codes of a block stand for go into a file of
their own for each feature, so that one vocabulary is made without reading what others are made of.
Files are mapped into memory and read as NumPy views.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tfrec_zoo.data.tables.table_block import TableBlock, Values

_ROWS_NAME = "rows.arrow"
_SCALARS = {"label": pa.float32(), "weight": pa.float32(), "time": pa.float64()}
_TEXT_SCHEMA = pa.schema([pa.field("text", pa.large_string(), nullable=False)])


class SpillWriter:
    """Writes blocks into a folder of its own; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which exists."""
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._rows: pa.RecordBatchWriter | None = None
        self._texts: dict[str, pa.RecordBatchWriter] = {}

    def write(self, block: TableBlock, values: dict[str, Values]) -> None:
        """Appends a block.

        Args:
            block: labels, weights, times and raw numbers.
            values: name of a feature -> its values.
        """
        scalars = {"label": block.labels, "weight": block.weights, "time": block.times}
        columns = {
            name: pa.array(column, _SCALARS[name])
            for name, column in scalars.items()
            if column is not None
        }
        columns |= {f"number:{n}": pa.array(c, pa.float32()) for n, c in block.dense.items()}
        for name, found in values.items():
            columns[f"codes:{name}"] = _as_lists(found.codes, found.offsets)
            if found.weights is not None:
                columns[f"weights:{name}"] = _as_lists(found.weights, found.offsets)
        batch = pa.RecordBatch.from_pydict(columns)
        if self._rows is None:
            self._open(batch.schema, values)
        self._rows.write_batch(batch)
        for name, found in values.items():
            texts = pa.array(found.texts, pa.large_string())
            self._texts[name].write_batch(pa.RecordBatch.from_arrays([texts], schema=_TEXT_SCHEMA))

    def _open(self, schema: pa.Schema, features: Iterable[str]) -> None:
        self._rows = self._stack.enter_context(pa.ipc.new_file(self._folder / _ROWS_NAME, schema))
        for name in features:
            file = pa.ipc.new_file(_text_path(self._folder, name), _TEXT_SCHEMA)
            self._texts[name] = self._stack.enter_context(file)

    def __enter__(self) -> "SpillWriter":
        """Returns the writer."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes the files."""
        self._stack.close()


class ClickSpill:
    """The blocks that a `SpillWriter` has written.

    Attributes:
        lengths: the rows of each block.
        num_blocks: their number.
        starts: the place of each block's first row among all rows, and the number of all; int64.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the files."""
        self._folder = folder
        self._rows = pa.ipc.open_file(pa.memory_map(str(folder / _ROWS_NAME)))
        self.num_blocks = self._rows.num_record_batches
        self.lengths = [self._rows.get_batch(n).num_rows for n in range(self.num_blocks)]
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    @property
    def num_rows(self) -> int:
        """The rows of all blocks."""
        return int(self.starts[-1])

    def column(self, name: str, block: int) -> np.ndarray | None:
        """Returns `label`, `weight` or `time` of a block; None where the table has none."""
        batch = self._rows.get_batch(block)
        return batch[name].to_numpy() if name in batch.schema.names else None

    def values(self, feature: str, block: int) -> Values:
        """Returns the codes of a feature's values in a block, without their texts."""
        return _read_values(self._rows.get_batch(block), feature)

    def texts(self, feature: str) -> Iterator[pa.Array]:
        """Yields the texts that the codes of each block stand for."""
        reader = pa.ipc.open_file(pa.memory_map(str(_text_path(self._folder, feature))))
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)["text"]

    def read(self, block: int) -> TableBlock:
        """Returns a block, its values without their texts."""
        batch = self._rows.get_batch(block)
        labels, weights, times = (self.column(name, block) for name in _SCALARS)
        return TableBlock(
            num_rows=batch.num_rows,
            labels=labels,
            weights=weights,
            times=times,
            dense={name: batch[f"number:{name}"].to_numpy() for name in _names(batch, "number")},
            categorical={name: _read_values(batch, name) for name in _names(batch, "codes")},
        )


def _names(batch: pa.RecordBatch, prefix: str) -> list[str]:
    names = (name.partition(":") for name in batch.schema.names)
    return [name for found, _, name in names if found == prefix]


def _text_path(folder: Path, feature: str) -> Path:
    return folder / f"texts-{feature}.arrow"


def _as_lists(values: np.ndarray, offsets: np.ndarray | None) -> pa.Array:
    if offsets is None:
        return pa.array(values)
    return pa.ListArray.from_arrays(offsets.astype(np.int32), values)


def _read_values(batch: pa.RecordBatch, feature: str) -> Values:
    codes, offsets = _split_lists(batch[f"codes:{feature}"])
    weights = None
    if f"weights:{feature}" in batch.schema.names:
        weights, _ = _split_lists(batch[f"weights:{feature}"])
    return Values(codes, np.empty(0, dtype=object), offsets, weights)


def _split_lists(column: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    if not pa.types.is_list(column.type):
        return column.to_numpy(), None
    return column.values.to_numpy(), column.offsets.to_numpy()
