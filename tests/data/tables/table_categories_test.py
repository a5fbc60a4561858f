"""Categorical values: several a row, weights, flags, and the types of Parquet files."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_oracle import decode, read, write

from tfrec_zoo.data.tables import parquet_table
from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec


def read_column(path, **options):
    spec = {"categorical": [{"name": "x", **options}]}
    return read(path, spec, needs_label=False)["x"]


def test_values_between_separators(tmp_path):
    texts = ["a|b", "", "a", "|b||a|", "c d|a", "||", "b|b"]
    path = write(tmp_path / "log.tsv", "x\ty\n" + "".join(f"{t}\t1\n" for t in texts))
    expected = [("a", "b"), (), ("a",), ("b", "a"), ("c d", "a"), (), ("b", "b")]
    # max_values is for who lays them into slots.
    assert read_column(path, separator="|", max_values=1) == expected
    assert read_column(path) == texts


def test_weights_of_values(tmp_path):
    texts = ["a:0.5|b:2", "", "a", "http://b:3", ":4", "a:0|a:1e1"]
    path = write(tmp_path / "log.tsv", "x\ty\n" + "".join(f"{t}\t1\n" for t in texts))
    assert read_column(path, separator="|", weight_separator=":", max_values=5) == [
        (("a", 0.5), ("b", 2)),
        (),
        (("a", 1),),
        (("http://b", 3),),
        (),
        (("a", 0), ("a", 10)),
    ]


def test_a_block_without_any_value(tmp_path):
    path = write(tmp_path / "log.tsv", "x\ty\n\t1\n\t2\n")
    for options in ({}, {"weight_separator": ":"}):
        assert read_column(path, separator="|", max_values=5, **options) == [(), ()]
    pq.write_table(pa.table({"x": [[], None]}), tmp_path / "log.parquet")
    assert read_column(tmp_path / "log.parquet", max_values=5) == [(), ()]


def test_flags_are_the_names_of_the_columns_that_are_one(tmp_path):
    path = write(tmp_path / "log.csv", "A,B,C\n1,0,1\n0,0,\n,1.0,0\n")
    assert read_column(path, flags=["C", "A", "B"]) == [("C", "A"), (), ("B",)]


PARQUET_TEXTS = [
    (pa.array(["007", None, ""]), ["007", "", ""]),
    (pa.array(["a", "b", "a"], pa.large_string()), ["a", "b", "a"]),
    (pa.array(["a", None, "b"], pa.string_view()), ["a", "", "b"]),
    (pa.array([b"a", b"\xc3\xbc", None]), ["a", "ü", ""]),
    (pa.array([7, None, -1], pa.int8()), ["7", "", "-1"]),
    (pa.array([2**64 - 1, 0, 1], pa.uint64()), [str(2**64 - 1), "0", "1"]),
    (pa.array([7.0, None, np.nan]), ["7", "", ""]),
    (pa.array([True, None, False]), ["true", "", "false"]),
    (pa.array([None, None, None]), ["", "", ""]),
    (pa.array(["a", None, "b"]).dictionary_encode(), ["a", "", "b"]),
    (pa.array(pd.Categorical(["b", None, "b"], ["unused", "b"])), ["b", "", "b"]),
    (pa.array([5, 6, 5]).dictionary_encode(), ["5", "6", "5"]),
]


@pytest.mark.parametrize(("column", "expected"), PARQUET_TEXTS)
@pytest.mark.parametrize("block_rows", [1 << 16, 1])
def test_texts_of_a_parquet_file(tmp_path, monkeypatch, column, expected, block_rows):
    monkeypatch.setattr(parquet_table, "_BLOCK_ROWS", block_rows)
    pq.write_table(pa.table({"other": [1, 2, 3], "x": column}), tmp_path / "log.parquet")
    assert read_column(tmp_path / "log.parquet") == expected


def test_lists_of_a_parquet_file(tmp_path):
    cases = [
        ([["a", "b"], None, [], ["b", None, ""]], [("a", "b"), (), (), ("b",)]),
        ([[5, 7], [5], [], None], [("5", "7"), ("5",), (), ()]),
    ]
    for rows, expected in cases:
        for kind in (pa.list_, pa.large_list):
            lists = pa.array(rows, kind(pa.array(rows[0]).type))
            pq.write_table(pa.table({"x": lists}), tmp_path / "log.parquet")
            assert read_column(tmp_path / "log.parquet", max_values=2) == expected
    with pytest.raises(ValueError, match="log.parquet: column 'x' holds lists: say max_values"):
        read_column(tmp_path / "log.parquet")
    pq.write_table(pa.table({"x": [["a:2", "b"], []]}), tmp_path / "log.parquet")
    weighted = read_column(tmp_path / "log.parquet", max_values=2, weight_separator=":")
    assert weighted == [(("a", 2), ("b", 1)), ()]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, 3], pa.int64()), [1, None, 3]),
        (pa.array([1.5, np.nan, None]), [1.5, None, None]),
        (pa.array([True, False, None]), [1, 0, None]),
        (pa.array([decimal.Decimal("1.25"), None, None]), [1.25, None, None]),
        (pa.array([" 1.5", "", "NA"]), [1.5, None, None]),
        (pa.array(["1", "2", "1"]).dictionary_encode(), [1, 2, 1]),
        (pa.array([None, None, None]), [None, None, None]),
    ],
)
def test_numbers_of_a_parquet_file(tmp_path, column, expected):
    pq.write_table(pa.table({"x": column}), tmp_path / "log.parquet")
    table = read(tmp_path / "log.parquet", {"dense": ["x"]}, needs_label=False)
    assert table["x"] == expected


def test_labels_weights_and_times_of_a_parquet_file(tmp_path):
    day = datetime.date(1970, 1, 2)
    frame = {
        "click": [True, False, None, True, True],
        "share": [1.0, 2.0, 1.0, -1.0, 1.0],
        "when": [day, day, day, day, None],
        "x": [1, 2, 3, 4, 5],
    }
    pq.write_table(pa.table(frame), tmp_path / "log.parquet")
    spec = {"label": "click", "weight": "share", "time": "when", "dense": ["x"]}
    table = read(tmp_path / "log.parquet", spec, max_bad_rows=3)
    assert (table["label"], table["weight"]) == ([1, 0], [1, 2])
    assert (table["time"], table["num_bad_rows"]) == ([86400, 86400], 3)
    problems = [
        "row 3: click is missing, expected 0 or 1",
        "row 4: share is -1, expected a weight of 0 or more",
        "row 5: when is missing, expected a number or a timestamp",
    ]
    for allowed, problem in enumerate(problems):
        with pytest.raises(ValueError, match=f"log.parquet, {problem}"):
            read(tmp_path / "log.parquet", spec, max_bad_rows=allowed)


@pytest.mark.parametrize(
    ("column", "role", "message"),
    [
        ([0.5], "categorical", "column 'x' holds fractions, expected texts or whole numbers"),
        ([b"\xff"], "categorical", "column 'x' holds bytes that are not UTF-8"),
        ([datetime.date(2020, 1, 1)], "categorical", "must hold texts or whole numbers, .* date32"),
        ([datetime.date(2020, 1, 1)], "dense", "column 'x' must hold numbers, its type is date32"),
        ([[1]], "dense", "column 'x' must hold numbers, its type is list"),
        (["a"], "dense", "row 1: x is 'a', expected a number"),
    ],
)
def test_columns_of_a_type_that_does_not_fit(tmp_path, column, role, message):
    pq.write_table(pa.table({"x": column}), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=f"log.parquet(:|,) .*{message}"):
        read(tmp_path / "log.parquet", {role: ["x"]}, needs_label=False)


def test_a_block_holds_only_its_own_texts_of_a_long_dictionary(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_table, "_BLOCK_ROWS", 10)
    texts = [f"t{k}" for k in range(100)]
    pq.write_table(pa.table({"x": texts}), tmp_path / "log.parquet")
    assert read_column(tmp_path / "log.parquet") == texts
    spec = TableSpec.from_dict({"categorical": ["x"]})
    for block in read_table_blocks(tmp_path / "log.parquet", spec, needs_label=False):
        assert len(block.categorical["x"].texts) == 10


def test_rows_of_a_block_in_any_order():
    texts = np.array(["a", "b", "", "unused"], dtype=object)
    single = Values(np.array([0, 1, 2, 1], np.int32), texts)
    several = Values(
        np.array([0, 1, 1, 2, 0], np.int32),
        texts,
        np.array([0, 2, 2, 3, 5]),
        np.arange(5, dtype=np.float32),
    )
    block = TableBlock(
        num_rows=4,
        labels=np.array([0, 1, 0, 1], np.float32),
        weights=None,
        times=np.array([5, 6, 7, 8]),
        dense={"age": np.array([1, 2, 3, 4], np.float32)},
        categorical={"single": single, "several": several},
        num_bad_rows=7,
    )
    rows = [3, 1, 0, -1, 3]
    taken = block.take(np.array(rows))
    assert taken.num_rows == 5 and taken.num_bad_rows == 7 and taken.weights is None
    assert taken.labels.tolist() == block.labels[rows].tolist()
    assert taken.times.tolist() == [8, 6, 5, 8, 8]
    assert taken.dense["age"].tolist() == [4, 2, 1, 4, 4]
    for name, values in block.categorical.items():
        decoded = decode(values)
        assert decode(taken.categorical[name]) == [decoded[row] for row in rows]
        compact = taken.categorical[name].without_unused()
        assert decode(compact) == [decoded[row] for row in rows]
        assert set(compact.texts) == {"a", "b"} | ({""} if name == "several" else set())
    none = block.take(np.array([], np.int64))
    assert none.num_rows == 0 and none.categorical["several"].offsets.tolist() == [0]
