"""Histories, against a loop over sessions in plain Python."""

import numpy as np
import pandas as pd
import pytest

from tfrec_zoo.data.news.histories import Histories
from tfrec_zoo.data.news.time_split import describe_unseen, first_times, split_by_time
from tfrec_zoo.data.sessions.session_log import Sessions, read_session_log, session_log_from_frame
from tfrec_zoo.vocabulary import Vocabulary

VOCABULARY = Vocabulary([f"i{n}" for n in range(1, 8)], [1] * 7)
SESSIONS = {
    "a": ["i1", "i2", "i2", "i1", "i3"],
    "b": ["i4"],
    "c": ["new", "i5", "i5"],
    "d": ["i6", "new", "i7"],
    "e": ["i2", "i3", "i4", "i5", "i6", "i7", "i1"],
    "f": ["new", "other"],
}


def make_log(sessions=SESSIONS, with_times=True):
    lines, time = [], 100
    for session, items in sessions.items():
        for item in items:
            lines.append((session, item, time))
            time += 1 + 3 * len(lines) % 7
    frame = pd.DataFrame(lines, columns=["SessionId", "ItemId", "Time"])
    log = session_log_from_frame(frame)
    if with_times:
        return log
    return type(log)(log.item_codes, log.item_ids, None, log.offsets, log.session_ids)


def expect(log, max_history, targets, repeats):
    """Yields session id, history, target, times of the history, time of the target."""
    for number, session in enumerate(log.session_ids):
        clicks = []
        for place in range(log.offsets[number], log.offsets[number + 1]):
            row = int(VOCABULARY.rows(log.item_ids[log.item_codes[place]]))
            if not row:
                continue
            before = {"keep": [], "adjacent": clicks[-1:], "all": clicks}[repeats]
            if row not in [found for found, _ in before]:
                clicks.append((row, int(log.times[place])))
        for place in range(1, len(clicks)):
            if targets == "all" or place == len(clicks) - 1:
                yield session, clicks[max(0, place - max_history) : place], clicks[place]


@pytest.mark.parametrize("max_history", [1, 3, 50])
@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("repeats", ["keep", "adjacent", "all"])
def test_examples_are_those_of_a_loop(max_history, targets, repeats):
    log = make_log()
    options = {"max_history": max_history, "targets": targets, "repeats": repeats}
    histories = Histories.from_log(log, VOCABULARY, **options)
    expected = list(expect(log, max_history, targets, repeats))
    assert histories.num_examples == len(expected)
    order = np.random.default_rng(0).permutation(len(expected))
    item_times = np.array([np.nan, 90, 80.5, 70, np.nan, 60, 50, 40])
    batch = histories.take(order, item_times=item_times)
    assert batch["history"].shape == (len(expected), max_history)
    for line, number in enumerate(order):
        session, clicks, (target, time) = expected[number]
        rows, times = zip(*clicks, strict=True)
        length = len(rows)
        padding = [0] * (max_history - length)
        assert batch["history"][line].tolist() == [*rows, *padding]
        assert batch["lengths"][line] == length == histories.lengths[number]
        assert batch["target"][line] == target == histories.target_rows[number]
        assert batch["time"][line] == time == histories.target_times[number]
        assert histories.session_ids[batch["session"][line]] == session
        assert batch["elapsed"][line].tolist() == [*(time - t for t in times), *padding]
        ages = time - item_times[list(rows)]
        np.testing.assert_array_equal(batch["history_age"][line], [*ages, *padding])
        np.testing.assert_array_equal(batch["target_age"][line], time - item_times[target])
    assert batch["history"].dtype == batch["lengths"].dtype == batch["target"].dtype == np.int32


def test_what_is_left_out_is_counted():
    histories = Histories.from_log(make_log(), VOCABULARY, max_history=5)
    assert (histories.num_unknown_clicks, histories.num_repeats) == (4, 0)
    assert histories.num_dropped_sessions == 2
    assert histories.session_ids.tolist() == ["a", "c", "d", "e"]
    histories = Histories.from_log(make_log(), VOCABULARY, max_history=5, repeats="all")
    assert (histories.num_unknown_clicks, histories.num_repeats) == (4, 3)
    assert histories.num_dropped_sessions == 3


def test_a_narrower_batch_keeps_the_most_recent_clicks():
    histories = Histories.from_log(make_log(), VOCABULARY, max_history=5, targets="last")
    wide, narrow = (histories.take([3, 0], width=width) for width in (8, 2))
    assert wide["history"].tolist() == [[3, 4, 5, 6, 7, 0, 0, 0], [1, 2, 2, 1, 0, 0, 0, 0]]
    assert narrow["history"].tolist() == [[6, 7], [2, 1]]
    assert narrow["lengths"].tolist() == [2, 2]


def test_sessions_without_times():
    log = make_log(with_times=False)
    one = Histories.from_log(log, VOCABULARY, max_history=4)
    other = Histories.from_sessions(Sessions.from_log(log, VOCABULARY), max_history=4)
    assert set(one.take([0])) == {"history", "lengths", "target", "session"}
    everything = np.arange(one.num_examples)
    for name, values in one.take(everything).items():
        np.testing.assert_array_equal(values, other.take(everything)[name])
    assert other.session_ids.tolist() == ["0", "2", "3", "4"]
    assert one.target_times is None


def test_some_examples_of_many():
    histories = Histories.from_log(make_log(), VOCABULARY, max_history=4)
    chosen = histories.select(histories.lengths == 1)
    assert chosen.num_examples == 4
    numbers = np.flatnonzero(histories.lengths == 1)
    np.testing.assert_array_equal(
        chosen.take([2])["target"], histories.take(numbers[[2]])["target"]
    )
    assert histories.select([5]).target_rows.tolist() == [histories.target_rows[5]]


def test_targets_are_counted_and_compared_with_training():
    histories = Histories.from_log(make_log(), VOCABULARY, max_history=4, targets="last")
    assert histories.target_rows.tolist() == [3, 5, 7, 1]
    assert histories.row_counts(8).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    seen = np.zeros(8, bool)
    seen[[1, 3]] = True
    assert histories.is_unseen(seen).tolist() == [False, True, True, False]
    counts = describe_unseen(histories, seen)
    assert counts == {"num_targets": 4, "num_unseen_targets": 2, "unseen_share": 0.5}
    assert histories.clicked_rows(9).tolist() == [False] + [True] * 7 + [False]


def test_a_session_across_the_time_is_a_test():
    log = make_log()
    middle = log.times[log.offsets[4] + 2]
    split = split_by_time(log, middle)
    assert split.train.session_ids.tolist() == ["a", "b", "c", "d"]
    assert split.test.session_ids.tolist() == ["e", "f"]
    assert split.training_vocabulary().ids.tolist()[:2] == ["i1", "i2"]
    end = log.end_times()[3]
    assert split_by_time(log, end).train.num_sessions == 3
    assert split_by_time(log, end + 1).train.num_sessions == 4


def test_first_times():
    times = first_times(np.array([2, 1, 2, 0]), np.array([9, 8, 7, 6]), 4)
    np.testing.assert_array_equal(times, [np.nan, 8, 7, np.nan])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"max_history": 0}, "max_history must be at least 1, got 0"),
        ({"targets": "first"}, "targets must be one of all, last, got 'first'"),
        ({"repeats": "none"}, "repeats must be one of keep, adjacent, all, got 'none'"),
        ({"vocabulary": Vocabulary(["z"], [1])}, "all 21 clicks are on items that the catalogue"),
        ({"vocabulary": Vocabulary(["i4"], [1])}, "none of 6 sessions has 2 clicks or more"),
    ],
)
def test_wrong_requests_are_refused(changes, problem):
    arguments = {"log": make_log(), "vocabulary": VOCABULARY, "max_history": 3} | changes
    with pytest.raises(ValueError, match=problem):
        Histories.from_log(arguments.pop("log"), arguments.pop("vocabulary"), **arguments)


@pytest.mark.parametrize(("time", "side"), [(0, "at or after 0"), (1e9, r"before 1000000000\.0")])
def test_a_split_without_one_part_is_refused(time, side):
    with pytest.raises(ValueError, match=f"all 6 sessions end {side}, between"):
        split_by_time(make_log(), time)
    with pytest.raises(ValueError, match="without times cannot be split"):
        split_by_time(make_log(with_times=False), time)


def test_the_news_of_november(shared_data):
    log = read_session_log(shared_data / "news" / "mind_sessions.tsv.gz")
    split = split_by_time(log, 1_573_516_800)  # 2019-11-12 00:00
    vocabulary = Vocabulary.from_codes(log.item_ids, log.item_codes)
    tests = Histories.from_log(split.test, vocabulary, max_history=50, targets="last")
    seen = split.training_vocabulary().rows(vocabulary.ids) > 0
    counts = describe_unseen(tests, np.concatenate([[False], seen]))
    assert (counts["num_targets"], counts["num_unseen_targets"]) == (1003, 786)
