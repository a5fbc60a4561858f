"""A column specification applied to the columns of a file: what is read, and what becomes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from tfrec_zoo.data.tables.table_block import TableBlock
from tfrec_zoo.data.tables.table_categories import encode_texts, to_values
from tfrec_zoo.data.tables.table_joins import JoinedTable
from tfrec_zoo.data.tables.table_rows import TEXT, RawRows
from tfrec_zoo.data.tables.table_sources import Table, check_column
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.data.tables.table_values import Problems, to_labels, to_numbers, to_times, to_weights
from tfrec_zoo.data.tables.table_vectors import to_ids, to_vectors
from tfrec_zoo.data.time_column import BadTimeError


@dataclass(frozen=True, eq=False)
class BlockReport:
    """A block that was read, and what is wrong in it.

    Attributes:
        block: the good rows.
        place: the file, and what its rows are counted in.
        first_number: returns the number of the first row.
        bad_rows: the rows that are not in `block`: the number of each, rising, and what is wrong.
        time_kind: of the times, see `parse_times`; None where there are none.
    """

    block: TableBlock
    place: str
    first_number: Callable[[], int]
    bad_rows: Sequence[tuple[int, str]]
    time_kind: str | None


class ColumnPlan:
    """What is read of the files of one header.

    Attributes:
        types: the columns of the log to read, as `TextTable.blocks` takes them.
    """

    def __init__(
        self, table: Table, spec: TableSpec, joined: Sequence[JoinedTable], needs_label: bool
    ):
        """Finds out where each feature is read.

        Raises:
            ValueError: a column is neither in the log nor in a side table, or there twice.
        """
        self._label = spec.label if needs_label else None
        self._weight = spec.weight if needs_label else None
        self._time = spec.time if needs_label or spec.id else None
        self._id, self._vectors = spec.id, spec.vectors
        self._numbers = {name: _find_home([name], table, joined) for name in spec.numeric_columns}
        self._features = [feature for feature in spec.categorical if not feature.buckets]
        self._homes = {f.name: _find_home(f.columns, table, joined) for f in self._features}
        self._joined = [
            side for side in joined if side in {*self._numbers.values(), *self._homes.values()}
        ]
        self._side_numbers = {n: s.read_numbers(n) for n, s in self._numbers.items() if s}
        self._side_values = {
            f.name: side.read_values(f) for f in self._features if (side := self._homes[f.name])
        }
        self.types = self._list_types()
        for name in self.types:
            check_column(name, table)

    def convert(self, raw: RawRows, table: Table) -> BlockReport:
        """Makes numbers and values of a block of a file.

        Raises:
            ValueError: a column is of a type that cannot be what it is to be.
        """
        problems: Problems = {}
        try:
            times, time_kind = self._read_times(raw, problems)
            block = self._convert_columns(raw, times, problems)
        except BadTimeError as error:
            raise ValueError(
                f"{table.path}, {table.unit} {raw.number_rows()[error.row]}: {self._time} is "
                f"{error.value!r}, but before it was of another kind"
            ) from None
        except ValueError as error:
            raise ValueError(f"{table.path}: {error}") from None
        place = f"{table.path}, {table.unit}"
        if self._id:
            problems = {n: _name_item(block.ids[n], text) for n, text in problems.items()}
            block = replace(block, numbers=np.array(raw.number_rows(), np.int64), place=place)
        if problems:
            block = block.take(np.setdiff1d(np.arange(raw.num_rows), list(problems)))
        return BlockReport(
            block=block,
            place=place,
            first_number=lambda: raw.number_rows()[0],
            bad_rows=raw.list_problems(problems),
            time_kind=time_kind,
        )

    def _read_times(self, raw: RawRows, problems: Problems) -> tuple[np.ndarray | None, str | None]:
        if not self._time:
            return None, None
        return to_times(raw.columns[self._time], self._time, problems)

    def _convert_columns(
        self, raw: RawRows, times: np.ndarray | None, problems: Problems
    ) -> TableBlock:
        columns, labels, weights = raw.columns, None, None
        if self._label:
            labels = to_labels(columns[self._label.column], self._label, problems)
        if self._weight:
            weights = to_weights(columns[self._weight], self._weight, problems)
        side_rows = {
            side: side.find_rows(encode_texts(columns[side.on], side.on)) for side in self._joined
        }
        dense, categorical = {}, {}
        for name, side in self._numbers.items():
            if side:
                dense[name] = self._side_numbers[name][side_rows[side]]
            else:
                dense[name] = to_numbers(columns[name], name, problems)
        for feature in self._features:
            if side := self._homes[feature.name]:
                values = self._side_values[feature.name].take(side_rows[side])
                values = values.without_unused()
            else:
                values = to_values(columns, feature, problems)
            categorical[feature.name] = values
        return TableBlock(
            num_rows=raw.num_rows,
            labels=labels,
            weights=weights,
            times=times,
            dense=dense,
            categorical=categorical,
            vectors={v.name: to_vectors(columns[v.column], v, problems) for v in self._vectors},
            ids=to_ids(columns[self._id], self._id, problems) if self._id else None,
        )

    def _list_types(self) -> dict[str, pa.DataType]:
        wanted = [(name, pa.float32()) for name, side in self._numbers.items() if not side]
        for feature in self._features:
            if not self._homes[feature.name]:
                kind = pa.float32() if feature.flags else TEXT
                wanted += [(name, kind) for name in feature.columns]
        wanted += [(side.on, TEXT) for side in self._joined]
        wanted += [(vector.column, pa.string()) for vector in self._vectors]
        if self._id:
            wanted.append((self._id, TEXT))
        if self._label:
            wanted.append((self._label.column, pa.float64()))
        if self._weight:
            wanted.append((self._weight, pa.float32()))
        if self._time:
            # Whether all are whole numbers, or timestamps, is known only after reading.
            wanted.append((self._time, pa.string()))
        types: dict[str, pa.DataType] = {}
        for name, kind in wanted:
            types[name] = _common_type(types.get(name, kind), kind)
        return types


def _name_item(item_id: str, problem: str) -> str:
    return f"item {item_id!r}: {problem}" if item_id else problem


def _common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Returns the type that a column is read as which is to become both."""
    if first == second:
        return first
    both_float = pa.types.is_floating(first) and pa.types.is_floating(second)
    return pa.float64() if both_float else pa.string()


def _find_home(
    columns: Sequence[str], table: Table, joined: Sequence[JoinedTable]
) -> JoinedTable | None:
    """Returns the side table that has the columns; None for the log itself."""
    if set(columns) <= set(table.names):
        return None
    for side in joined:
        if set(columns) <= set(side.names):
            return side
    known = {name for side in joined for name in side.names}
    unknown = [name for name in columns if name not in known | set(table.names)] or columns
    check_column(unknown[0], table, joined)
    raise ValueError(f"the columns {', '.join(columns)} of one feature must be in one table")
