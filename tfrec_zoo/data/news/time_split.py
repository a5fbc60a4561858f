"""Cuts a log by time, and tells how much of what comes later was never seen before."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrec_zoo.data.news.histories import Histories
from tfrec_zoo.data.sessions.session_log import SessionLog
from tfrec_zoo.vocabulary import Vocabulary


@dataclass(frozen=True)
class TimeSplit:
    """A log cut in two, and how much of the second part the first one knows.

    Attributes:
        train: the sessions that end before the time.
        test: the others.
        time: where it was cut.
    """

    train: SessionLog
    test: SessionLog
    time: float

    def training_vocabulary(self) -> Vocabulary:
        """Returns the items of the training part and their clicks."""
        return Vocabulary.from_codes(self.train.item_ids, self.train.item_codes)


def split_by_time(log: SessionLog, time: float) -> TimeSplit:
    """Cuts a log by the time of its sessions' last clicks.

    A session that begins before `time` and ends at or after it is in the test part whole.

    Raises:
        ValueError: the log has no times, or one of the parts would be empty.
    """
    if log.times is None:
        raise ValueError("a log without times cannot be split by time: name its time column")
    ends = log.end_times()
    is_train = ends < time
    if is_train.all() or not is_train.any():
        side = "before" if is_train.all() else "at or after"
        raise ValueError(
            f"all {log.num_sessions} sessions end {side} {time}, between {ends.min()} and "
            f"{ends.max()}: choose a time in between"
        )
    return TimeSplit(log.select_sessions(is_train), log.select_sessions(~is_train), time)


def describe_unseen(histories: Histories, seen_rows: np.ndarray) -> dict[str, Any]:
    """Returns how many targets never occur in training.

    Args:
        histories: the test's.
        seen_rows: bool [V + 1], the rows that occur in training, such as
            `training_histories.clicked_rows(...)` or `catalogue.vocabulary.row_counts() > 0`.
    """
    num_unseen = int(np.count_nonzero(histories.is_unseen(seen_rows)))
    return {
        "num_targets": histories.num_examples,
        "num_unseen_targets": num_unseen,
        "unseen_share": num_unseen / histories.num_examples,
    }


def first_times(rows: np.ndarray, times: np.ndarray, num_rows: int) -> np.ndarray:
    """Returns when each item was first seen, for tables that do not say when it came up.

    Args:
        rows: integer [N], rows of the catalogue.
        times: [N], when each was clicked or shown.
        num_rows: V + 1.

    Returns:
        float64 [V + 1], NaN for items that are not among `rows`, and for row 0.
    """
    found = np.full(num_rows, np.inf)
    np.minimum.at(found, rows, times)
    found[0] = np.inf
    return np.where(np.isinf(found), np.nan, found)
