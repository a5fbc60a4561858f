"""The preparation against the published RSC15 script, written anew with pandas groupby."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from tfrec_zoo.config import Config
from tfrec_zoo.data.sessions.preparation import LogCounts, PreparationConfig, prepare_sessions
from tfrec_zoo.data.sessions.session_log import SessionColumns, session_log_from_frame


def make_frame(seed, num_clicks=3000, num_sessions=700, num_items=200, days=6):
    """Scattered clicks with rare items, short sessions and repeats."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, days * 86400, num_sessions)
    sessions = rng.integers(0, num_sessions, num_clicks)
    items = np.minimum(rng.zipf(1.4, num_clicks), num_items)
    times = starts[sessions] + rng.integers(0, 3000, num_clicks)
    # Equal times would leave the order of the clicks to the sorting of the oracle.
    times = times * 4096 + rng.permutation(num_clicks)
    return pd.DataFrame({"SessionId": sessions, "ItemId": items, "Time": times / 4096})


def publish(data, *, min_length=2, min_support=5, seconds=86400.0, fraction=None, repeats=False):
    """What the published script does, as it does it; returns the parts as frames."""
    data = data.sort_values(["SessionId", "Time"], kind="stable")
    if repeats:
        same_session = data.SessionId == data.SessionId.shift()
        data = data[~(same_session & (data.ItemId == data.ItemId.shift()))]

    def keep_long(data, least):
        lengths = data.groupby("SessionId").size()
        return data[np.isin(data.SessionId, lengths[lengths >= least].index)]

    def split(data):
        ends = data.groupby("SessionId").Time.max()
        if fraction is None:
            newest = ends[ends >= data.Time.max() - seconds].index
        else:
            newest = ends.sort_values().index[-max(1, round(fraction * len(ends))) :]
        is_test = np.isin(data.SessionId, newest)
        train, test = data[~is_test], data[is_test]
        test = test[np.isin(test.ItemId, train.ItemId)]
        return train, keep_long(test, 2)

    data = keep_long(data, min_length)
    supports = data.groupby("ItemId").size()
    data = data[np.isin(data.ItemId, supports[supports >= min_support].index)]
    data = keep_long(data, min_length)
    train_full, test = split(data)
    train, validation = split(train_full)
    return {"train_full": train_full, "test": test, "train": train, "validation": validation}


def as_sessions(log):
    """session id -> [(item, time), ...] of a SessionLog."""
    clicks = list(zip(log.item_ids[log.item_codes], log.times.tolist(), strict=True))
    return {
        session: clicks[begin:end]
        for session, (begin, end) in zip(
            log.session_ids, itertools.pairwise(log.offsets.tolist()), strict=True
        )
    }


def frame_as_sessions(frame):
    sessions = {}
    for session, item, time in frame.itertuples(index=False):
        sessions.setdefault(str(session), []).append((str(item), time))
    return sessions


@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({}, {}),
        ({"drop_repeats": True}, {"repeats": True}),
        (
            {"min_session_length": 3, "min_item_support": 9, "test_seconds": 40000},
            {"min_length": 3, "min_support": 9, "seconds": 40000},
        ),
        ({"min_session_length": 1, "min_item_support": 1}, {"min_length": 1, "min_support": 1}),
        ({"test_fraction": 0.07}, {"fraction": 0.07}),
        ({"test_fraction": 0.0001}, {"fraction": 0.0001}),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_parts_are_those_of_the_published_script(options, published, seed):
    frame = make_frame(seed)
    if options.get("test_fraction") == 0.0001:
        # The newest session alone: all its items must be known for anything to be left.
        frame["ItemId"] %= 3
    preparation = prepare_sessions(session_log_from_frame(frame), PreparationConfig(**options))
    expected = publish(frame, **published)
    assert list(preparation.parts) == list(expected)
    for name, part in expected.items():
        found = preparation.parts[name]
        assert as_sessions(found) == frame_as_sessions(part), name
        assert found.num_items == part.ItemId.nunique()


def test_counts_follow_the_rules_and_the_parts():
    frame = make_frame(3)
    log = session_log_from_frame(frame)
    preparation = prepare_sessions(log, PreparationConfig(drop_repeats=True))
    by_part = {}
    for count in preparation.rule_counts:
        assert count.after.clicks <= count.before.clicks
        by_part.setdefault(count.part, []).append(count)
    for counts in by_part.values():
        for earlier, later in itertools.pairwise(counts):
            assert later.before == earlier.after
    assert (
        by_part["log"][0].before
        == LogCounts.of(log)
        == LogCounts(len(frame), frame.SessionId.nunique(), frame.ItemId.nunique())
    )
    assert [count.rule for count in by_part["log"]] == [
        "consecutive repeats dropped",
        "sessions >= 2 clicks",
        "items >= 5 clicks",
        "sessions >= 2 clicks",
    ]
    for name, part in preparation.parts.items():
        assert by_part[name][-1].after == LogCounts.of(part)
    kept = frame.sort_values(["SessionId", "Time"])
    is_repeat = (kept.SessionId == kept.SessionId.shift()) & (kept.ItemId == kept.ItemId.shift())
    assert by_part["log"][0].after.clicks == (~is_repeat).sum()


def test_parts_share_no_session_and_test_has_no_new_item():
    parts = prepare_sessions(session_log_from_frame(make_frame(4)), PreparationConfig()).parts
    ids = {name: set(part.session_ids) for name, part in parts.items()}
    assert not ids["train_full"] & ids["test"] and not ids["train"] & ids["validation"]
    assert ids["train"] | ids["validation"] <= ids["train_full"]
    assert set(parts["test"].item_ids) <= set(parts["train_full"].item_ids)
    assert set(parts["validation"].item_ids) <= set(parts["train"].item_ids)
    assert parts["train"].end_times().max() < parts["validation"].end_times().min()


def test_fewer_parts_on_request():
    log = session_log_from_frame(make_frame(5))
    unsplit = prepare_sessions(log, PreparationConfig(test_seconds=None)).parts
    assert list(unsplit) == ["train_full"]
    two = prepare_sessions(log, PreparationConfig(use_validation=False)).parts
    assert list(two) == ["train_full", "test"]


def test_file_order_takes_the_place_of_times():
    frame = make_frame(6)
    log = session_log_from_frame(frame, SessionColumns(time=None))
    with pytest.raises(ValueError, match="the log has no times to split by: set --test_fraction"):
        prepare_sessions(log, PreparationConfig())
    config = PreparationConfig(
        test_fraction=0.25, min_item_support=1, min_session_length=1, use_validation=False
    )
    parts = prepare_sessions(log, config).parts
    order = [str(session) for session in dict.fromkeys(frame.SessionId)]
    num_train = len(order) - round(0.25 * len(order))
    assert parts["train_full"].session_ids.tolist() == order[:num_train]
    assert set(parts["test"].session_ids) <= set(order[num_train:])


def test_rules_that_leave_nothing_are_refused():
    single = pd.DataFrame({"SessionId": [1, 2, 3], "ItemId": [1, 1, 2], "Time": [1, 2, 3]})
    with pytest.raises(
        ValueError,
        match="the rule 'sessions >= 2 clicks' leaves nothing of log, which had 3 clicks in 3 "
        "sessions of up to 1 clicks on 2 items",
    ):
        prepare_sessions(session_log_from_frame(single), PreparationConfig())
    pair = pd.DataFrame({"SessionId": [1, 1, 2, 2], "ItemId": [1, 2, 3, 4], "Time": [1, 2, 9, 9]})
    with pytest.raises(ValueError, match="the rule 'items >= 5 clicks' leaves nothing of log"):
        prepare_sessions(session_log_from_frame(pair), PreparationConfig())
    config = PreparationConfig(min_item_support=1)
    with pytest.raises(
        ValueError,
        match="all 2 sessions would go into test, since they end between 2 and 9: lower "
        "--test_seconds or set --test_fraction",
    ):
        prepare_sessions(session_log_from_frame(pair), config)
    config = PreparationConfig(min_item_support=1, test_seconds=1)
    with pytest.raises(ValueError, match="the rule 'items of train_full' leaves nothing of test"):
        prepare_sessions(session_log_from_frame(pair), config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_session_length": 0}, "min_session_length must be 1 or more, got 0"),
        ({"min_item_support": -1}, "min_item_support must be 1 or more, got -1"),
        ({"test_seconds": -1.0}, "test_seconds must not be negative, got -1.0"),
        ({"test_fraction": 1.0}, "test_fraction must be between 0 and 1, got 1.0"),
    ],
)
def test_config_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        PreparationConfig(**options)
    assert issubclass(PreparationConfig, Config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        PreparationConfig().test_seconds = 1.0


def test_a_session_that_ends_just_on_the_limit_is_in_the_test_part():
    frame = pd.DataFrame(
        {
            "SessionId": [1, 1, 2, 2, 3, 3, 4, 4],
            "ItemId": [1, 2] * 4,
            "Time": [100, 899, 100, 900, 100, 1000, 0, 1],
        }
    )
    config = PreparationConfig(test_seconds=100.0, min_item_support=1, use_validation=False)
    parts = prepare_sessions(session_log_from_frame(frame), config).parts
    assert parts["test"].session_ids.tolist() == ["2", "3"]
    assert parts["train_full"].session_ids.tolist() == ["1", "4"]
