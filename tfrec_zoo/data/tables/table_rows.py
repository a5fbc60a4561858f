"""Rows of a table as their file has them: columns in Arrow's types, rows with their numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

TEXT = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class RawRows:
    """Rows of a file.

    Attributes:
        columns: name -> values [n].
        number_rows: returns the numbers of the rows in the file [n], from 1; of lines in a text,
            where it is slow.
        misfits: rows that are not among the n because their number of fields is wrong: the number
            of each and what is wrong.
    """

    columns: Mapping[str, pa.Array]
    number_rows: Callable[[], Sequence[int]]
    misfits: Sequence[tuple[int, str]] = ()

    @property
    def num_rows(self) -> int:
        """The number of rows, n."""
        return len(next(iter(self.columns.values())))

    def list_problems(self, problems: Mapping[int, str]) -> list[tuple[int, str]]:
        """Returns what is wrong with rows (row -> problem) by their numbers, with the misfits."""
        found = list(self.misfits)
        if problems:
            numbers = self.number_rows()
            found += [(int(numbers[row]), problem) for row, problem in problems.items()]
        return sorted(found)


def is_text(data_type: pa.DataType) -> bool:
    """Whether values are plain texts."""
    return pa.types.is_string(data_type) or pa.types.is_large_string(data_type)


def as_one_array(column: pa.ChunkedArray) -> pa.Array:
    """Returns a column without the borders of its chunks."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
