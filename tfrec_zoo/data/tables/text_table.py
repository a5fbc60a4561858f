"""CSV and TSV files as blocks of rows.

A block is a function without arguments, so that the work on it can be done on another thread.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from tfrec_zoo.data.tables.table_columns import FileLayout
from tfrec_zoo.data.tables.table_rows import RawRows, as_one_array
from tfrec_zoo.data.tables.text_blocks import LineBlock, cut_blocks, read_chunks
from tfrec_zoo.data.text_errors import DELIMITERS, Dialect

# How numbers are written that are missing. A text is never missing, but it may be empty.
MISSING_NUMBERS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "\\N")

# Of a block, so much is parsed at a time: what a core's cache can hold. 1.25 times as fast.
_PARSED_BYTES = 1 << 21


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
        self.has_header = not layout.column_names
        line = self._decode_first_line(head[:end])
        # CSV has quotes. TSV has none, so that a text may hold a bare one, unless the file begins
        # with a quote, as the files of writers do that put every text in quotes.
        is_quoted = file_format == "csv" or line.startswith('"')
        self._dialect = Dialect(layout.delimiter or DELIMITERS[file_format], is_quoted)
        first_fields = self._dialect.split(line)
        self.names = list(layout.column_names) or first_fields
        self._num_fields = len(first_fields)
        self._first_line = 2 if self.has_header else 1
        rest = head[end:] if self.has_header else head
        self._chunks = itertools.chain([rest], chunks)

    def _decode_first_line(self, line: bytes) -> str:
        try:
            return line.decode(errors="strict" if self.has_header else "replace")
        except UnicodeDecodeError:
            raise ValueError(_describe_encoding(self.path, 1)) from None

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
            if block.data.lstrip(b"\r\n"):
                yield partial(self._parse, block, types)

    def read_whole(self, types: Mapping[str, pa.DataType]) -> RawRows:
        """Returns all rows of the file at once."""
        blocks = cut_blocks(self._chunks, self.path, self._dialect, self._first_line)
        data = b"".join(block.data for block in blocks)
        return self._parse(LineBlock(data, self._first_line), types)

    def _parse(self, block: LineBlock, types: Mapping[str, pa.DataType]) -> RawRows:
        misfits = []
        try:
            table = self._read(block, types, misfits, _PARSED_BYTES)
        except pa.ArrowInvalid:
            # A number is none, or a row is very long. As texts and at once all can be read, and
            # who makes numbers of them finds the one.
            misfits.clear()
            texts = dict.fromkeys(types, pa.string())
            try:
                table = self._read(block, texts, misfits, len(block.data) + 1)
            except pa.ArrowInvalid as error:
                raise ValueError(self._explain(block, error)) from None
        columns = {name: as_one_array(table.column(name)) for name in types}
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
        self,
        block: LineBlock,
        types: Mapping[str, pa.DataType],
        misfits: list[pa_csv.InvalidRow],
        parsed_bytes: int,
    ) -> pa.Table:
        def skip(row: pa_csv.InvalidRow) -> str:
            misfits.append(row)
            return "skip"

        quote = '"' if self._dialect.is_quoted else False
        return pa_csv.read_csv(
            pa.BufferReader(block.data),
            pa_csv.ReadOptions(column_names=self.names, use_threads=False, block_size=parsed_bytes),
            pa_csv.ParseOptions(
                newlines_in_values=self._dialect.is_quoted,
                delimiter=self._dialect.delimiter,
                quote_char=quote,
                invalid_row_handler=skip,
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
                return _describe_encoding(self.path, number)
        return f"{self.path}, line {block.first_line} or later: {str(error).splitlines()[0]}"


def _describe_encoding(path: Path, line: int) -> str:
    return (
        f"{path}, line {line}: the text is not UTF-8, name its encoding in the column specification"
    )
