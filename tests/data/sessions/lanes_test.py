"""The session-parallel schedule against a lane-by-lane simulation."""

import numpy as np
import pytest
from oracles import play_lanes

from tfrec_zoo.data.sessions.lanes import SILENT, pack_lanes, ranges, schedule_lanes


def clicks_of(starts, lengths):
    return [
        list(range(start, start + length)) for start, length in zip(starts, lengths, strict=True)
    ]


def steps_of(positions):
    return [
        {lane: int(click) for lane, click in enumerate(step) if click != SILENT}
        for step in positions
    ]


@pytest.mark.parametrize("has_extra_negatives", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_the_schedule_is_that_of_the_simulation(seed, has_extra_negatives):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, rng.integers(3, 12), rng.integers(4, 40))
    starts = rng.permutation(np.cumsum(lengths) - lengths)
    lengths = lengths[np.argsort(np.argsort(starts))] if seed % 2 else lengths
    num_lanes = int(rng.integers(1, 5))
    positions = schedule_lanes(starts, lengths, num_lanes, 1 if has_extra_negatives else 2)
    wanted = play_lanes(clicks_of(starts, lengths), num_lanes, has_extra_negatives)
    assert steps_of(positions) == [
        {lane: click for lane, (click, _, _) in step.items()} for step in wanted
    ]


def test_every_example_is_played_once():
    lengths = np.random.default_rng(1).geometric(0.2, 500) + 1
    starts = np.cumsum(lengths) - lengths
    positions = schedule_lanes(starts, lengths, 7)
    is_last = np.zeros(lengths.sum(), bool)
    is_last[starts + lengths - 1] = True
    played = np.sort(positions[positions != SILENT])
    np.testing.assert_array_equal(played, np.flatnonzero(~is_last))


def test_ties_between_lanes_go_in_lane_order():
    lanes, first_steps = pack_lanes(np.array([2, 1, 1, 1, 1, 1]), 3)
    assert lanes.tolist() == [0, 1, 2, 1, 2, 0]
    assert first_steps.tolist() == [0, 0, 0, 1, 1, 2]


def test_without_partners_the_epoch_ends_with_the_last_pair():
    starts, lengths = np.array([0, 2]), np.array([2, 9])
    assert schedule_lanes(starts, lengths, 2, min_live_lanes=2).tolist() == [[0, 2]]
    assert len(schedule_lanes(starts, lengths, 2)) == 8


def test_positions_beyond_two_thousand_million_are_kept():
    positions = schedule_lanes(np.array([2**31, 5]), np.array([2, 2]), 2)
    assert positions.tolist() == [[2**31, 5]]


def test_ranges_count_up_from_zero_each():
    assert ranges(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
    assert ranges(np.zeros(0, int)).tolist() == []
