"""Tables in text files: what stands in them comes out, compared with Python's own csv module."""

import csv
import gzip
import io
import itertools
import random

import numpy as np
import pytest
from table_oracle import read, write

from tfrec_zoo.data.tables import text_blocks, text_table
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec, load_table_spec

SPEC = {
    "label": "click",
    "dense": ["age"],
    "categorical": ["user", {"name": "tags", "separator": "|", "max_values": 9}],
}


@pytest.fixture(params=[1 << 24, 100], ids=["one block", "small blocks"])
def block_bytes(request, monkeypatch):
    """Reads with the usual blocks, and with such as hold a few rows."""
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", request.param)
    monkeypatch.setattr(text_table, "_PARSED_BYTES", request.param)
    return request.param


def expected_rows(rows):
    """What `SPEC` makes of rows of (click, user, age, tags), all texts."""
    return {
        "label": [float(click) for click, _, _, _ in rows],
        "user": [user for _, user, _, _ in rows],
        "age": [float(age) if age else None for _, _, age, _ in rows],
        "tags": [tuple(t for t in tags.split("|") if t) for _, _, _, tags in rows],
        "num_bad_rows": 0,
    }


def make_rows(count, users):
    rng = random.Random(5)
    return [
        (
            rng.choice("01"),
            rng.choice(users),
            rng.choice(["", "7", "-2.5", "1e3"]),
            "|".join(rng.choices(["a", "b", "", "ü"], k=rng.randrange(4))),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("ending", ["tsv", "txt", "tsv.gz", "csv", "csv.gz"])
def test_rows_come_out_as_written(tmp_path, ending, block_bytes):
    rows = make_rows(80, ["u1", "007", "NA", " x ", "", "ü"])
    separator = "," if ending.startswith("csv") else "\t"
    lines = [("click", "user", "age", "tags"), *rows]
    text = "".join(separator.join(line) + "\n" for line in lines)
    assert read(write(tmp_path / f"log.{ending}", text), SPEC) == expected_rows(rows)


def test_quotes_line_breaks_in_fields_and_windows_line_ends(tmp_path, block_bytes):
    users = ["a,b", 'say "x"', "two\nlines", '"', "two\r\nlines", "", 'in"side', "u"]
    rows = make_rows(80, users)
    text = io.StringIO()
    csv.writer(text).writerows([("click", "user", "age", "tags"), *rows])
    path = write(tmp_path / "log.csv", "\ufeff" + text.getvalue())
    assert read(path, SPEC) == expected_rows(rows)


def test_quotes_inside_of_bare_fields(tmp_path, block_bytes):
    # The odd number of quotes must not make a row end where a quoted line break stands.
    rows = [("1", f'{k}"', str(k), "a") for k in range(40)]
    text = "click,user,age,tags\n" + "".join(f'1,{k}",{k},"a"\n' for k in range(40))
    assert read(write(tmp_path / "log.csv", text), SPEC) == expected_rows(rows)


def test_tsv_has_quotes_only_where_the_file_begins_with_one(tmp_path):
    bare = write(tmp_path / "bare.tsv", 'user\tage\n"a\t1\n')
    quoted = write(tmp_path / "quoted.tsv", '"user"\t"age"\n"a"\t"1"\n')
    for path, user in ((bare, '"a'), (quoted, "a")):
        table = read(path, {"dense": ["age"], "categorical": ["user"]}, needs_label=False)
        assert (table["user"], table["age"]) == ([user], [1])


def test_columns_without_header_in_a_dialect_and_encoding_of_their_own(tmp_path, block_bytes):
    text = "".join(f"ü{k}|x|{k}\r\n" for k in range(50)).replace("7|x", "7|")
    spec = {"format": "tsv", "delimiter": "|", "column_names": ["user", "other", "age"]}
    spec |= {"dense": ["age"], "categorical": ["user", "other"]}
    for encoding in ("utf-8", "latin-1", "utf-16", "cp1252"):
        path = write(tmp_path / "log.data", text.encode(encoding))
        table = read(path, spec | {"encoding": encoding}, needs_label=False)
        assert table["user"] == [f"ü{k}" for k in range(50)]
        assert table["age"] == list(range(50))
        assert table["other"] == ["" if k % 10 == 7 else "x" for k in range(50)]


def test_the_last_line_may_lack_its_end_and_empty_lines_are_no_rows(tmp_path, block_bytes):
    path = write(tmp_path / "log.csv", "user,age\n\na,1\n\r\n\nb,2\n\nc,3")
    table = read(path, {"dense": ["age"], "categorical": ["user"]}, needs_label=False)
    assert (table["user"], table["age"]) == (["a", "b", "c"], [1, 2, 3])


def test_labels_out_of_numbers(tmp_path):
    path = write(tmp_path / "log.csv", "rating,x\n5,1\n3.5,1\n4,1\n1e0,1\n")
    spec = {"label": {"column": "rating", "at_least": 4}, "dense": ["x", "rating"]}
    table = read(path, spec)
    assert table["label"] == [1, 0, 1, 0] and table["rating"] == [5, 3.5, 4, 1]


def test_weights_and_times(tmp_path):
    text = "click,share,when,x\n1,0.5,12,1\n0,0,1.5,1\n"
    path = write(tmp_path / "log.csv", text)
    spec = {"label": "click", "weight": "share", "time": "when", "dense": ["x"]}
    table = read(path, spec)
    assert (table["weight"], table["time"]) == ([0.5, 0], [12, 1.5])
    unlabelled = read(path, spec, needs_label=False)
    assert set(unlabelled) == {"x", "num_bad_rows"}
    stamps = write(tmp_path / "stamps.csv", text.replace("12", "1970-01-02").replace("1.5", ""))
    table = read(stamps, spec, max_bad_rows=1)
    assert (table["time"], table["num_bad_rows"]) == ([86400], 1)
    (block,) = read_table_blocks(write(path, text.replace("1.5", "3")), TableSpec.from_dict(spec))
    assert block.times.dtype == np.int64 and block.weights.dtype == np.float32


def test_one_column_may_be_many_things(tmp_path):
    path = write(tmp_path / "log.csv", "n,m\n1,x\n0,y\n,z\n")
    spec = {
        "dense": [{"name": "number", "column": "n"}],
        "categorical": [
            {"name": "text", "column": "n"},
            {"name": "bucket", "column": "n", "buckets": 3},
            {"name": "flag", "flags": ["n"]},
        ],
    }
    table = read(path, spec, needs_label=False)
    assert table["n"] == [1, 0, None]
    assert table["text"] == ["1", "0", ""]
    assert table["flag"] == [("n",), (), ()]
    assert "bucket" not in table and "number" not in table


@pytest.mark.parametrize("missing", ["", "NA", "NaN", "null", "\\N", " "])
def test_spellings_of_a_missing_number(tmp_path, missing):
    # With and without a bad row: the block is read in two ways.
    for text in ("", "bad,b\n"):
        path = write(tmp_path / "log.csv", f"age,user\n{missing},{missing}\n 1.5 ,a\n{text}")
        spec = {"dense": ["age"], "categorical": ["user"]}
        table = read(path, spec, needs_label=False, max_bad_rows=1)
        assert table["age"] == [None, 1.5] and table["user"] == [missing, "a"]


def test_several_files_are_one_table_whatever_the_order_of_their_columns(tmp_path):
    write(tmp_path / "day-1.csv", "user,age\na,1\n")
    write(tmp_path / "day-2.tsv", "age\tother\tuser\n2\tx\tb\n")
    write(tmp_path / "day-3.csv.gz", "user,age\nc,3\n")
    spec = {"dense": ["age"], "categorical": ["user"]}
    table = read(tmp_path / "day-*", spec, needs_label=False)
    assert (table["user"], table["age"]) == (["a", "b", "c"], [1, 2, 3])


def test_a_row_that_is_longer_than_what_is_parsed_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(text_table, "_PARSED_BYTES", 100)
    names = ["a", "b" * 1000, "c"]
    path = write(tmp_path / "log.csv", "user,age\n" + "".join(f"{n},1\n" for n in names))
    table = read(path, {"dense": ["age"], "categorical": ["user"]}, needs_label=False)
    assert (table["user"], table["age"]) == (names, [1, 1, 1])


def test_a_log_to_be_scored_may_lack_the_label(tmp_path):
    spec = load_table_spec("criteo")
    row = ["", *(str(k) for k in range(1, 13)), *(f"v{k}" for k in range(26))]
    labelled = write(tmp_path / "train.txt", "\t".join(["1", *row]) + "\n")
    unlabelled = write(tmp_path / "test.txt", "\t".join(row) + "\n")
    for path in (labelled, unlabelled):
        table = read(path, spec, needs_label=False)
        assert "label" not in table
        assert (table["I1"], table["I13"]) == ([None], [12])
        assert (table["C1"], table["C26"]) == (["v0"], ["v25"])
    with pytest.raises(ValueError, match="test.txt, line 1: expected 40 fields, found 39"):
        read(unlabelled, spec)


def test_blocks_that_are_not_wanted_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 100)
    path = write(tmp_path / "log.csv", "user\n" + "".join(f"u{k}\n" for k in range(1000)))
    spec = TableSpec.from_dict({"categorical": ["user"]})
    blocks = read_table_blocks(path, spec, needs_label=False)
    assert next(blocks).num_rows < 100
    blocks.close()


def test_criteo_as_the_csv_module_reads_it(shared_data, monkeypatch):
    path = shared_data / "clicks" / "criteo_60k.txt.gz"
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 1 << 20)
    spec = load_table_spec("criteo")
    with gzip.open(path, "rt") as file:
        rows = list(itertools.islice(csv.reader(file, delimiter="\t"), 5000))
    columns = dict(zip(spec.layout.column_names, zip(*rows, strict=True), strict=True))
    table = read(path, spec)
    assert len(table["label"]) == 60_000 and sum(table["label"]) == 13_487
    assert table["label"][:5000] == [float(text) for text in columns["label"]]
    for feature in spec.dense:
        numbers = [float(text) if text else None for text in columns[feature.name]]
        assert table[feature.name][:5000] == numbers
    for feature in spec.categorical:
        assert tuple(table[feature.name][:5000]) == columns[feature.name]
