"""Tables as their files have them: columns in Arrow's types, block by block, rows with numbers.

A block is a function without arguments, so that the work on it can be done on another thread.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tfrec_zoo.data.log_format import find_format
from tfrec_zoo.data.table_columns import FileLayout
from tfrec_zoo.data.text_blocks import LineBlock, cut_blocks, read_chunks
from tfrec_zoo.data.text_errors import DELIMITERS, Dialect

# How numbers are written that are missing. A text is never missing, but it may be empty.
MISSING_NUMBERS = (
    "",
    "NA",
    "N/A",
    "n/a",
    "NaN",
    "nan",
    "-nan",
    "NULL",
    "Null",
    "null",
    "None",
    "\\N",
)
TEXT = pa.dictionary(pa.int32(), pa.string())

_BLOCK_ROWS = 1 << 16


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


class TextTable:
    """A CSV or TSV file.

    Attributes:
        path: the file.
        names: its columns, by the layout or else by its first line.
        has_header: whether its first line names the columns.
        unit: what its rows are counted in.
    """

    unit = "line"

    def __init__(self, path: Path, layout: FileLayout, file_format: str):
        """Reads the first line.

        Raises:
            ValueError: the file is empty, not of the encoding or not a sound gzip file.
        """
        self.path = path
        chunks = read_chunks(path, layout.encoding)
        head = b""
        while b"\n" not in head and (chunk := next(chunks, b"")):
            head += chunk
        if not head:
            raise ValueError(f"{path} is empty, expected the rows of a table")
        end = head.find(b"\n") + 1 or len(head)
        line = head[:end].decode(errors="replace")
        # CSV has quotes. TSV has none, so that a text may hold a bare one, unless the file begins
        # with a quote, as the files of writers do that put every text in quotes.
        is_quoted = file_format == "csv" or line.startswith('"')
        self._dialect = Dialect(layout.delimiter or DELIMITERS[file_format], is_quoted)
        first_fields = self._dialect.split(line)
        self.names = list(layout.column_names) or first_fields
        self._num_fields = len(first_fields)
        self.has_header = not layout.column_names
        self._first_line = 2 if self.has_header else 1
        rest = head[end:] if self.has_header else head
        self._chunks = itertools.chain([rest], chunks)

    def leave_out(self, name: str) -> None:
        """Takes a column out of those of the layout where the first line has one field less."""
        if name in self.names and self._num_fields == len(self.names) - 1:
            self.names.remove(name)

    def blocks(self, types: Mapping[str, pa.DataType]) -> Iterator[Callable[[], RawRows]]:
        """Yields the file's rows, once.

        Args:
            types: the columns to read: `TEXT`, `pa.string()` or a floating type.
        """
        for block in cut_blocks(self._chunks, self.path, self._dialect, self._first_line):
            if block.data.strip(b"\r\n"):
                yield partial(self._parse, block, types)

    def read_whole(self, types: Mapping[str, pa.DataType]) -> RawRows:
        """Returns all rows of the file at once."""
        blocks = cut_blocks(self._chunks, self.path, self._dialect, self._first_line)
        data = b"".join(block.data for block in blocks)
        return self._parse(LineBlock(data, self._first_line), types)

    def _parse(self, block: LineBlock, types: Mapping[str, pa.DataType]) -> RawRows:
        misfits = []
        try:
            table = self._read(block, types, misfits)
        except pa.ArrowInvalid:
            # A number is none. As texts all can be read, and the caller looks which it is.
            misfits.clear()
            try:
                table = self._read(block, dict.fromkeys(types, pa.string()), misfits)
            except pa.ArrowInvalid as error:
                raise ValueError(self._explain(block, error)) from None
        columns = {name: _one_chunk(table.column(name)) for name in types}
        if not misfits:
            return RawRows(columns, partial(block.row_lines, self._dialect))
        lines = block.row_lines(self._dialect)
        places = [row.number - 1 for row in misfits]
        counts = [
            f"expected {row.expected_columns} fields, found {row.actual_columns}" for row in misfits
        ]
        return RawRows(
            columns,
            lambda: np.delete(lines, places),
            [(lines[place], count) for place, count in zip(places, counts, strict=True)],
        )

    def _read(
        self, block: LineBlock, types: Mapping[str, pa.DataType], misfits: list[pa_csv.InvalidRow]
    ) -> pa.Table:
        def skip(row: pa_csv.InvalidRow) -> str:
            misfits.append(row)
            return "skip"

        quote = '"' if self._dialect.is_quoted else False
        return pa_csv.read_csv(
            pa.BufferReader(block.data),
            pa_csv.ReadOptions(
                column_names=self.names, use_threads=False, block_size=len(block.data) + 1
            ),
            pa_csv.ParseOptions(
                delimiter=self._dialect.delimiter, quote_char=quote, invalid_row_handler=skip
            ),
            pa_csv.ConvertOptions(
                include_columns=list(types), column_types=types, null_values=MISSING_NUMBERS
            ),
        )

    def _explain(self, block: LineBlock, error: Exception) -> str:
        for number, line in enumerate(block.data.split(b"\n"), start=block.first_line):
            try:
                line.decode()
            except UnicodeDecodeError:
                return (
                    f"{self.path}, line {number}: the text is not UTF-8, name its encoding in the "
                    "column specification"
                )
        return f"{self.path}, line {block.first_line} or later: {str(error).splitlines()[0]}"


class ParquetTable:
    """A Parquet file; attributes and methods as `TextTable`."""

    unit = "row"

    def __init__(self, path: Path):
        """Reads the schema; ValueError where the file is not a sound one."""
        self.path = path
        self._schema = self._guard(lambda: pq.read_schema(path))
        self.names = self._schema.names

    def blocks(self, types: Mapping[str, pa.DataType]) -> Iterator[Callable[[], RawRows]]:
        """Yields the file's rows; `types` only says which columns, the types are the file's."""
        first_row = 1
        with self._guard(lambda: self._open(types)) as file:
            batches = file.iter_batches(_BLOCK_ROWS, columns=list(types), use_threads=False)
            while (batch := self._guard(lambda: next(batches, None))) is not None:
                if batch.num_rows:
                    columns = {name: batch.column(name) for name in types}
                    numbers = partial(range, first_row, first_row + batch.num_rows)
                    yield partial(RawRows, columns, numbers)
                first_row += batch.num_rows

    def read_whole(self, types: Mapping[str, pa.DataType]) -> RawRows:
        """Returns all rows of the file at once."""
        with self._guard(lambda: self._open(types)) as file:
            table = self._guard(lambda: file.read(columns=list(types)))
        columns = {name: _one_chunk(table.column(name)) for name in types}
        return RawRows(columns, partial(range, 1, table.num_rows + 1))

    def _open(self, types: Mapping[str, pa.DataType]) -> pq.ParquetFile:
        # Texts stay the codes that the file has, where it has them: three times as fast.
        texts = [n for n in types if is_text(self._schema.field(n).type)]
        return pq.ParquetFile(self.path, read_dictionary=texts)

    def _guard(self, read: Callable):
        try:
            return read()
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.path} is not a sound Parquet file: {reason}") from None


def open_table(path: Path, layout: FileLayout) -> TextTable | ParquetTable:
    """Opens a file in the layout's format, or else in the one that its ending stands for."""
    file_format = layout.format
    if file_format is None:
        try:
            file_format = find_format(path)
        except ValueError as error:
            raise ValueError(f'{error}; or the column specification names its "format"') from None
    if file_format == "parquet":
        return ParquetTable(path)
    return TextTable(path, layout, "csv" if file_format == "csv" else "tsv")


def check_column(
    name: str, table: TextTable | ParquetTable, side_tables: Iterable[Any] = ()
) -> None:
    """Raises ValueError unless `table` has the column `name` once.

    Args:
        name: the column.
        table: the file.
        side_tables: others that have not got it, either, for the sentence.
    """
    if table.names.count(name) == 1:
        return
    problem = "more than one column" if name in table.names else "no column"
    found = f"the columns found are {', '.join(table.names)}"
    for side in side_tables:
        found += f", and in {side.path} {', '.join(side.names)}"
    advice = ""
    if name not in table.names and isinstance(table, TextTable) and table.has_header:
        advice = "; if its first line is no header, name the columns with column_names"
    raise ValueError(f"{table.path} has {problem} {name!r}, {found}{advice}")


def is_text(data_type: pa.DataType) -> bool:
    """Whether values are plain texts."""
    return pa.types.is_string(data_type) or pa.types.is_large_string(data_type)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
