"""Text logs line by line: their header, and what is wrong with one that a reader gave up."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DELIMITERS = {"tsv": "\t", "csv": ","}

# What reading a broken `.gz` file raises.
GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Dialect:
    """How the lines of a text log split into fields."""

    delimiter: str
    is_quoted: bool

    def split(self, line: str) -> list[str]:
        """Returns the fields of a line."""
        line = line.rstrip("\r\n")
        if self.is_quoted:
            return next(csv.reader([line], delimiter=self.delimiter), [""])
        return line.split(self.delimiter)


def read_header(path: Path, file_format: str) -> tuple[list[str], Dialect]:
    """Returns the fields of the first line and how the lines split.

    CSV has quotes. TSV has none, so that an id may hold a bare one, unless the file begins with a
    quote, as the files of writers do that put every text in quotes.

    Raises:
        ValueError: the file is empty, its gzip stream is broken or the line is not UTF-8.
    """
    try:
        with open_bytes(path) as file:
            line = file.readline().decode("utf-8-sig")
    except (*GZIP_ERRORS, UnicodeDecodeError) as error:
        raise ValueError(explain_failure(path, None, None, error)) from None
    if not line:
        raise ValueError(f"{path} is empty, expected clicks")
    dialect = Dialect(DELIMITERS[file_format], file_format == "csv" or line.startswith('"'))
    return dialect.split(line), dialect


def open_bytes(path: Path) -> io.BufferedIOBase:
    """Opens a file to read, unpacked where its name ends in `.gz`."""
    return gzip.open(path) if path.name.endswith(".gz") else open(path, "rb")


def explain_failure(
    path: Path, dialect: Dialect | None, num_fields: int | None, error: Exception
) -> str:
    """Returns one sentence on why `path` cannot be read: the first thing found wrong with it.

    Args:
        path: the file.
        dialect: how its lines split; None where that does not matter.
        num_fields: of each line; None where that does not matter.
        error: what the reader said, for the case that the walk finds nothing.
    """
    number = 0
    try:
        for number, line in _numbered_lines(path):
            try:
                text = line.decode()
            except UnicodeDecodeError:
                return f"{path}, line {number}: the text is not UTF-8, convert the file first"
            if dialect and (found := len(dialect.split(text))) != num_fields:
                return f"{path}, line {number}: expected {num_fields} fields, found {found}"
    except GZIP_ERRORS as gzip_error:
        return _explain_gzip_error(path, number, gzip_error)
    return f"{path} cannot be read: {str(error).splitlines()[0]}"


def explain_gzip_error(path: Path) -> str:
    """Returns one sentence on why `path`, whose gzip stream is broken, cannot be read."""
    last = 0
    try:
        for number, _ in _numbered_lines(path):
            last = number
    except GZIP_ERRORS as error:
        return _explain_gzip_error(path, last, error)
    return f"{path} could not be read, and now it can: is it still being written?"


def _explain_gzip_error(path: Path, number: int, error: Exception) -> str:
    if isinstance(error, EOFError):
        return f"{path} is truncated: its gzip stream ends early, after line {number}"
    return f"{path} is not a sound gzip file, although its name ends in .gz"


def line_of_row(path: Path, row: int) -> int:
    """Returns the line number, from 1, of row `row` (from 0, a header counts as one)."""
    for index, (number, _) in enumerate(_numbered_lines(path)):
        if index == row:
            return number
    raise ValueError(f"{path} has no row {row}")


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the lines that are not empty (pyarrow passes over empty ones) with their numbers."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            if line.rstrip(b"\r\n"):
                yield number, line
