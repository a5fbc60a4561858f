"""Readers of log files: what each format holds comes out, and each fault ends in one sentence."""

import gzip
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrec_zoo.data.log_format import SessionColumns, expand_paths
from tfrec_zoo.data.sessions import log_files, session_lines
from tfrec_zoo.data.sessions.log_files import read_columns

ROWS = [("s1", "007", 5), ("s2", "7", 6), ("s1", "NA", 6), ("s3", "ü x", 7), ("s2", "007", 9)]
TSV = "SessionId\tItemId\tTime\n" + "".join(f"{s}\t{i}\t{t}\n" for s, i, t in ROWS)


def rows_of(columns):
    """Decodes columns, row by row."""
    sessions = columns.session_ids[columns.session_codes]
    items = columns.item_ids[columns.item_codes]
    times = [None] * len(items) if columns.times is None else columns.times.tolist()
    return list(zip(sessions, items, times, strict=True))


def write(path, text):
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(params=[1 << 24, 64], ids=["one block", "small blocks"])
def block_bytes(request, monkeypatch):
    """Reads with the usual blocks, and with such as hold two or three rows."""
    monkeypatch.setattr(log_files, "_BLOCK_BYTES", request.param)
    monkeypatch.setattr(session_lines, "_BLOCK_BYTES", request.param)
    return request.param


@pytest.mark.parametrize("ending", ["tsv", "tsv.gz", "csv", "csv.gz"])
def test_text_rows_come_out_as_written(tmp_path, ending, block_bytes):
    text = TSV * 1 + "".join(f"s{k}\ti{k % 7}\t{k}\n" for k in range(50))
    text = text if ending.startswith("tsv") else text.replace("\t", ",")
    columns = read_columns(write(tmp_path / f"log.{ending}", text), SessionColumns())
    assert rows_of(columns) == ROWS + [(f"s{k}", f"i{k % 7}", k) for k in range(50)]
    assert columns.item_codes.dtype == columns.session_codes.dtype == np.int32
    assert columns.times.dtype == np.int64
    seen = list(dict.fromkeys(i for _, i, _ in rows_of(columns)))
    assert columns.item_ids.tolist() == seen and type(columns.item_ids[0]) is str


def test_other_names_order_and_surplus_columns(tmp_path):
    text = "price,when,sku,visit\n1.5,3,a,x\nfree,4,b,x\n"
    path = write(tmp_path / "log.csv", text)
    columns = read_columns(path, SessionColumns(session="visit", item="sku", time="when"))
    assert rows_of(columns) == [("x", "a", 3), ("x", "b", 4)]


def test_csv_quotes_windows_line_ends_byte_order_mark_and_blank_lines(tmp_path):
    text = '\ufeff"SessionId",ItemId,Time\r\n1,"a,b",1\r\n\r\n1,"say ""x""",2\r\n'
    columns = read_columns(write(tmp_path / "log.csv", text), SessionColumns())
    assert rows_of(columns) == [("1", "a,b", 1), ("1", 'say "x"', 2)]


def test_tsv_has_quotes_only_where_the_header_has(tmp_path):
    bare = write(tmp_path / "bare.tsv", 'SessionId\tItemId\tTime\n1\t"a\t1\n')
    assert rows_of(read_columns(bare, SessionColumns())) == [("1", '"a', 1)]
    quoted = write(tmp_path / "quoted.tsv", '"SessionId"\t"ItemId"\t"Time"\n"1"\t"a"\t1\n')
    assert rows_of(read_columns(quoted, SessionColumns())) == [("1", "a", 1)]


def test_a_file_without_header_and_ending(tmp_path):
    path = write(tmp_path / "clicks.dat", "1,2014-04-07T10:51:09.277Z,214536502,0\n")
    names = ("SessionId", "Time", "ItemId", "Category")
    columns = read_columns(path, SessionColumns(names=names, file_format="csv"))
    expected = pd.Timestamp("2014-04-07T10:51:09.277Z").timestamp()
    assert rows_of(columns) == [("1", "214536502", expected)]


@pytest.mark.parametrize(
    ("texts", "expected", "dtype"),
    [
        (["3", "-1", "9007199254740993"], [3, -1, 9007199254740993], np.int64),
        (["3", "1.5", "1e3"], [3.0, 1.5, 1000.0], np.float64),
        ([" 3", "4 "], [3, 4], np.int64),
        (["1970-01-01", "1970-01-02"], [0, 86400], np.int64),
        (["1970-01-01 00:00:01", "1970-01-01T00:00:02"], [1, 2], np.int64),
        (["1970-01-01T02:00:00+02:00", "1970-01-01T00:00:00.5Z"], [0.0, 0.5], np.float64),
        (["1970-01-01T00:00:00.000000001Z"], [1e-9], np.float64),
        (["1969-12-31T23:59:58.5Z"], [-1.5], np.float64),
    ],
)
def test_times_of_text_files(tmp_path, texts, expected, dtype):
    text = "SessionId\tItemId\tTime\n" + "".join(f"1\ta\t{time}\n" for time in texts)
    columns = read_columns(write(tmp_path / "log.tsv", text), SessionColumns())
    assert columns.times.tolist() == expected and columns.times.dtype == dtype


def test_times_become_floats_when_a_later_block_has_them(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "_BLOCK_BYTES", 64)
    times = [*range(100), 100.5]
    text = "SessionId\tItemId\tTime\n" + "".join(f"1\ta\t{time}\n" for time in times)
    columns = read_columns(write(tmp_path / "log.tsv", text), SessionColumns())
    assert columns.times.tolist() == times


def test_parquet_ids_and_times_of_any_type(tmp_path):
    stamps = pd.to_datetime([0, 1500], unit="ms", utc=True)
    cases = [
        (pa.array([7, 12]), pa.array([1, 2], pa.int32()), ["7", "12"], [1, 2]),
        (pa.array(["007", "b"], pa.large_string()), pa.array([1.5, 2]), ["007", "b"], [1.5, 2.0]),
        (pa.array(["007", "b"]).dictionary_encode(), pa.array(stamps), ["007", "b"], [0.0, 1.5]),
        (
            pa.array([7, 8], pa.uint64()).dictionary_encode(),
            pa.array(["3", "4"]),
            ["7", "8"],
            [3, 4],
        ),
    ]
    for items, times, expected_items, expected_times in cases:
        table = pa.table(
            {"SessionId": [5, 5], "Other": [None, None], "ItemId": items, "Time": times}
        )
        pq.write_table(table, tmp_path / "log.parquet")
        rows = rows_of(read_columns(tmp_path / "log.parquet", SessionColumns()))
        assert rows == list(zip(["5", "5"], expected_items, expected_times, strict=True))


def test_parquet_dictionaries_in_any_order_and_with_ids_that_no_row_has(tmp_path):
    frame = pd.DataFrame(ROWS, columns=["SessionId", "ItemId", "Time"])
    frame["ItemId"] = pd.Categorical(frame["ItemId"], ["unused", "", "ü x", "NA", "7", "007"])
    frame["SessionId"] = pd.Categorical(frame["SessionId"], ["s9", "s3", "s2", "s1"])
    frame.to_parquet(tmp_path / "log.parquet")
    columns = read_columns(tmp_path / "log.parquet", SessionColumns())
    assert rows_of(columns) == ROWS
    assert columns.item_ids.tolist() == ["007", "7", "NA", "ü x"]
    assert columns.session_ids.tolist() == ["s1", "s2", "s3"]


def test_several_files_are_one_log(tmp_path):
    write(tmp_path / "day-1.tsv", TSV)
    write(tmp_path / "day-2.csv", TSV.replace("\t", ","))
    frame = pd.DataFrame(ROWS, columns=["SessionId", "ItemId", "Time"])
    frame.to_parquet(tmp_path / "day-3.parquet")
    expected = ROWS * 3
    files = [tmp_path / name for name in ("day-1.tsv", "day-2.csv", "day-3.parquet")]
    for paths in (files, str(tmp_path / "day-*"), [files[0], tmp_path / "day-[23].*"]):
        columns = read_columns(paths, SessionColumns())
        assert rows_of(columns) == expected
        assert len(columns.item_ids) == 4 and len(columns.session_ids) == 3


def test_session_lines(tmp_path, block_bytes):
    lines = ["5 007 5 ", "", "\t12  x", *(f"{k} {k + 1}" for k in range(40)), "", "last"]
    first = write(tmp_path / "a.txt", "\n".join(lines) + "\n")
    second = write(tmp_path / "b.txt.gz", "z 5")
    expected = [
        (str(number), item, None)
        for number, line in enumerate([*lines, "z 5"], start=1)
        for item in line.split()
    ]
    assert rows_of(read_columns([first, second], SessionColumns())) == expected


def test_the_paddle_fixture(shared_data):
    path = shared_data / "fixtures" / "session_lines_train.txt"
    columns = read_columns(path, SessionColumns())
    lines = path.read_text().split("\n")
    assert columns.item_ids[columns.item_codes].tolist() == " ".join(lines).split()
    assert len(columns.session_ids) == 100


HEADER = "SessionId\tItemId\tTime\n"
GOOD = "".join(f"1\ta\t{time}\n" for time in range(20))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.tsv", "", "log.tsv is empty, expected clicks"),
        ("log.tsv.gz", "", "log.tsv.gz is empty, expected clicks"),
        ("log.tsv", HEADER, "log.tsv has columns but no clicks"),
        ("log.tsv", HEADER + "\n\n", "log.tsv has columns but no clicks"),
        (
            "log.tsv",
            "session\tItemId\tTime\n1\ta\t1\n",
            "log.tsv has no column 'SessionId', the columns found are session, ItemId, Time; "
            "name the session column with --session_column",
        ),
        (
            "log.tsv",
            "SessionId\titem\tTime\n1\ta\t1\n",
            "log.tsv has no column 'ItemId', the columns found are SessionId, item, Time; "
            "name the item column with --item_column",
        ),
        (
            "log.tsv",
            "SessionId\tItemId\n1\ta\n",
            "log.tsv has no column 'Time', the columns found are SessionId, ItemId; name the time "
            "column with --time_column (an empty name if the clicks are in their order)",
        ),
        ("log.tsv", "ItemId\t" + HEADER + "a\t1\ta\t1\n", "has more than one column 'ItemId'"),
        ("log.tsv", HEADER + GOOD + "\n1\ta\tsoon\n", "line 23: Time is 'soon', expected a number"),
        ("log.tsv", HEADER + "1\ta\tsoon\n" + GOOD, "line 2: Time is 'soon', expected a number"),
        ("log.tsv", HEADER + GOOD + "1\ta\t\n" + GOOD, "line 22: Time is '', expected a number"),
        ("log.tsv", HEADER + GOOD + "1\ta\tnan\n", "line 22: Time is 'nan', expected a number"),
        ("log.tsv", HEADER + GOOD + "1\ta\t2014-04-07\n", "line 22: Time is '2014-04-07'"),
        ("log.tsv", HEADER + GOOD + "\t a\t1\n", "line 22: SessionId is empty"),
        ("log.tsv", HEADER + "\n" + GOOD + "1\t\t1\n" + GOOD, "line 23: ItemId is empty"),
        ("log.tsv", HEADER + GOOD + "1\ta\n", "line 22: expected 3 fields, found 2"),
        ("log.tsv", HEADER + "1\ta\t1\tx\n" + GOOD, "line 2: expected 3 fields, found 4"),
        ("log.csv", 'SessionId,ItemId,Time\n1,"a,b",1\n1,a,b,1\n', "line 3: expected 3 fields"),
        ("log.tsv.gz", HEADER + GOOD + "1\ta\n", "line 22: expected 3 fields, found 2"),
        ("log.tsv", (HEADER + GOOD).encode() + b"1\t\xe4\t1\n", "line 22: the text is not UTF-8"),
        ("log.tsv", b"SessionId\tItem\xe4\tTime\n", "line 1: the text is not UTF-8"),
        ("log.txt", b"1 2\n3 \xe4\n", "line 2: the text is not UTF-8"),
        ("log.txt", "\n \n", "log.txt has no sessions, expected one a line"),
        ("log.txt", "", "log.txt has no sessions, expected one a line"),
        ("log.parquet", "SessionId", "log.parquet is not a sound Parquet file"),
        ("log.parquet", "", "log.parquet is not a sound Parquet file"),
        ("log.xlsx", HEADER, "the format of .*log.xlsx is unknown: a log ends in .tsv, .csv"),
        ("log", HEADER, "the format of .*log is unknown"),
    ],
)
def test_faults_of_files_end_in_one_sentence(tmp_path, name, content, message, block_bytes):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")) as error:
        read_columns(path, SessionColumns())
    assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["log.tsv.gz", "log.txt.gz"])
def test_broken_gzip_files(tmp_path, name):
    rng = np.random.default_rng(0)
    text = HEADER + "".join(f"{a}\t{b}\t1\n" for a, b in rng.integers(0, 10**9, (20000, 2)))
    whole = gzip.compress(text.encode())
    path = tmp_path / name
    for size in (20, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=rf"{name} is truncated: its gzip stream ends early"):
            read_columns(path, SessionColumns())
    for content in (b"no gzip file", whole[:1000] + bytes(100) + whole[1100:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not a sound gzip file|not UTF-8"):
            read_columns(path, SessionColumns())


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("ItemId", ["a", None], r"log.parquet, row 2: ItemId is missing"),
        ("SessionId", ["", "a"], r"log.parquet, row 1: SessionId is empty"),
        ("ItemId", [1.0, 2.0], r"column 'ItemId' must hold texts or integers, its type is double"),
        ("ItemId", [["a"], ["b"]], r"column 'ItemId' must hold texts or integers, its type is lis"),
        ("Time", [1.0, None], r"log.parquet, row 2: Time is None, expected a number"),
        ("Time", [1.0, float("inf")], r"log.parquet, row 2: Time is inf, expected a number"),
        ("Time", ["1", "x"], r"log.parquet, row 2: Time is 'x', expected a number"),
        ("Time", [True, False], r"log.parquet, row 1: Time is True, expected a number"),
    ],
)
def test_faults_of_parquet_values(tmp_path, column, values, message):
    table = {"SessionId": ["1", "2"], "ItemId": ["a", "b"], "Time": [1, 2], column: values}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=message):
        read_columns(tmp_path / "log.parquet", SessionColumns())


def test_faults_of_parquet_files(tmp_path):
    path = tmp_path / "log.parquet"
    frame = pd.DataFrame(ROWS, columns=["SessionId", "ItemId", "Time"])
    frame[:0].to_parquet(path)
    with pytest.raises(ValueError, match="has columns but no clicks|must hold texts"):
        read_columns(path, SessionColumns())
    frame.to_parquet(path)
    with pytest.raises(ValueError, match="no column 'sku', the columns found are SessionId, Item"):
        read_columns(path, SessionColumns(item="sku"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="log.parquet is not a sound Parquet file: "):
        read_columns(path, SessionColumns())


def test_faults_of_names(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*no.tsv"):
        read_columns(tmp_path / "no.tsv", SessionColumns())
    with pytest.raises(FileNotFoundError, match=r"no file matches .*day-\*"):
        read_columns(tmp_path / "day-*", SessionColumns())
    with pytest.raises(ValueError, match="is a folder, name the files in it"):
        expand_paths(tmp_path)
    with pytest.raises(ValueError, match="expected one log file or more, got none"):
        expand_paths([])
    with pytest.raises(ValueError, match="must differ, got a, b, a"):
        SessionColumns(session="a", item="b", time="a")
    with pytest.raises(ValueError, match="file_format is one of tsv, csv, parquet, lines, got xml"):
        SessionColumns(file_format="xml")
    tsv, lines = write(tmp_path / "a.tsv", TSV), write(tmp_path / "a.txt", "1 2\n")
    with pytest.raises(ValueError, match="cannot be read together with others"):
        read_columns([tsv, lines], SessionColumns())


def test_files_with_numbers_and_with_timestamps_do_not_mix(tmp_path):
    numbers = write(tmp_path / "a.tsv", TSV)
    stamps = write(tmp_path / "b.tsv", HEADER + "1\ta\t2014-04-07\n")
    with pytest.raises(ValueError, match=re.escape("b.tsv, line 2: Time is a timestamp here")):
        read_columns([numbers, stamps], SessionColumns())
