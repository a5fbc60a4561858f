"""The session-parallel schedule: every lane plays one session after the other.

Lanes take the first sessions; each step feeds click t of a lane's session and predicts click t +
1, so a session of n clicks fills n - 1 steps; a lane whose session ends takes the next unused one
(several in one step: in lane order), and falls silent when none is left. The shapes stay: a silent
lane is marked, where the original removes it.

Sessions are given as `starts` and `lengths` into an array of clicks, in the order of play, and a
schedule is an array of click positions, int [steps, B]: the position of the step's input click,
whose target is the click after it, or -1 where the lane is silent.
"""

import heapq

import numpy as np

SILENT = -1


def pack_lanes(num_examples: np.ndarray, num_lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Deals sessions to lanes.

    Args:
        num_examples: int [S], the steps that each session fills, in the order of play.
        num_lanes: how many sessions play side by side.

    Returns:
        lane int [S] and first step int64 [S] of each session.
    """
    free = [(0, lane) for lane in range(num_lanes)]
    lanes, first_steps = [], []
    for steps in num_examples.tolist():
        step, lane = free[0]
        lanes.append(lane)
        first_steps.append(step)
        heapq.heapreplace(free, (step + steps, lane))
    return np.array(lanes, np.int64), np.array(first_steps, np.int64)


def schedule_lanes(
    starts: np.ndarray, lengths: np.ndarray, num_lanes: int, min_live_lanes: int = 1
) -> np.ndarray:
    """Lays out an epoch.

    Args:
        starts: int [S], position of each session's first click, in the order of play.
        lengths: int [S], clicks of each session, at least 2.
        num_lanes: B.
        min_live_lanes: the epoch ends when fewer lanes are live: 2 without extra negatives, since a
            single target has nothing to be ranked against.

    Returns:
        int [steps, B]: click positions, `SILENT` where a lane is.
    """
    num_examples = lengths - 1
    lane, first_step = pack_lanes(num_examples, num_lanes)
    num_steps = int((first_step + num_examples).max())
    dtype = np.int32 if int(starts.max() + lengths.max()) < 2**31 else np.int64
    positions = np.full((num_steps, num_lanes), SILENT, dtype)
    within = ranges(num_examples)
    steps = np.repeat(first_step, num_examples) + within
    positions[steps, np.repeat(lane, num_examples)] = np.repeat(starts, num_examples) + within
    live = (positions != SILENT).sum(axis=1)
    return positions[: int(np.count_nonzero(live >= min_live_lanes))]


def ranges(lengths: np.ndarray) -> np.ndarray:
    """Returns 0, 1, ..., n - 1 for each n of `lengths`, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
