"""Impressions of MIND: read, looked up, and refused by their lines."""

import calendar
import gzip

import numpy as np
import pytest
from table_oracle import write

from tfrec_zoo.data.news.impression_files import read_impressions
from tfrec_zoo.data.news.impressions import Impressions
from tfrec_zoo.vocabulary import Vocabulary

HEADER = "ImpressionId\tUserId\tTime\tHistory\tImpressions\n"
LINES = [
    "1\tU1\t11/9/2019 12:01:13 AM\tN1 N2 N3\tN4-1 N5-0 N1-0\n",
    "2\tU2\t11/11/2019 3:10:00 PM\t\tN4-0 N6-1\n",
    "3\tU1\t11/12/2019 12:00:00 PM\tN9 N2\tN5-0 N9-0 N4-1 N6-1\n",
    "4\tU3\t1/2/2020 1:00:00 AM\tN3\tN5-0 N6-0\n",
]
TIMES = [
    (2019, 11, 9, 0, 1, 13),
    (2019, 11, 11, 15, 10, 0),
    (2019, 11, 12, 12, 0, 0),
    (2020, 1, 2, 1, 0, 0),
]
VOCABULARY = Vocabulary([f"N{n}" for n in range(1, 7)], [1] * 6)


def decode(log):
    found = []
    for number in range(log.num_impressions):
        history = slice(*log.history_offsets[number : number + 2])
        shown = slice(*log.shown_offsets[number : number + 2])
        marks = zip(log.item_ids[log.shown_codes[shown]], log.is_clicked[shown], strict=True)
        fields = [
            log.impression_ids[number],
            log.user_ids[number],
            " ".join(log.item_ids[log.history_codes[history]]),
            " ".join(f"{item}-{int(is_clicked)}" for item, is_clicked in marks),
        ]
        found.append(fields)
    return found


def expect(lines):
    rows = [line.rstrip("\n").split("\t") for line in lines]
    return [[row[0], row[1], *row[3:]] for row in rows]


@pytest.mark.parametrize("header", [HEADER, ""])
@pytest.mark.parametrize("name", ["behaviors.tsv", "behaviors.tsv.gz"])
def test_impressions_are_read(tmp_path, header, name):
    log = read_impressions(write(tmp_path / name, header + "".join(LINES)))
    assert decode(log) == expect(LINES)
    assert log.times.tolist() == [calendar.timegm(time) for time in TIMES]
    assert log.history_codes.dtype == log.shown_codes.dtype == np.int32
    assert sorted(log.item_ids) == ["N1", "N2", "N3", "N4", "N5", "N6", "N9"]
    assert sorted(log.shown_ids()) == ["N1", "N4", "N5", "N6", "N9"]
    assert sorted(log.occurring_ids()) == sorted(log.item_ids)


def test_several_files_are_one_log(tmp_path):
    paths = [write(tmp_path / f"{n}.tsv", HEADER + "".join(LINES[n::2])) for n in range(2)]
    assert decode(read_impressions(paths)) == expect(LINES[::2] + LINES[1::2])
    assert len(set(read_impressions(paths).item_ids)) == 7


def test_many_blocks_are_one_log(tmp_path, monkeypatch):
    monkeypatch.setattr("tfrec_zoo.data.news.impression_files._BLOCK_BYTES", 100)
    log = read_impressions(write(tmp_path / "b.tsv", HEADER + "".join(LINES * 5)))
    assert decode(log) == expect(LINES * 5)


def test_other_times_are_numbers_or_iso_timestamps(tmp_path):
    for time, seconds in (("1573257673", 1573257673), ("2019-11-09T00:01:13", 1573257673)):
        line = LINES[0].replace("11/9/2019 12:01:13 AM", time)
        assert read_impressions(write(tmp_path / "b.tsv", line)).times.tolist() == [seconds]


def test_some_impressions_of_many(tmp_path):
    log = read_impressions(write(tmp_path / "b.tsv", "".join(LINES)))
    assert decode(log.select([2, 0])) == expect([LINES[2], LINES[0]])
    assert decode(log.select(log.times < 1573400000)) == expect(LINES[:1])


def test_rows_of_a_catalogue(tmp_path):
    log = read_impressions(write(tmp_path / "b.tsv", HEADER + "".join(LINES)))
    found = Impressions.from_log(log, VOCABULARY)
    # The second one has no history, the fourth no click.
    assert found.log_numbers.tolist() == [0, 2]
    assert (found.num_dropped, found.num_unknown_shown, found.num_unknown_history) == (2, 1, 1)
    rows, is_clicked = found.shown(1)
    assert rows.tolist() == [5, 4, 6] and is_clicked.tolist() == [False, True, True]
    batch = found.histories([1, 0, 1], width=2)
    assert batch["history"].tolist() == [[2, 0], [2, 3], [2, 0]]
    assert batch["history"].dtype == batch["lengths"].dtype == np.int32
    assert batch["lengths"].tolist() == [1, 2, 1]
    assert batch["time"].tolist() == log.times[[2, 0, 2]].tolist()
    numbers, rows = found.list_clicked()
    assert numbers.tolist() == [0, 1, 1] and rows.tolist() == [4, 4, 6]


def test_what_was_shown_in_vain_is_drawn(tmp_path):
    log = read_impressions(write(tmp_path / "b.tsv", HEADER + "".join(LINES)))
    found = Impressions.from_log(log, VOCABULARY)
    drawn = found.draw_unclicked(np.random.default_rng(0), np.array([1, 0]), 2000)
    assert drawn.shape == (2, 2000) and drawn.dtype == np.int32
    assert set(drawn[0]) == {5}
    counts = np.bincount(drawn[1], minlength=7)
    assert counts[[1, 5]].sum() == 2000 and abs(counts[1] - 1000) < 150


def test_a_catalogue_that_knows_nothing_is_refused(tmp_path):
    log = read_impressions(write(tmp_path / "b.tsv", HEADER + "".join(LINES)))
    with pytest.raises(ValueError, match="none of 4 impressions has a history, a click and"):
        Impressions.from_log(log, Vocabulary(["N1"], [1]))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("5\tU1\t11/9/2019 12:01:13 AM\tN1\n", "expected 5 fields, found 4"),
        ("5\tU1\t11/9/2019 12:01:13 AM\tN1\tN4-1\tN5\n", "expected 5 fields, found 6"),
        ("\tU1\t11/9/2019 12:01:13 AM\tN1\tN4-1\n", "ImpressionId is empty"),
        ("5\t\t11/9/2019 12:01:13 AM\tN1\tN4-1\n", "UserId is empty"),
        ("5\tU1\tyesterday\tN1\tN4-1\n", "Time is 'yesterday', expected one as 11/9/2019"),
        ("5\tU1\t13/9/2019 12:01:13 AM\tN1\tN4-1\n", "Time is '13/9/2019 12:01:13 AM', expected"),
        ("5\tU1\t11/9/2019 12:01:13 AM\tN1\t\n", "Impressions is empty, expected what was shown"),
        (
            "5\tU1\t11/9/2019 12:01:13 AM\tN1\tN4-1 N5 N6-0\n",
            "Impressions has 'N5', expected an id with -1 behind it, if it was clicked, or -0",
        ),
        ("5\tU1\t11/9/2019 12:01:13 AM\tN1\tN4-2\n", "Impressions has 'N4-2', expected an id"),
        (b"5\tU\xe9\t11/9/2019 12:01:13 AM\tN1\tN4-1\n", "the text is not UTF-8"),
    ],
)
@pytest.mark.parametrize("header", [HEADER, ""])
def test_faults_are_named_with_their_lines(tmp_path, line, problem, header):
    line = line.encode() if isinstance(line, str) else line
    content = (header + "".join(LINES[:2]) + "\n").encode() + line + LINES[2].encode()
    path = write(tmp_path / "b.tsv", content)
    number = 4 + bool(header)
    with pytest.raises(ValueError) as error:
        read_impressions(path)
    assert str(error.value).startswith(f"{path}, line {number}: {problem}")


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"e\.tsv is empty, expected impressions"):
        read_impressions(write(tmp_path / "e.tsv", ""))
    with pytest.raises(ValueError, match="has a header line but no impressions"):
        read_impressions(write(tmp_path / "h.tsv", HEADER))
    with pytest.raises(ValueError, match="line 1: expected the 5 fields ImpressionId, .* found 3"):
        read_impressions(write(tmp_path / "s.tsv", "SessionId\tItemId\tTime\n1\t2\t3\n"))
    whole = gzip.compress(("".join(LINES) * 2000).encode())
    (tmp_path / "t.tsv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is truncated: its gzip stream ends early"):
        read_impressions(tmp_path / "t.tsv.gz")


def test_the_impressions_of_november(shared_data):
    path = shared_data / "news" / "mind_impressions.tsv.gz"
    log = read_impressions(path)
    with gzip.open(path) as file:
        assert decode(log) == expect(file.read().decode().splitlines()[1:])
    assert len(log.shown_ids()) == 4873
    vocabulary = Vocabulary(log.item_ids, np.zeros(len(log.item_ids), np.int64))
    tests = log.select(log.times >= 1_573_516_800)
    assert Impressions.from_log(tests, vocabulary).num_impressions == 992
