"""Session logs against a slow reader made of dictionaries, round trips, and the look-up of rows."""

import gzip

import numpy as np
import pandas as pd
import pytest

from tfrec_zoo.data.sessions import session_log as module
from tfrec_zoo.data.sessions.session_log import (
    SessionColumns,
    SessionLog,
    Sessions,
    read_session_log,
    session_log_from_frame,
    write_session_log,
)
from tfrec_zoo.vocabulary import Vocabulary

ENDINGS = ["tsv", "csv", "tsv.gz", "csv.gz", "parquet"]


def make_rows(seed, num_rows=2000, num_sessions=150, time_type=int):
    """Rows whose sessions are scattered, out of order in time, with many equal times."""
    rng = np.random.default_rng(seed)
    sessions = rng.integers(0, num_sessions, num_rows)
    items = rng.zipf(1.5, num_rows) % 97
    times = rng.integers(0, 40, num_rows)
    if time_type is float:
        times = times + 0.25
    return [
        (f"s{s:03d}", f"{i:02d}", t)
        for s, i, t in zip(sessions.tolist(), items.tolist(), times.tolist(), strict=True)
    ]


def read_slowly(rows):
    """The sessions of a log, as plain Python: id -> [(item, time), ...]."""
    sessions = {}
    for session, item, time in rows:
        sessions.setdefault(session, []).append((item, time))
    return {s: sorted(clicks, key=lambda click: click[1]) for s, clicks in sessions.items()}


def as_dictionary(log):
    """A SessionLog in the form of `read_slowly`."""
    items = log.item_ids[log.item_codes].tolist()
    times = [None] * len(items) if log.times is None else log.times.tolist()
    clicks = list(zip(items, times, strict=True))
    bounds = zip(log.session_ids, log.offsets[:-1], log.offsets[1:], strict=True)
    return {session: clicks[begin:end] for session, begin, end in bounds}


def as_frame(rows):
    return pd.DataFrame(rows, columns=["SessionId", "ItemId", "Time"])


def assert_equal_in_order(found, expected):
    assert list(found.items()) == list(expected.items())


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("time_type", [int, float])
def test_log_is_that_of_a_slow_reader(tmp_path, ending, time_type):
    rows = make_rows(1, time_type=time_type)
    path = tmp_path / f"log.{ending}"
    if ending == "parquet":
        as_frame(rows).to_parquet(path, row_group_size=300)
    else:
        separator = "," if ending.startswith("csv") else "\t"
        text = "".join(separator.join(map(str, row)) + "\n" for row in rows)
        header = separator.join(["SessionId", "ItemId", "Time"])
        data = f"{header}\n{text}".encode()
        path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)

    log = read_session_log(path)

    assert_equal_in_order(as_dictionary(log), read_slowly(rows))
    assert log.item_ids.tolist() == list(dict.fromkeys(item for _, item, _ in rows))
    assert (log.num_clicks, log.num_sessions, log.num_items) == (
        len(rows),
        len({row[0] for row in rows}),
        len({row[1] for row in rows}),
    )
    assert log.item_codes.dtype == np.int32 and log.offsets.dtype == np.int64
    assert log.times.dtype == (np.int64 if time_type is int else np.float64)


def test_frame_gives_the_log_of_its_file():
    rows = make_rows(2)
    expected = read_slowly(rows)
    frame = as_frame(rows)
    assert_equal_in_order(as_dictionary(session_log_from_frame(frame)), expected)
    typed = frame.astype({"SessionId": "category", "ItemId": object, "Time": float})
    assert_equal_in_order(as_dictionary(session_log_from_frame(typed)), expected)
    renamed = frame.set_axis(["a", "b", "c"], axis=1)
    log = session_log_from_frame(renamed, SessionColumns("a", "b", "c"))
    assert_equal_in_order(as_dictionary(log), expected)


def test_frame_of_integers_and_timestamps():
    frame = pd.DataFrame(
        {"SessionId": [9, 9], "ItemId": [7, 12], "Time": pd.to_datetime([3, 1], unit="s")}
    )
    assert as_dictionary(session_log_from_frame(frame)) == {"9": [("12", 1), ("7", 3)]}


def test_without_times_clicks_keep_their_order():
    rows = make_rows(3)
    log = session_log_from_frame(as_frame(rows), SessionColumns(time=None))
    expected = read_slowly([(session, item, 0) for session, item, _ in rows])
    found = {s: [item for item, _ in clicks] for s, clicks in as_dictionary(log).items()}
    assert found == {s: [item for item, _ in clicks] for s, clicks in expected.items()}
    assert log.times is None
    assert log.start_times().tolist() == log.end_times().tolist() == list(range(log.num_sessions))


@pytest.mark.parametrize("ending", ENDINGS)
def test_round_trip(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_CLICKS", 101)
    columns = SessionColumns(session="visit", item="sku", time="when")
    rows = [*make_rows(4, time_type=float), ("s é", "NA", 1.5), ("s é", "x y", 0.1)]
    if not ending.startswith("tsv"):
        rows += [("q", 'a,"b"', 1.0), ('"', ",", 1396867869.277)]
    log = session_log_from_frame(as_frame(rows))
    path = tmp_path / f"log.{ending}"
    write_session_log(log, path, columns)
    assert_equal_in_order(as_dictionary(read_session_log(path, columns)), as_dictionary(log))
    read = pd.read_parquet(path) if ending == "parquet" else None
    if read is not None:
        assert read["sku"].tolist() == log.item_ids[log.item_codes].tolist()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_round_trip_without_times(tmp_path):
    log = session_log_from_frame(as_frame(make_rows(5)), SessionColumns(time=None))
    write_session_log(log, tmp_path / "log.tsv")
    read = read_session_log(tmp_path / "log.tsv", SessionColumns(time=None))
    assert_equal_in_order(as_dictionary(read), as_dictionary(log))


def test_round_trip_of_session_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_CLICKS", 101)
    log = session_log_from_frame(as_frame(make_rows(6)))
    write_session_log(log, tmp_path / "log.txt")
    expected = [[item for item, _ in clicks] for clicks in as_dictionary(log).values()]
    assert (tmp_path / "log.txt").read_text() == "".join(f"{' '.join(x)}\n" for x in expected)
    read = as_dictionary(read_session_log(tmp_path / "log.txt"))
    assert list(read) == [str(number + 1) for number in range(log.num_sessions)]
    assert [[item for item, _ in clicks] for clicks in read.values()] == expected


@pytest.mark.parametrize(
    ("ending", "item", "reason"),
    [
        ("tsv", "a\tb", "no tabs and line breaks"),
        ("csv", "a\nb", "no line breaks"),
        ("txt", "a b", "no blanks"),
        ("txt", " a", "no blanks"),
    ],
)
def test_ids_that_a_format_cannot_hold_are_refused(tmp_path, ending, item, reason):
    path = tmp_path / f"log.{ending}"
    path.write_text("old")
    log = session_log_from_frame(as_frame([("1", "good", 1), ("1", item, 2)]))
    with pytest.raises(ValueError, match=f"cannot be written as .*, which has {reason}"):
        write_session_log(log, path)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_select_clicks_is_a_filter_of_rows():
    log = session_log_from_frame(as_frame(make_rows(7)))
    mask = np.random.default_rng(0).random(log.num_clicks) < 0.2
    rows = zip(
        log.session_ids[log.session_codes()],
        log.item_ids[log.item_codes],
        log.times.tolist(),
        strict=True,
    )
    kept = [row for row, keep in zip(rows, mask, strict=True) if keep]
    selected = log.select_clicks(mask)
    assert_equal_in_order(as_dictionary(selected), read_slowly(kept))
    assert set(selected.item_ids) == {item for _, item, _ in kept}
    assert selected.num_items < log.num_items and selected.item_codes.dtype == np.int32
    assert log.select_clicks(np.zeros(log.num_clicks, bool)).num_sessions == 0


def test_select_sessions_by_mask_and_by_numbers():
    log = session_log_from_frame(as_frame(make_rows(8)))
    sessions = list(as_dictionary(log).items())
    numbers = np.array([5, 0, 77, 3])
    assert list(as_dictionary(log.select_sessions(numbers)).items()) == [
        sessions[number] for number in numbers
    ]
    mask = np.arange(log.num_sessions) % 3 == 1
    assert list(as_dictionary(log.select_sessions(mask)).items()) == sessions[1::3]
    few = log.select_sessions(numbers)
    assert set(few.item_ids) == {item for number in numbers for item, _ in sessions[number][1]}


def test_start_and_end_times():
    log = session_log_from_frame(as_frame(make_rows(9)))
    clicks = as_dictionary(log).values()
    assert log.start_times().tolist() == [min(time for _, time in session) for session in clicks]
    assert log.end_times().tolist() == [max(time for _, time in session) for session in clicks]


@pytest.mark.parametrize("min_length", [1, 2, 4])
def test_sessions_are_those_of_a_slow_look_up(min_length):
    log = session_log_from_frame(as_frame(make_rows(10, num_rows=500)))
    vocabulary = Vocabulary.build([f"{k:02d}" for k in range(60, 0, -1)], np.ones(60))
    row_of = {raw: row for row, raw in enumerate(vocabulary.ids, start=1)}
    slow, unknown = [], 0
    for number, clicks in enumerate(as_dictionary(log).values()):
        rows = [row_of[item] for item, _ in clicks if item in row_of]
        unknown += len(clicks) - len(rows)
        if len(rows) >= min_length:
            slow.append((number, clicks[0][1], rows))

    sessions = Sessions.from_log(log, vocabulary, min_length)

    found = [
        (number, start, sessions.rows[begin:end].tolist())
        for number, start, begin, end in zip(
            sessions.log_sessions.tolist(),
            sessions.start_times.tolist(),
            sessions.offsets[:-1],
            sessions.offsets[1:],
            strict=True,
        )
    ]
    assert found == slow
    assert sessions.num_unknown_clicks == unknown > 0
    assert sessions.num_dropped_sessions == log.num_sessions - len(slow)
    assert sessions.rows.dtype == np.int32 and sessions.offsets.dtype == np.int64
    assert sessions.lengths.tolist() == [len(rows) for _, _, rows in slow]


def make_sessions(seed):
    log = session_log_from_frame(as_frame(make_rows(seed, num_rows=500)))
    return Sessions.from_log(log, Vocabulary.from_codes(log.item_ids, log.item_codes))


def list_sessions(sessions):
    clicks = np.split(sessions.rows, sessions.offsets[1:-1])
    numbers = zip(sessions.log_sessions.tolist(), sessions.start_times.tolist(), strict=True)
    return {key: rows.tolist() for key, rows in zip(numbers, clicks, strict=True)}


def test_a_sample_is_some_whole_sessions():
    sessions = make_sessions(11)
    everything, size = list_sessions(sessions), sessions.num_sessions // 3
    sample = sessions.sample(size, seed=4)
    found = list_sessions(sample)
    assert sample.num_sessions == len(found) == size
    assert found.items() < everything.items()
    assert list(found) == [key for key in everything if key in found]
    assert sample.rows.dtype == np.int32 and sample.offsets.dtype == np.int64
    assert sample.num_unknown_clicks == sessions.num_unknown_clicks


def test_a_sample_depends_on_the_seed_alone():
    sessions = make_sessions(11)
    first, again, other = (list_sessions(sessions.sample(9, seed)) for seed in (4, 4, 5))
    assert first == again != other
    # Each session is drawn equally often: 300 samples of 1 in 3.
    drawn = [key for seed in range(300) for key in list_sessions(sessions.sample(9, seed))]
    expected = 300 * 9 / sessions.num_sessions
    counts = np.array([drawn.count(key) for key in list_sessions(sessions)])
    assert abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_a_large_sample_is_everything():
    sessions = make_sessions(11)
    for size in (sessions.num_sessions, sessions.num_sessions + 1):
        assert list_sessions(sessions.sample(size, seed=1)) == list_sessions(sessions)
    with pytest.raises(ValueError, match="at least 1 session, got 0"):
        sessions.sample(0, seed=1)


def test_sessions_that_leave_nothing_are_refused():
    log = session_log_from_frame(as_frame([("1", "a", 1), ("2", "b", 1), ("1", "c", 1)]))
    with pytest.raises(ValueError, match="all 3 clicks are on items that the vocabulary lacks, "):
        Sessions.from_log(log, Vocabulary.build(["x"], [1]))
    with pytest.raises(ValueError, match="no session has 2 clicks left once the 2 of 3 clicks"):
        Sessions.from_log(log, Vocabulary.build(["a"], [1]))
    short = log.select_sessions(np.array([1]))
    with pytest.raises(ValueError, match="all 1 sessions are shorter than 2 clicks, the longest "):
        Sessions.from_log(short, Vocabulary.build(["b"], [1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Time": ["1", "x"]}, "the DataFrame, row 1: Time is 'x', expected a number or a"),
        ({"Time": [1.0, None]}, "the DataFrame, row 1: Time is None"),
        ({"ItemId": ["a", None]}, "the DataFrame, row 1: ItemId is missing or empty"),
        ({"SessionId": ["", "1"]}, "the DataFrame, row 0: SessionId is missing or empty"),
        ({"ItemId": [1.0, 2.0]}, "ItemId values must be texts or integers without gaps, got float"),
        ({"ItemId": ["1", 2]}, "ItemId values must be texts or integers without gaps, got mixed"),
    ],
)
def test_faults_of_frames(change, message):
    frame = pd.DataFrame({"SessionId": ["1", "1"], "ItemId": ["a", "b"], "Time": [1, 2]} | change)
    with pytest.raises(ValueError, match=message):
        session_log_from_frame(frame)


def test_faults_of_frames_as_a_whole():
    with pytest.raises(ValueError, match="the DataFrame has no column 'Time', the columns found "):
        session_log_from_frame(pd.DataFrame({"SessionId": [1], "ItemId": [1], "time": [1]}))
    with pytest.raises(ValueError, match="the DataFrame has columns but no clicks"):
        session_log_from_frame(as_frame([]))


def test_real_logs_have_the_published_counts(shared_data):
    log = read_session_log(shared_data / "sessions" / "yoochoose1_64_train.tsv.gz")
    assert (log.num_sessions, log.num_clicks, log.num_items) == (116167, 486026, 17376)
    vocabulary = Vocabulary.from_codes(log.item_ids, log.item_codes)
    test = read_session_log(shared_data / "sessions" / "yoochoose1_64_test.tsv.gz")
    assert (test.num_sessions, test.num_clicks) == (15324, 71222)
    assert Sessions.from_log(test, vocabulary).num_unknown_clicks == 531


def test_a_log_is_made_from_plain_arrays():
    log = SessionLog(
        item_codes=np.array([0, 1, 0], np.int32),
        item_ids=np.array(["a", "b"], dtype=object),
        times=None,
        offsets=np.array([0, 2, 3]),
        session_ids=np.array(["x", "y"], dtype=object),
    )
    assert log.lengths.tolist() == [2, 1]
    assert log.session_codes().tolist() == [0, 0, 1]
