"""Encoded click data: rows in memory, or shards on the disk that are trained from as they lie.

A shard is an uncompressed Arrow IPC file (`train-00000-of-00004.arrow`) with the columns

    label        float32, 0 or 1
    weight       float32, of the example; only where the schema has weights
    dense        float32 [Dn] a row, transformed, missing ones filled
    rows         int32 [S] a row, the rows of the features' slots
    row_weights  float32 [S] a row; only where the schema needs them: 0 for padding, for the pooling
                 `mean` divided by their sum, so that a model only sums

in record batches of up to 65,536 rows. Files are mapped into memory and read as NumPy views:
opening one reads nothing but its directory, and what is read afterwards stays the system's file
cache, not this process' memory.

A `ClickTable` is what batches are cut from: `ClickShards` of any size, or `ClickRows` in memory.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from tfrec_zoo.data.clicks.click_schema import ClickSchema

BATCH_ROWS = 65_536
SHARD_ENDING = "arrow"

_DIGEST_KEY = b"digest"
# Columns of numbers, and columns of lists with one of them for each dense feature or slot.
_SCALARS = {"label": "labels", "weight": "weights"}
_LISTS = {"dense": "dense", "rows": "rows", "row_weights": "row_weights"}


class ClickTable(Protocol):
    """Encoded examples that can be read in any order."""

    @property
    def num_rows(self) -> int:
        """The number of examples."""

    @property
    def fingerprint(self) -> str:
        """Tells one content from another: a short text."""

    def take(self, indices: np.ndarray) -> "ClickRows":
        """Returns the examples at `indices`, integer [n], in that order, repeated or not."""

    def slice(self, start: int, stop: int) -> "ClickRows":
        """Returns the examples from `start` up to `stop`; read-only where they lie in a file."""


@dataclass(frozen=True, eq=False)
class ClickRows:
    """Encoded examples in memory.

    Attributes:
        labels: float32 [n], 0 or 1.
        dense: float32 [n, Dn], transformed.
        rows: int32 [n, S], the rows of the features' slots.
        row_weights: float32 [n, S]; None where all are 1.
        weights: float32 [n], of the examples; None where all are 1.
    """

    labels: np.ndarray
    dense: np.ndarray
    rows: np.ndarray
    row_weights: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Checks that the arrays have one length."""
        lengths = {name: len(array) for name, array in self._arrays()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"expected arrays of one length, got {lengths}")

    @property
    def num_rows(self) -> int:
        """The number of examples."""
        return len(self.labels)

    @property
    def fingerprint(self) -> str:
        """Tells one content from another; the same as that of one shard of these examples."""
        starts = range(0, self.num_rows, BATCH_ROWS)
        return _join_digests(self.slice(start, start + BATCH_ROWS).digest() for start in starts)

    def take(self, indices: np.ndarray) -> "ClickRows":
        """Returns the examples at `indices`, integer [n], in that order."""
        return ClickRows(**{name: array.take(indices, axis=0) for name, array in self._arrays()})

    def slice(self, start: int, stop: int) -> "ClickRows":
        """Returns the examples from `start` up to `stop`, as views."""
        return ClickRows(**{name: array[start:stop] for name, array in self._arrays()})

    def digest(self) -> str:
        """Returns a hash of all the numbers and the shapes."""
        state = hashlib.sha256()
        for name, array in self._arrays():
            state.update(f"{name} {array.dtype} {array.shape}".encode())
            state.update(np.ascontiguousarray(array))
        return state.hexdigest()

    @classmethod
    def concatenate(cls, parts: Sequence["ClickRows"]) -> "ClickRows":
        """Returns the examples of one part or more, one after the other."""
        if len(parts) == 1:
            return parts[0]
        names = [name for name, _ in parts[0]._arrays()]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})

    def _arrays(self) -> list[tuple[str, np.ndarray]]:
        pairs = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, array) for name, array in pairs if array is not None]


class ClickShards:
    """Encoded examples in one file or several, in the order of the files; immutable."""

    def __init__(self, paths: Iterable[str | os.PathLike], schema: ClickSchema) -> None:
        """Maps the files into memory.

        Args:
            paths: the shards.
            schema: what they hold.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is no shard, or not of this schema.
        """
        self.schema = schema
        self._batches: list[ClickRows] = []
        self._digests: list[str] = []
        for path in paths:
            self._map(Path(path))
        lengths = [batch.num_rows for batch in self._batches]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @property
    def num_rows(self) -> int:
        """The number of examples in all files."""
        return int(self._starts[-1])

    @property
    def fingerprint(self) -> str:
        """Tells one content from another, from the hashes that the files hold."""
        return _join_digests(self._digests)

    def take(self, indices: np.ndarray) -> ClickRows:
        """Returns copies of the examples at `indices`, integer [n], in that order.

        Raises:
            IndexError: an index is negative or beyond the last example.
        """
        indices = np.asarray(indices, np.int64)
        if not len(indices):
            return self.slice(0, 0)
        order = np.argsort(indices, kind="stable")
        ascending = indices[order]
        if ascending[0] < 0 or ascending[-1] >= self.num_rows:
            raise IndexError(
                f"got indices from {ascending[0]} to {ascending[-1]} of {self.num_rows} examples"
            )
        bounds = np.searchsorted(ascending, self._starts)
        parts = [
            self._batches[number].take(ascending[bounds[number] : bounds[number + 1]] - start)
            for number, start in enumerate(self._starts[:-1])
            if bounds[number] < bounds[number + 1]
        ]
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return ClickRows.concatenate(parts).take(places)

    def slice(self, start: int, stop: int) -> ClickRows:
        """Returns the examples from `start` up to `stop`: views where one record batch has them."""
        start, stop, _ = slice(start, stop).indices(self.num_rows)
        if start >= stop:
            return _view(pa.RecordBatch.from_pylist([], arrow_schema(self.schema)))
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop))
        begins = self._starts[first:last].tolist()
        return ClickRows.concatenate(
            [
                batch.slice(max(0, start - begin), stop - begin)
                for batch, begin in zip(self._batches[first:last], begins, strict=True)
            ]
        )

    def _map(self, path: Path) -> None:
        try:
            with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
                self._check_columns(path, reader.schema)
                for number in range(reader.num_record_batches):
                    batch, metadata = reader.get_batch_with_custom_metadata(number)
                    rows = _view(batch)
                    digest = (metadata or {}).get(_DIGEST_KEY)
                    self._batches.append(rows)
                    self._digests.append(digest.decode() if digest else rows.digest())
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} is not a whole shard of click data: {reason}") from None

    def _check_columns(self, path: Path, found: pa.Schema) -> None:
        expected = arrow_schema(self.schema)
        if not found.equals(expected):
            raise ValueError(
                f"{path} does not hold the features of this schema: expected columns "
                f"{_describe(expected)}, found {_describe(found)}; prepare the data again, or take "
                "the features.json beside it"
            )


def arrow_schema(schema: ClickSchema) -> pa.Schema:
    """Returns the columns of a shard."""
    columns = {"label": pa.float32()}
    if schema.has_weights:
        columns["weight"] = pa.float32()
    columns["dense"] = pa.list_(pa.float32(), schema.num_dense)
    columns["rows"] = pa.list_(pa.int32(), schema.num_slots)
    if schema.needs_row_weights:
        columns["row_weights"] = pa.list_(pa.float32(), schema.num_slots)
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


class ShardWriter:
    """Writes a shard, as a context manager; rows come in pieces of any size.

    The file is written where it shall be: whoever needs it whole or not at all writes into a folder
    that is renamed afterwards.
    """

    def __init__(self, path: str | os.PathLike, schema: ClickSchema) -> None:
        """Opens the file."""
        self._schema = arrow_schema(schema)
        self._writer = pa.ipc.new_file(os.fspath(path), self._schema)
        self._pending: list[ClickRows] = []
        self._num_pending = 0

    def write(self, rows: ClickRows) -> None:
        """Appends `rows`."""
        self._pending.append(rows)
        self._num_pending += rows.num_rows
        if self._num_pending >= BATCH_ROWS:
            whole = ClickRows.concatenate(self._pending)
            start = 0
            for start in range(0, self._num_pending - BATCH_ROWS + 1, BATCH_ROWS):
                self._write_batch(whole.slice(start, start + BATCH_ROWS))
            self._pending = [whole.slice(start + BATCH_ROWS, self._num_pending)]
            self._num_pending = self._pending[0].num_rows

    def close(self) -> None:
        """Writes what is left and closes the file; a second time, does nothing."""
        if self._num_pending:
            self._write_batch(ClickRows.concatenate(self._pending))
        self._pending, self._num_pending = [], 0
        self._writer.close()

    def __enter__(self) -> "ShardWriter":
        """Returns the writer."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes the file."""
        self.close()

    def _write_batch(self, rows: ClickRows) -> None:
        arrays = []
        for field in self._schema:
            if field.name in _SCALARS:
                arrays.append(pa.array(getattr(rows, _SCALARS[field.name]), field.type))
            else:
                values = np.ascontiguousarray(getattr(rows, _LISTS[field.name])).ravel()
                values = pa.array(values, field.type.value_type)
                arrays.append(_fixed_lists(values, field.type, rows.num_rows))
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._writer.write_batch(batch, custom_metadata={_DIGEST_KEY: rows.digest().encode()})


def _fixed_lists(values: pa.Array, kind: pa.FixedSizeListType, length: int) -> pa.Array:
    """Returns `length` lists of `values`; built from its parts, since lists may be of size 0."""
    return pa.Array.from_buffers(kind, length, [None], children=[values])


def _view(batch: pa.RecordBatch) -> ClickRows:
    """Returns the columns of a record batch as arrays over the same memory."""
    arrays = {}
    for name, field in _SCALARS.items():
        if name in batch.schema.names:
            arrays[field] = batch[name].to_numpy()
    for name, field in _LISTS.items():
        if name in batch.schema.names:
            width = batch.schema.field(name).type.list_size
            arrays[field] = batch[name].flatten().to_numpy().reshape(batch.num_rows, width)
    return ClickRows(**arrays)


def _join_digests(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {_describe_type(field.type)}" for field in schema)


def _describe_type(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return f"{kind.value_type} [{kind.list_size}]"
    return str(kind)
