"""Batches of whole sessions: nothing lost, little padding, all of one shape."""

import numpy as np
import pytest

from tfrec_zoo.data.sessions.lanes import SILENT
from tfrec_zoo.data.sessions.whole_sessions import (
    BATCHES_PER_RUN,
    bucket_steps,
    schedule_whole_sessions,
)


def sizes_up_to(most):
    """1, 2, 3, 4, 6, 8, 12, ...: the powers of two and what is halfway between them."""
    sizes = {1, 2}
    while max(sizes) < most:
        sizes |= {3 * max(sizes) // 2, 2 * max(sizes)}
    return sorted(sizes)


def test_buckets_are_the_next_size():
    steps = np.arange(1, 2000)
    sizes = np.array(sizes_up_to(2000))
    wanted = [sizes[sizes >= n][0] for n in steps]
    np.testing.assert_array_equal(bucket_steps(steps), wanted)


@pytest.mark.parametrize("num_lanes", [1, 3, 64])
def test_every_session_is_played_once_from_its_first_click_in_one_lane(num_lanes):
    rng = np.random.default_rng(2)
    lengths = rng.geometric(0.15, 300) + 1
    starts = np.cumsum(lengths) - lengths
    played = []
    for block in schedule_whole_sessions(starts, lengths, num_lanes, rng):
        assert block.shape[0] <= BATCHES_PER_RUN and block.shape[2] == num_lanes
        for batch in block:
            for lane in batch.T:
                clicks = lane[lane != SILENT]
                assert (lane[len(clicks) :] == SILENT).all()
                if len(clicks):
                    np.testing.assert_array_equal(clicks, clicks[0] + np.arange(len(clicks)))
                    played.append((clicks[0], len(clicks)))
    assert sorted(played) == sorted(zip(starts, lengths - 1, strict=True))


def test_sessions_of_a_batch_fill_more_than_half_of_it():
    lengths = np.random.default_rng(3).integers(2, 70, 4000)
    blocks = list(
        schedule_whole_sessions(np.cumsum(lengths) - lengths, lengths, 16, np.random.default_rng(0))
    )
    filled = sum(np.count_nonzero(block != SILENT) for block in blocks)
    assert filled / sum(block.size for block in blocks) > 0.75


def test_the_order_of_the_runs_is_that_of_the_generator():
    lengths = np.random.default_rng(3).integers(2, 30, 200)
    starts = np.cumsum(lengths) - lengths

    def first_clicks(seed):
        rng = np.random.default_rng(seed)
        return [int(b[0, 0, 0]) for b in schedule_whole_sessions(starts, lengths, 4, rng)]

    assert first_clicks(1) == first_clicks(1) != first_clicks(2)
    assert sorted(first_clicks(1)) == sorted(first_clicks(2))
