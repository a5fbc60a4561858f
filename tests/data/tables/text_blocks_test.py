"""Blocks of whole lines: where a row ends, whatever the quotes, and which line it begins in."""

import csv
import io
import random

import pytest

from tfrec_zoo.data.tables import text_blocks
from tfrec_zoo.data.tables.text_blocks import cut_blocks, read_chunks
from tfrec_zoo.data.text_errors import Dialect

QUOTED = Dialect(",", is_quoted=True)
FIELDS = [
    "a",
    "",
    '"x,y"',
    '"two\nlines"',
    '"say ""hi"""',
    '""',
    'in"side',
    '"\r\n"',
    '"\n\n"',
    "'",
]


def cut(text, size, dialect=QUOTED):
    data = text.encode()
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    return list(cut_blocks(iter(chunks), "log.csv", dialect, 1))


@pytest.mark.parametrize("seed", range(10))
def test_rows_stay_whole_as_the_csv_module_sees_them(seed):
    rng = random.Random(seed)
    lines = [",".join(rng.choices(FIELDS, k=3)) + rng.choice(["\n", "\r\n"]) for _ in range(40)]
    lines.insert(20, "\n")
    text = "".join(lines)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    starts = [1 + sum(line.count("\n") for line in lines[:k]) for k in range(len(lines))]
    starts = [start for start, line in zip(starts, lines, strict=True) if line != "\n"]
    for size in (1, 7, 50, 10_000):
        blocks = cut(text, size)
        assert b"".join(block.data for block in blocks).decode() == text
        parts = [csv.reader(io.StringIO(b.data.decode(), newline="")) for b in blocks]
        assert [row for part in parts for row in part] == rows
        assert [number for block in blocks for number in block.row_lines(QUOTED)] == starts


def test_without_quotes_a_quote_is_a_character():
    dialect = Dialect("\t", is_quoted=False)
    blocks = cut('a\t"b\n\nc"\td\ne', 4, dialect)
    assert [block.data for block in blocks] == [b'a\t"b\n\n', b'c"\td\n', b"e"]
    assert [block.row_lines(dialect) for block in blocks] == [[1], [3], [4]]


def test_a_row_without_end(monkeypatch):
    monkeypatch.setattr(text_blocks, "_LONGEST_ROW_BYTES", 100)
    with pytest.raises(ValueError, match="log.csv, line 2: the row never ends"):
        cut("a\n" + "b" * 1000, 10, Dialect("\t", is_quoted=False))
    with pytest.raises(ValueError, match="log.csv, line 2: a quote is opened and never closed"):
        cut('a\n"' + "b\n" * 1000, 10)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_text_of_any_encoding_becomes_utf8_without_byte_order_mark(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 3)
    path = tmp_path / "log.csv"
    path.write_bytes("\ufeff".encode("utf-16-le") if encoding == "utf-16-le" else b"")
    with path.open("ab") as file:
        file.write("aü€\n𝄞".encode(encoding))
    assert b"".join(read_chunks(path, encoding)).decode() == "aü€\n𝄞"
