"""What is wrong with a text log, and where: slow walks through a file that a reader gave up."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

DELIMITERS = {"tsv": "\t", "csv": ","}

_GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)


def open_bytes(path: Path) -> io.BufferedIOBase:
    """Opens a file to read, unpacked where its name ends in `.gz`."""
    return gzip.open(path) if path.name.endswith(".gz") else open(path, "rb")


def read_header(path: Path, file_format: str) -> list[str]:
    """Returns the fields of the first line.

    Raises:
        ValueError: the file is empty, its gzip stream is broken or the line is not UTF-8.
    """
    try:
        with open_bytes(path) as file:
            line = file.readline()
        if not line:
            raise ValueError(f"{path} is empty, expected a header line and clicks")
        return split_line(line.decode("utf-8-sig"), file_format)
    except (*_GZIP_ERRORS, UnicodeDecodeError) as error:
        raise ValueError(explain_failure(path, file_format, None, error)) from None


def split_line(line: str, file_format: str) -> list[str]:
    """Returns the fields of a line; CSV has quotes, TSV has none."""
    line = line.rstrip("\r\n")
    if file_format == "csv":
        return next(csv.reader([line]), [""])
    return line.split(DELIMITERS[file_format])


def explain_failure(path: Path, file_format: str, num_fields: int | None, error: Exception) -> str:
    """Returns one sentence on why `path` cannot be read: the first thing found wrong with it.

    Args:
        path: the file.
        file_format: `tsv`, `csv` or `lines`.
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
            if num_fields and len(fields := split_line(text, file_format)) != num_fields:
                found = f"{len(fields)} field{'s' if len(fields) > 1 else ''}"
                return f"{path}, line {number}: expected {num_fields} fields, found {found}"
    except EOFError:
        return f"{path} is truncated: its gzip stream ends early, after line {number}"
    except (zlib.error, gzip.BadGzipFile):
        return f"{path} is not a sound gzip file, although its name ends in .gz"
    return f"{path} cannot be read: {str(error).splitlines()[0]}"


def line_of_row(path: Path, row: int) -> int:
    """Returns the line number, from 1, of row `row` (from 0, a header counts as one)."""
    for index, (number, _) in enumerate(_numbered_lines(path)):
        if index == row:
            return number
    raise ValueError(f"{path} has no row {row}")


def _numbered_lines(path: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
    """Yields the lines that are not empty (pyarrow passes over empty ones) with their numbers."""
    with open_bytes(Path(path)) as file:
        for number, line in enumerate(file, start=1):
            if line.rstrip(b"\r\n"):
                yield number, line
