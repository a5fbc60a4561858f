"""The schedule of whole sessions: batches of sessions of similar length, nothing carried over.

The second schedule beside `tfrec_zoo.data.sessions.lanes`: gradients flow through all clicks of a
session (PaddlePaddle's and RecPack's training). Sessions are bucketed by length, so that little of
a batch is padding, and the last, incomplete batch of a bucket is kept.
"""

from collections.abc import Iterator

import numpy as np

from tfrec_zoo.data.sessions.lanes import SILENT

# Steps of one bucket that follow each other, so that a block of them has one shape.
BATCHES_PER_RUN = 8


def bucket_steps(num_examples: np.ndarray) -> np.ndarray:
    """Returns each session's bucket: its steps rounded up to 1, 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    power = 2 ** np.ceil(np.log2(np.maximum(num_examples, 1))).astype(np.int64)
    three_quarters = 3 * power // 4
    is_below = (num_examples <= three_quarters) & (power >= 4)
    return np.where(is_below, three_quarters, power)


def schedule_whole_sessions(
    starts: np.ndarray, lengths: np.ndarray, num_lanes: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Lays out an epoch of whole sessions, in runs of up to `BATCHES_PER_RUN` batches of one
    length.

    Args:
        starts: int [S], position of each session's first click, in the order of play.
        lengths: int [S], clicks of each session, at least 2.
        num_lanes: B, sessions of a batch.
        rng: shuffles the runs.

    Yields:
        int [n, T, B]: click positions of n batches, `SILENT` behind a session's end.
    """
    buckets = bucket_steps(lengths - 1)
    runs = []
    for steps in np.unique(buckets):
        members = np.flatnonzero(buckets == steps)
        size = num_lanes * BATCHES_PER_RUN
        runs += [(int(steps), members[i : i + size]) for i in range(0, len(members), size)]
    for index in rng.permutation(len(runs)):
        steps, members = runs[index]
        yield _lay_out(starts[members], lengths[members], steps, num_lanes)


def _lay_out(starts: np.ndarray, lengths: np.ndarray, steps: int, num_lanes: int) -> np.ndarray:
    num_batches = -(-len(starts) // num_lanes)
    missing = num_batches * num_lanes - len(starts)
    starts = np.pad(starts, (0, missing)).reshape(num_batches, 1, num_lanes)
    lengths = np.pad(lengths, (0, missing), constant_values=1).reshape(num_batches, 1, num_lanes)
    time = np.arange(steps)[None, :, None]
    return np.where(time < lengths - 1, starts + time, SILENT)
