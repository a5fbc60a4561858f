"""Text files in blocks of whole lines, of any encoding, in constant memory."""

import codecs
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrec_zoo.data.text_errors import GZIP_ERRORS, Dialect, explain_gzip_error, open_bytes

_BLOCK_BYTES = 1 << 24
_LONGEST_ROW_BYTES = 1 << 28
_QUOTE = ord('"')


@dataclass(frozen=True)
class LineBlock:
    """Whole lines of a file.

    Attributes:
        data: their text in UTF-8.
        first_line: number of the first one, from 1.
    """

    data: bytes
    first_line: int

    def row_lines(self, dialect: Dialect) -> list[int]:
        """Returns the line that each row begins in; empty lines are no rows."""
        starts, number, end = [], self.first_line, 0
        for line in _hide_quoted_breaks(self.data, dialect).splitlines(keepends=True):
            if line.strip(b"\r\n"):
                starts.append(number)
            start, end = end, end + len(line)
            number += self.data.count(b"\n", start, end)
        return starts


def read_chunks(path: Path, encoding: str) -> Iterator[bytes]:
    """Yields the text of a file as UTF-8 without byte order mark, cut anywhere.

    Raises:
        ValueError: the text is not of the encoding, or the file is not a sound gzip file.
    """
    # What claims to be UTF-8 is checked where its columns are parsed.
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "ascii")
    decoder = None if is_utf8 else codecs.getincrementaldecoder(encoding)()
    number = 1
    try:
        with open_bytes(path) as file:
            for place in itertools.count():
                chunk = file.read(_BLOCK_BYTES)
                text = decoder.decode(chunk, final=not chunk).encode() if decoder else chunk
                number += text.count(b"\n") if decoder else 0
                if text:
                    yield text if place else text.removeprefix(codecs.BOM_UTF8)
                if not chunk:
                    return
    except UnicodeDecodeError as error:
        number += error.object.count(b"\n", 0, error.start)
        raise ValueError(
            f"{path}, line {number}: the text is not {encoding}, correct the encoding in the "
            "column specification"
        ) from None
    except GZIP_ERRORS:
        raise ValueError(explain_gzip_error(path)) from None


def cut_blocks(
    chunks: Iterator[bytes], path: Path, dialect: Dialect, first_line: int
) -> Iterator[LineBlock]:
    """Yields the lines of `chunks`, of which the first has the number `first_line`.

    Raises:
        ValueError: a quote is never closed, or a row longer than any can be.
    """
    number, rest = first_line, b""
    for chunk in chunks:
        data = rest + chunk
        end = _find_end_of_rows(data, dialect)
        if not end and len(data) > _LONGEST_ROW_BYTES:
            break
        if end:
            yield LineBlock(data[:end], number)
            number += data.count(b"\n", 0, end)
        rest = data[end:]
    else:
        if not rest or _find_end_of_rows(rest + b"\n", dialect):
            if rest:
                yield LineBlock(rest, number)
            return
    reason = "a quote is opened and never closed" if dialect.is_quoted else "the row never ends"
    raise ValueError(f"{path}, line {number}: {reason}")


def _find_end_of_rows(data: bytes, dialect: Dialect) -> int:
    """Returns where the last row that is complete ends; 0 where none is."""
    end = data.rfind(b"\n") + 1
    if not dialect.is_quoted or b'"' not in data:
        return end
    text = np.frombuffer(data, np.uint8, end)
    quotes = np.flatnonzero(text == _QUOTE)
    # If every quote opens or closes a field, an even number of them says that none is open.
    before = text[quotes[::2] - 1][quotes[::2] > 0]
    openings = [_QUOTE, *b"\r\n", *dialect.delimiter.encode()]
    if len(quotes) % 2 or not np.isin(before, openings).all():
        end = _hide_quoted_breaks(data, dialect).rfind(b"\n") + 1
    return end


def _hide_quoted_breaks(data: bytes, dialect: Dialect) -> bytes:
    """Returns `data` with blanks for the line breaks inside of quoted fields, closed or not."""
    if not dialect.is_quoted:
        return data
    delimiter = re.escape(dialect.delimiter.encode())
    # A quote elsewhere than at the beginning of a field is a character as any other.
    field = rb'(?:(?<=[\r\n])|(?<=%s)|\A)"(?:[^"]+|"")*"?' % delimiter
    return re.sub(field, lambda match: re.sub(rb"[\r\n]", b" ", match[0]), data)
