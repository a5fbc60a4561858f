"""Examples of retrieval out of session logs: the clicks so far, and the one that follows.

    split = split_by_time(read_session_log("clicks.tsv"), time)
    histories = Histories.from_log(split.train, catalogue.vocabulary, max_history=50)
    batch = histories.take(np.arange(64))

Clicks are kept once, in flat arrays; what an example's history is follows from where its target
stands, so that every position of a log may be a target without any matrix of all of them.
"""

from dataclasses import dataclass, replace

import numpy as np

from tfrec_zoo.data.sessions.session_log import SessionLog, Sessions
from tfrec_zoo.vocabulary import Vocabulary

TARGETS = ("all", "last")
REPEATS = ("keep", "adjacent", "all")


@dataclass(frozen=True, eq=False)
class Histories:
    """Examples: a target, and up to `max_history` clicks of its session before it.

    Attributes:
        rows: int32 [N], the row in the catalogue of each click, never 0.
        times: [N] of each click; None where the log has none.
        offsets: int64 [S + 1], session s is the clicks `offsets[s]:offsets[s + 1]`.
        session_ids: object [S], raw ids; of `Sessions` without a log, their numbers.
        targets: int64 [E], the click that is the target of each example.
        sessions: int32 [E], the session of each example.
        max_history: clicks of a history; the most recent ones are kept.
        num_unknown_clicks: clicks left out because the catalogue lacks their item.
        num_repeats: clicks left out because the session has the item already.
        num_dropped_sessions: sessions left out because fewer than 2 clicks remained.
    """

    rows: np.ndarray
    times: np.ndarray | None
    offsets: np.ndarray
    session_ids: np.ndarray
    targets: np.ndarray
    sessions: np.ndarray
    max_history: int
    num_unknown_clicks: int = 0
    num_repeats: int = 0
    num_dropped_sessions: int = 0

    @classmethod
    def from_log(
        cls,
        log: SessionLog,
        vocabulary: Vocabulary,
        *,
        max_history: int,
        targets: str = "all",
        repeats: str = "keep",
    ) -> "Histories":
        """Makes examples of a log.

        Args:
            log: the clicks.
            vocabulary: of the catalogue. Clicks on items that it lacks are left out first.
            max_history: 1 or more.
            targets: `all`, every click of a session but its first one, or `last`.
            repeats: which clicks are left out: none (`keep`), those on the item of the click before
                (`adjacent`), or those on any item that the session has already (`all`).

        Raises:
            ValueError: nothing is left.
        """
        return cls._make(
            rows=vocabulary.rows(log.item_ids)[log.item_codes],
            times=log.times,
            offsets=log.offsets,
            session_ids=log.session_ids,
            max_history=max_history,
            targets=targets,
            repeats=repeats,
        )

    @classmethod
    def from_sessions(
        cls, sessions: Sessions, *, max_history: int, targets: str = "all", repeats: str = "keep"
    ) -> "Histories":
        """Makes examples of sessions that are rows already, without times; see `from_log`."""
        numbers = sessions.log_sessions
        numbers = np.arange(sessions.num_sessions) if numbers is None else numbers
        return cls._make(
            rows=sessions.rows,
            times=None,
            offsets=sessions.offsets,
            session_ids=numbers.astype(str).astype(object),
            max_history=max_history,
            targets=targets,
            repeats=repeats,
        )

    @classmethod
    def _make(
        cls,
        *,
        rows: np.ndarray,
        times: np.ndarray | None,
        offsets: np.ndarray,
        session_ids: np.ndarray,
        max_history: int,
        targets: str,
        repeats: str,
    ) -> "Histories":
        _check_choice("targets", targets, TARGETS)
        _check_choice("repeats", repeats, REPEATS)
        if max_history < 1:
            raise ValueError(f"max_history must be at least 1, got {max_history}")
        num_sessions = len(session_ids)
        owners = np.repeat(np.arange(num_sessions, dtype=np.int32), np.diff(offsets))
        is_known = rows > 0
        if not is_known.any():
            raise ValueError(
                f"all {len(rows)} clicks are on items that the catalogue lacks; is the item column "
                "the one of the item table?"
            )
        kept = np.flatnonzero(is_known)
        is_repeat = _find_repeats(rows[kept], owners[kept], repeats)
        kept = kept[~is_repeat]
        lengths = np.bincount(owners[kept], minlength=num_sessions)
        is_long = lengths >= 2
        if not is_long.any():
            raise ValueError(
                f"none of {num_sessions} sessions has 2 clicks or more on items of the catalogue: "
                "there is nothing to learn from; is the session column the right one?"
            )
        kept = kept[is_long[owners[kept]]]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[is_long])])
        sessions = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
        places = offsets[1:] - 1
        if targets == "all":
            places = np.flatnonzero(np.arange(offsets[-1]) > offsets[:-1][sessions])
        return cls(
            rows=rows[kept].astype(np.int32),
            times=None if times is None else times[kept],
            offsets=offsets,
            session_ids=session_ids[is_long],
            targets=places,
            sessions=sessions[places],
            max_history=max_history,
            num_unknown_clicks=int(len(rows) - np.count_nonzero(is_known)),
            num_repeats=int(np.count_nonzero(is_repeat)),
            num_dropped_sessions=int(num_sessions - np.count_nonzero(is_long)),
        )

    @property
    def num_examples(self) -> int:
        """The number of examples, E."""
        return len(self.targets)

    @property
    def num_sessions(self) -> int:
        """The number of sessions, S."""
        return len(self.session_ids)

    @property
    def lengths(self) -> np.ndarray:
        """The clicks of each example's history, from 1 to `max_history`; int64 [E]."""
        return np.minimum(self.targets - self.offsets[self.sessions], self.max_history)

    @property
    def target_rows(self) -> np.ndarray:
        """The row of each example's target; int32 [E]."""
        return self.rows[self.targets]

    @property
    def target_times(self) -> np.ndarray | None:
        """The time of each example's target [E]; None without times."""
        return None if self.times is None else self.times[self.targets]

    def select(self, chosen: np.ndarray) -> "Histories":
        """Returns some of the examples, by their numbers or a mask [E], over the same clicks."""
        return replace(self, targets=self.targets[chosen], sessions=self.sessions[chosen])

    def row_counts(self, num_rows: int) -> np.ndarray:
        """Returns how often each row is a target of an example; int64 [num_rows]."""
        return np.bincount(self.target_rows, minlength=num_rows)

    def clicked_rows(self, num_rows: int) -> np.ndarray:
        """Returns which rows occur anywhere, in histories or as a target; bool [num_rows]."""
        is_clicked = np.zeros(num_rows, bool)
        is_clicked[self.rows] = True
        return is_clicked

    def is_unseen(self, seen_rows: np.ndarray) -> np.ndarray:
        """Returns which examples have a target that is not among `seen_rows`, bool [V + 1]; [E]."""
        return ~seen_rows[self.target_rows]

    def take(
        self,
        indices: np.ndarray,
        *,
        width: int | None = None,
        item_times: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns some examples as arrays, padded on the right.

        Args:
            indices: integer [n], numbers of examples, in any order.
            width: T, clicks a history has place for; None: `max_history`. Where a history is
                longer its most recent clicks are kept.
            item_times: float64 [V + 1], when each item came up, NaN where that is not known.

        Returns:
            - `history` int32 [n, T], rows, 0 for padding;
            - `lengths` int32 [n], from 1 to T;
            - `target` int32 [n];
            - `session` int32 [n], place in `session_ids`;

            with times, in their unit,

            - `time` [n], of the target;
            - `elapsed` float32 [n, T], from each click to the target, 0 for padding;

            and with `item_times`, too,

            - `history_age` float32 [n, T], `target_age` float32 [n], how old each item is at the
              time of the target, NaN where that is not known, 0 for padding.
        """
        indices = np.asarray(indices, np.int64)
        width = self.max_history if width is None else width
        targets, sessions = self.targets[indices], self.sessions[indices]
        lengths = np.minimum(targets - self.offsets[sessions], min(self.max_history, width))
        places = (targets - lengths)[:, None] + np.arange(width)
        is_click = np.arange(width) < lengths[:, None]
        places = np.where(is_click, places, targets[:, None])
        history = np.where(is_click, self.rows[places], 0)
        batch = {
            "history": history.astype(np.int32, copy=False),
            "lengths": lengths.astype(np.int32),
            "target": self.rows[targets],
            "session": sessions,
        }
        if self.times is None:
            return batch
        times = self.times[targets]
        batch["time"] = times
        batch["elapsed"] = (times[:, None] - self.times[places]).astype(np.float32)
        if item_times is not None:
            ages = (times[:, None] - item_times[history]).astype(np.float32)
            batch["history_age"] = np.where(is_click, ages, np.float32(0))
            batch["target_age"] = (times - item_times[batch["target"]]).astype(np.float32)
        return batch


def _find_repeats(rows: np.ndarray, owners: np.ndarray, repeats: str) -> np.ndarray:
    """Returns which clicks are repeats, bool [N]; `owners` is the session of each."""
    is_repeat = np.zeros(len(rows), bool)
    if repeats == "adjacent":
        is_repeat[1:] = (rows[1:] == rows[:-1]) & (owners[1:] == owners[:-1])
    elif repeats == "all":
        keys = owners.astype(np.int64) << 32 | rows
        is_repeat[:] = True
        is_repeat[np.unique(keys, return_index=True)[1]] = False
    return is_repeat


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
