"""Blocks of training steps, decoded into clicks and compared with a click-by-click simulation."""

import dataclasses

import numpy as np
import pytest
from oracles import make_sessions, play_lanes

from tfrec_zoo.data.sessions.batch_config import SessionBatchConfig
from tfrec_zoo.data.sessions.session_batches import SessionBatches, cut_sessions
from tfrec_zoo.data.sessions.session_log import Sessions

NUM_ITEMS = 30
LENGTHS = [5, 2, 9, 3, 2, 2, 7, 4, 2, 6, 3]
SESSIONS = make_sessions(LENGTHS, NUM_ITEMS, seed=5)
# Every click is on a row of its own, so that rows tell clicks apart.
DISTINCT = dataclasses.replace(SESSIONS, rows=np.arange(1, sum(LENGTHS) + 1, dtype=np.int32))


def make_batches(
    sessions=DISTINCT, has_tied_inputs=True, seed=1, steps_per_block=4, noise_width=0, **options
):
    config = SessionBatchConfig(**{"num_lanes": 3, "num_negatives": 6, **options})
    return SessionBatches(
        sessions,
        np.bincount(sessions.rows, minlength=sessions.rows.max() + 1),
        config,
        has_tied_inputs=has_tied_inputs,
        noise_width=noise_width,
        steps_per_block=steps_per_block,
        seed=seed,
    )


def decode(blocks):
    """Returns of each step that is run: lane -> (input row, target row, is first), T steps each."""
    steps = []
    for block in blocks:
        assert not block["is_valid"][block["num_steps"] :].any()
        for k in range(block["num_steps"]):
            columns = block["columns"][k] if "columns" in block else np.arange(10**4)
            input_rows = block["input_rows"][k] if "input_rows" in block else columns
            window = []
            for t, lane_valid in enumerate(block["is_valid"][k]):
                assert not block["is_first"][k, t][~lane_valid].any()
                items = input_rows[block["item_column"][k, t]]
                targets = columns[block["target_column"][k, t]]
                assert not items[~lane_valid].any() and not targets[~lane_valid].any()
                triples = zip(items, targets, block["is_first"][k, t], strict=True)
                numbered = {
                    n: (int(i), int(j), bool(f)) for n, (i, j, f) in enumerate(triples) if i
                }
                window.append(numbered)
            steps.append(window)
    return steps


def list_sessions(sessions, order):
    pieces = np.split(sessions.rows, sessions.offsets[1:-1])
    return [pieces[n].tolist() for n in order]


def drop_silence(steps):
    return [step for window in steps for step in window if step]


ORDERS = {
    "time": np.argsort(SESSIONS.start_times, kind="stable"),
    "file": np.arange(SESSIONS.num_sessions),
}


@pytest.mark.parametrize("has_tied_inputs", [True, False])
@pytest.mark.parametrize("num_negatives", [6, 0, None])
@pytest.mark.parametrize("session_order", ["time", "file"])
def test_blocks_are_the_simulated_epoch(session_order, num_negatives, has_tied_inputs):
    batches = make_batches(
        session_order=session_order,
        num_negatives=num_negatives,
        has_tied_inputs=has_tied_inputs,
    )
    sessions = list_sessions(DISTINCT, ORDERS[session_order])
    wanted = play_lanes(sessions, 3, has_extra_negatives=num_negatives != 0)
    assert drop_silence(decode(batches.blocks(0))) == wanted


@pytest.mark.parametrize("unroll_steps", [2, 3, 5])
def test_windows_of_several_steps_are_the_same_epoch(unroll_steps):
    wanted = drop_silence(decode(make_batches().blocks(0)))
    steps = decode(make_batches(unroll_steps=unroll_steps).blocks(0))
    assert {len(window) for window in steps} == {unroll_steps}
    assert drop_silence(steps) == wanted


def test_a_random_order_is_another_one_each_epoch_and_the_simulated_schedule():
    batches = make_batches(session_order="random")
    orders = []
    for epoch in range(4):
        steps = drop_silence(decode(batches.blocks(epoch)))
        starts = [i for step in steps for i, _, is_first in step.values() if is_first]
        order = np.searchsorted(DISTINCT.offsets + 1, starts).tolist()
        assert sorted(order) == list(range(len(LENGTHS)))
        assert steps == play_lanes(list_sessions(DISTINCT, order), 3, True)
        orders.append(order)
    assert len(set(map(tuple, orders))) == 4


@pytest.mark.parametrize("schedule", ["lanes", "sessions"])
@pytest.mark.parametrize("max_session_length", [0, 2, 4])
def test_every_pair_is_trained_once(schedule, max_session_length):
    batches = make_batches(schedule=schedule, max_session_length=max_session_length)
    steps = drop_silence(decode(batches.blocks(0)))
    pairs = sorted((i, j) for step in steps for i, j, _ in step.values())
    wanted = [
        pair
        for s in list_sessions(DISTINCT, ORDERS["file"])
        for pair in zip(s[:-1], s[1:], strict=True)
    ]
    assert pairs == sorted(wanted)
    assert batches.num_events == len(wanted)


@pytest.mark.parametrize("schedule", ["lanes", "sessions"])
def test_a_lane_goes_on_or_begins_anew(schedule):
    """A lane never takes over the state of another session, nor of another piece of its own."""
    batches = make_batches(schedule=schedule, max_session_length=3)
    last_target = {}
    for step in drop_silence(decode(batches.blocks(0))):
        for lane, (item, target, is_first) in step.items():
            assert is_first or last_target[lane] == item
            last_target[lane] = target


def test_pieces_of_a_session_overlap_by_the_click_they_share():
    starts, lengths = cut_sessions(np.array([0, 7, 9, 12]), 3)
    assert starts.tolist() == [0, 2, 4, 7, 9]
    assert lengths.tolist() == [3, 3, 3, 2, 3]


@pytest.mark.parametrize("max_length", [2, 3, 4, 10])
def test_pieces_hold_each_pair_once(max_length):
    lengths = np.arange(2, 12)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    pieces = list(zip(*cut_sessions(offsets, max_length), strict=True))
    pairs = [click for start, length in pieces for click in range(start, start + length - 1)]
    assert pairs == [c for c in range(offsets[-1]) if c + 1 not in offsets]
    assert max(length for _, length in pieces) <= max_length


def test_whole_sessions_start_at_the_first_step_of_their_batch():
    for block in make_batches(schedule="sessions").blocks(0):
        np.testing.assert_array_equal(block["is_first"][:, 0], block["is_valid"][:, 0])
        assert not block["is_first"][:, 1:].any()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"session_order": "random"},
        {"schedule": "sessions"},
        {"shared_negatives": False, "has_tied_inputs": False},
        {"num_negatives": None},
    ],
)
def test_an_epoch_goes_on_at_any_block_as_it_would_have(options):
    options = {"sessions": SESSIONS, "steps_per_block": 2, **options}
    whole = list(make_batches(**options).blocks(3))
    for first_block in (0, 1, 3, len(whole)):
        rest = list(make_batches(**options).blocks(3, first_block))
        assert len(rest) == len(whole) - first_block
        for block, other in zip(whole[first_block:], rest, strict=True):
            assert block.keys() == other.keys()
            for name in block:
                np.testing.assert_array_equal(block[name], other[name])


def test_negatives_are_others_in_each_step_block_epoch_and_seed():
    def negatives(seed, epoch):
        blocks = make_batches(SESSIONS, seed=seed, num_negatives=20).blocks(epoch)
        return [
            tuple(np.repeat(columns, counts.astype(int)))
            for block in blocks
            for columns, counts in zip(block["columns"], block["negative_counts"], strict=True)
        ]

    all_steps = negatives(1, 0) + negatives(1, 1) + negatives(2, 0)
    assert len(set(all_steps)) == len(all_steps)


@pytest.mark.parametrize("has_tied_inputs", [True, False])
@pytest.mark.parametrize("unroll_steps", [1, 2])
def test_counts_tell_how_often_a_row_is_a_target_and_was_drawn(unroll_steps, has_tied_inputs):
    batches = make_batches(
        SESSIONS, has_tied_inputs, num_negatives=50, unroll_steps=unroll_steps, num_lanes=5
    )
    for block in batches.blocks(0):
        for k, columns in enumerate(block["columns"]):
            num_distinct = np.count_nonzero(columns) + 1
            assert (np.diff(columns[:num_distinct]) > 0).all() and not columns[num_distinct:].any()
            targets = columns[block["target_column"][k]][block["is_valid"][k]]
            rows = np.repeat(columns, block["in_batch_counts"][k].astype(int))
            np.testing.assert_array_equal(np.sort(rows), np.sort(targets))
            assert block["negative_counts"][k].sum() == 50
            assert not block["negative_counts"][k][columns == 0].any()
            inputs = block["input_rows"][k] if not has_tied_inputs else columns
            assert inputs[block["item_column"][k]][block["is_valid"][k]].all()


def test_events_may_have_negatives_of_their_own():
    batches = make_batches(SESSIONS, num_negatives=40, shared_negatives=False, unroll_steps=2)
    block = next(batches.blocks(0))
    rows = np.take_along_axis(
        block["columns"], block["negative_column"].reshape(4, -1), axis=1
    ).reshape(4, 2, 3, 40)
    assert rows.all() and set(np.unique(rows)) <= set(SESSIONS.rows)
    assert len({tuple(draws) for draws in rows.reshape(-1, 40)}) == 4 * 2 * 3
    assert "negative_counts" not in block and "in_batch_counts" not in block


def test_negatives_follow_the_popularity():
    batches = make_batches(SESSIONS, num_negatives=4000, popularity_exponent=2.0)
    drawn = np.zeros(NUM_ITEMS + 1)
    for block in batches.blocks(0):
        np.add.at(drawn, block["columns"], block["negative_counts"])
    weights = np.bincount(SESSIONS.rows, minlength=NUM_ITEMS + 1) ** 2.0
    np.testing.assert_allclose(drawn / drawn.sum(), weights / weights.sum(), atol=0.01)


def test_all_blocks_but_the_last_are_full():
    sizes = [int(block["num_steps"]) for block in make_batches(steps_per_block=3).blocks(0)]
    assert set(sizes[:-1]) == {3} and 0 < sizes[-1] <= 3
    assert all(
        len(value) == 3
        for block in make_batches(steps_per_block=3).blocks(0)
        for name, value in block.items()
        if name != "num_steps"
    )


def test_more_lanes_than_sessions_are_refused():
    with pytest.raises(ValueError, match="num_lanes=12 needs as many sessions, got 11"):
        make_batches(num_lanes=12)
    pairs = Sessions(np.array([1, 2], np.int32), np.array([0, 2]), np.array([0]))
    assert len(list(make_batches(pairs, num_lanes=12, schedule="sessions").blocks(0))) == 1


def test_noise_is_uniform_and_of_each_block_seed_and_epoch_its_own():
    def noise_of(seed, epoch):
        blocks = make_batches(seed=seed, noise_width=500).blocks(epoch)
        return [block["noise"] for block in blocks]

    noise = noise_of(1, 0)
    assert noise[0].shape == (4, 1, 3, 500) and noise[0].dtype == np.uint16
    # Deciles of 6000 uniform numbers, five standard deviations wide.
    deciles = np.bincount(noise[0].ravel() // 6554, minlength=10) / noise[0].size
    np.testing.assert_allclose(deciles, 0.1, atol=0.02)
    np.testing.assert_array_equal(noise[1], noise_of(1, 0)[1])
    for other in (noise[1], noise_of(2, 0)[0], noise_of(1, 1)[0]):
        assert (noise[0] != other).mean() > 0.99
    assert "noise" not in next(make_batches().blocks(0))
