"""Tables with faults: one sentence with file, line and value; some bad rows may be let pass."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_oracle import read, write

from tfrec_zoo.data.tables import text_blocks, text_table
from tfrec_zoo.data.tables.table_spec import load_table_spec

SPEC = {
    "label": "click",
    "weight": "share",
    "time": "when",
    "dense": ["age"],
    "categorical": [
        "user",
        {"name": "tags", "separator": "|", "weight_separator": ":", "max_values": 3},
        {"name": "flags", "flags": ["A", "B"]},
    ],
}
GOOD = {"click": 1, "share": 2, "when": 3, "age": 4, "user": "u", "tags": "a:1", "A": 0, "B": 1}
HEADER = ",".join(GOOD) + "\n"
NUM_GOOD = 30


def line(**changes):
    return ",".join(str(value) for value in (GOOD | changes).values()) + "\n"


BAD_ROWS = [
    ("0,1\n", "expected 8 fields, found 2"),
    (line(user="u,v"), "expected 8 fields, found 9"),
    (line(click=2), "click is 2, expected 0 or 1"),
    (line(click=0.5), "click is 0.5, expected 0 or 1"),
    (line(click="yes"), "click is 'yes', expected 0 or 1"),
    (line(click=""), "click is missing, expected 0 or 1"),
    (line(age="4 5"), "age is '4 5', expected a number"),
    (line(age="1_000"), "age is '1_000', expected a number"),
    (line(age="inf"), "age is inf, expected a finite number"),
    (line(age="1e39"), "age is inf, expected a finite number"),
    (line(share=-1), "share is -1, expected a weight of 0 or more"),
    (line(share=""), "share is missing, expected a weight of 0 or more"),
    (line(when="noon"), "when is 'noon', expected a number or a timestamp"),
    (line(when=""), "when is missing, expected a number or a timestamp"),
    (line(tags="b:2|a:x"), "the weight of a value in tags is 'x', expected a weight of 0 or more"),
    (line(tags="a:-1"), "the weight of a value in tags is -1, expected a weight of 0 or more"),
    (line(A=2), "A is 2, expected 0 or 1"),
    (line(B="x"), "B is 'x', expected a number"),
]


@pytest.fixture(params=[1 << 24, 60], ids=["one block", "small blocks"], autouse=True)
def block_bytes(request, monkeypatch):
    """Reads with the usual blocks, and with such as hold two or three rows."""
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", request.param)
    monkeypatch.setattr(text_table, "_PARSED_BYTES", request.param)


@pytest.mark.parametrize(("bad", "problem"), BAD_ROWS)
@pytest.mark.parametrize("place", [0, 17, NUM_GOOD])
def test_a_bad_row_is_named_by_its_line_or_let_pass(tmp_path, bad, problem, place):
    rows = [line(user=f"u{k}", age=k, when=k) for k in range(NUM_GOOD)]
    rows.insert(place, bad)
    path = write(tmp_path / "log.csv", HEADER + "".join(rows))
    with pytest.raises(ValueError) as error:
        read(path, SPEC)
    sentence = f"{path}, line {place + 2}: {problem} (max_bad_rows lets some such rows pass)"
    assert str(error.value) == sentence
    table = read(path, SPEC, max_bad_rows=1)
    assert table["num_bad_rows"] == 1
    assert table["user"] == [f"u{k}" for k in range(NUM_GOOD)]
    assert table["age"] == table["time"] == list(range(NUM_GOOD))
    assert table["tags"] == [(("a", 1.0),)] * NUM_GOOD and table["flags"] == [("B",)] * NUM_GOOD


def test_bad_rows_are_counted_through_all_files(tmp_path):
    bad = "".join(row for row, _ in BAD_ROWS)
    for k in range(3):
        write(tmp_path / f"log-{k}.csv", HEADER + line() + bad + line())
    paths, count = tmp_path / "log-*.csv", len(BAD_ROWS)
    table = read(paths, SPEC, max_bad_rows=3 * count)
    assert table["label"] == [1] * 6 and table["num_bad_rows"] == 3 * count
    with pytest.raises(ValueError) as error:
        read(paths, SPEC, max_bad_rows=2 * count + 3)
    problem = BAD_ROWS[3][1]
    sentence = (
        f"{tmp_path / 'log-2.csv'}, line 6: {problem}; it is one bad row more than "
        f"max_bad_rows={2 * count + 3} allows"
    )
    assert str(error.value) == sentence


def test_a_file_of_bad_rows_alone_is_counted(tmp_path):
    path = write(tmp_path / "log.csv", HEADER + "0,1\n" * 50)
    assert read(path, SPEC, max_bad_rows=50) == {
        **{name: [] for name in ("label", "weight", "time", "age", "user", "tags", "flags")},
        "num_bad_rows": 50,
    }


def test_lines_are_counted_with_empty_ones_and_breaks_inside_of_quotes(tmp_path):
    text = HEADER + line() + "\n\r\n" + line(user='"two\nlines"') + line(age="x") + "0,1\n"
    path = write(tmp_path / "log.csv", text)
    with pytest.raises(ValueError, match=r"line 7: age is 'x'"):
        read(path, SPEC)
    with pytest.raises(ValueError, match=r"line 8: expected 8 fields, found 2"):
        read(path, SPEC, max_bad_rows=1)
    assert read(path, SPEC, max_bad_rows=2)["user"] == ["u", "two\nlines"]


def test_a_log_without_header_that_has_one(tmp_path):
    spec = SPEC | {"column_names": list(GOOD)}
    path = write(tmp_path / "log.csv", HEADER + line())
    with pytest.raises(ValueError, match="line 1: when is 'when'"):
        read(path, spec)


def test_a_header_is_missed(tmp_path):
    path = write(tmp_path / "log.csv", "1,2,3\n")
    message = (
        r"log.csv has no column 'age', the columns found are 1, 2, 3; if its first line is no "
        "header, name the columns with column_names"
    )
    with pytest.raises(ValueError, match=message):
        read(path, SPEC)


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_column(tmp_path, name):
    columns = {other: value for other, value in GOOD.items() if other != name}
    path = write(tmp_path / "log.csv", ",".join(columns) + "\n" + "1" * 7)
    with pytest.raises(ValueError) as error:
        read(path, SPEC)
    found = ", ".join(columns)
    assert str(error.value).startswith(
        f"{path} has no column {name!r}, the columns found are {found}"
    )
    pq.write_table(pa.table({other: [1] for other in columns}), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=f"log.parquet has no column {name!r}, the .* are {found}"):
        read(tmp_path / "log.parquet", SPEC)


def test_a_column_that_is_there_twice(tmp_path):
    path = write(tmp_path / "log.csv", "age,age\n1,2\n")
    with pytest.raises(ValueError, match="log.csv has more than one column 'age', .* age, age"):
        read(path, {"dense": ["age"]}, needs_label=False)


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_empty_files(tmp_path, ending):
    path = write(tmp_path / f"log.{ending}", "")
    with pytest.raises(ValueError, match=f"log.{ending} is empty, expected the rows of a table"):
        read(path, SPEC)
    for text in (HEADER, HEADER + "\n\r\n"):
        write(path, text)
        with pytest.raises(ValueError, match=f"log.{ending} has columns but no rows"):
            read(path, SPEC)
    pq.write_table(
        pa.table({name: pa.array([], pa.int64()) for name in GOOD}), tmp_path / "a.parquet"
    )
    with pytest.raises(ValueError, match="a.parquet has columns but no rows"):
        read(tmp_path / "a.parquet", SPEC)


@pytest.mark.parametrize("column", ["user", "age", "when"])
def test_text_that_is_not_utf8(tmp_path, column):
    text = HEADER + line() * 20 + line(**{column: "ü"}) + line()
    path = write(tmp_path / "log.csv", text.encode("latin-1"))
    message = r"log.csv, line 22: the text is not UTF-8, name its encoding in the column spec"
    with pytest.raises(ValueError, match=message):
        read(path, SPEC, max_bad_rows=100)
    path = write(tmp_path / "header.csv", "ü,age\n1,2\n".encode("latin-1"))
    with pytest.raises(ValueError, match="header.csv, line 1: the text is not UTF-8"):
        read(path, {"dense": ["age"]}, needs_label=False)


def test_text_that_is_not_of_the_encoding_named(tmp_path):
    text = HEADER + line() * 20 + line(user="x")
    path = write(tmp_path / "log.csv", text.encode().replace(b"x", b"\x81"))
    with pytest.raises(ValueError, match="log.csv, line 22: the text is not cp1252, correct the"):
        read(path, SPEC | {"encoding": "cp1252"})


def test_broken_gzip_files(tmp_path):
    rng = np.random.default_rng(1)
    text = HEADER + "".join(line(age=age) for age in rng.random(2000))
    packed = gzip.compress(text.encode())
    path = write(tmp_path / "log.csv", "").with_suffix(".csv.gz")
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"log.csv.gz is truncated: .* after line \d{3}"):
        read(path, SPEC)
    path.write_bytes(packed[:500] + b"\xff" * 500 + packed[1000:])
    with pytest.raises(ValueError, match="log.csv.gz is not a sound gzip file"):
        read(path, SPEC)
    path.write_text(text)
    with pytest.raises(ValueError, match="log.csv.gz is not a sound gzip file"):
        read(path, SPEC)


def test_a_quote_that_is_never_closed(tmp_path):
    text = HEADER + line() * 3 + line(user='"u') + line() * 30
    path = write(tmp_path / "log.csv", text)
    with pytest.raises(ValueError, match="log.csv, line 5: a quote is opened and never closed"):
        read(path, SPEC, max_bad_rows=100)


def test_times_of_two_kinds(tmp_path):
    lines = [line(when=k) for k in range(20)]
    lines[11] = line(when="2020-01-01")
    path = write(tmp_path / "log.csv", HEADER + "".join(lines))
    with pytest.raises(
        ValueError, match=r"log.csv, line 1[34]: when is .*(another kind|timestamp here)"
    ):
        read(path, SPEC)


def test_files_that_are_missing_or_of_unknown_format(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*log.csv"):
        read(tmp_path / "log.csv", SPEC)
    with pytest.raises(ValueError, match='.dat is unknown: .*column specification names its "form'):
        read(write(tmp_path / "log.dat", HEADER + line()), SPEC)
    path = write(tmp_path / "log.parquet", HEADER + line())
    with pytest.raises(ValueError, match="log.parquet is not a sound Parquet file"):
        read(path, SPEC)


def test_labels_are_needed_and_not_named(tmp_path):
    with pytest.raises(ValueError, match="the column specification names no label"):
        read(write(tmp_path / "log.csv", "age\n1\n"), {"dense": ["age"]})


def test_several_values_without_a_separator(tmp_path):
    path = write(tmp_path / "log.csv", "user\na|b\n")
    spec = {"categorical": [{"name": "user", "max_values": 2}]}
    with pytest.raises(ValueError, match="log.csv: column 'user' holds one value a row, not lists"):
        read(path, spec, needs_label=False)


def test_a_cut_criteo_row(shared_data, tmp_path):
    text = gzip.open(shared_data / "clicks" / "criteo_60k.txt.gz", "rt").readlines(30_000)
    text[100] = text[100].rpartition("\t")[0] + "\n"
    path = write(tmp_path / "train.txt", "".join(text))
    with pytest.raises(ValueError, match="train.txt, line 101: expected 40 fields, found 39"):
        read(path, load_table_spec("criteo"))
    table = read(path, load_table_spec("criteo"), max_bad_rows=1)
    assert len(table["label"]) == len(text) - 1
    others = [row for k, row in enumerate(text) if k != 100]
    assert table["C26"] == [row.rstrip("\n").split("\t")[39] for row in others]
