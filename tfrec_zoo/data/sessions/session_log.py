"""Session logs: clicks grouped by session, in columns.

A `SessionLog` is what a file holds, with raw ids; `Sessions` is what a model trains on, with rows
of its tables. Both keep the clicks of session s at `offsets[s]:offsets[s + 1]` of flat arrays.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrec_zoo.atomic_file import replace_file
from tfrec_zoo.data.log_format import SessionColumns, find_format
from tfrec_zoo.data.log_writers import encode_ids, write_session_lines, write_table
from tfrec_zoo.data.sessions.log_files import LogColumns, read_columns
from tfrec_zoo.data.time_column import BadTimeError, parse_times
from tfrec_zoo.vocabulary import Vocabulary, as_text_ids

_BLOCK_CLICKS = 1 << 20


@dataclass(frozen=True, eq=False)
class SessionLog:
    """Clicks by session. Sessions are in the order of their first appearance in the file.

    Attributes:
        item_codes: int32 [N], the position in `item_ids` of each click; inside a session by time,
            among equal times in the order of the file.
        item_ids: object [n], distinct raw ids in the order of first appearance.
        times: int64 or float64 [N], seconds or any rising number; None without a time column.
        offsets: int64 [S + 1], session s is the clicks `offsets[s]:offsets[s + 1]`.
        session_ids: object [S], raw ids.
    """

    item_codes: np.ndarray
    item_ids: np.ndarray
    times: np.ndarray | None
    offsets: np.ndarray
    session_ids: np.ndarray

    @property
    def num_clicks(self) -> int:
        """The number of clicks, N."""
        return len(self.item_codes)

    @property
    def num_sessions(self) -> int:
        """The number of sessions, S."""
        return len(self.session_ids)

    @property
    def num_items(self) -> int:
        """The number of distinct items, n."""
        return len(self.item_ids)

    @property
    def lengths(self) -> np.ndarray:
        """Clicks of each session, int64 [S]."""
        return np.diff(self.offsets)

    def session_codes(self) -> np.ndarray:
        """Returns the number of each click's session, int32 [N]."""
        return np.repeat(np.arange(self.num_sessions, dtype=np.int32), self.lengths)

    def start_times(self) -> np.ndarray:
        """Returns each session's first time [S]; its place in the log where there are no times."""
        if self.times is None:
            return np.arange(self.num_sessions)
        return self.times[self.offsets[:-1]]

    def end_times(self) -> np.ndarray:
        """Returns each session's last time [S]; its place in the log where there are no times."""
        if self.times is None:
            return np.arange(self.num_sessions)
        return self.times[self.offsets[1:] - 1]

    def select_clicks(self, mask: np.ndarray) -> "SessionLog":
        """Returns the clicks where `mask`, bool [N], is true; emptied sessions and items go."""
        offsets = _selected_offsets(self.offsets, mask)
        is_kept = np.diff(offsets) > 0
        item_codes, item_ids = _compact(self.item_codes[mask], self.item_ids)
        return SessionLog(
            item_codes=item_codes,
            item_ids=item_ids,
            times=None if self.times is None else self.times[mask],
            offsets=np.concatenate([offsets[:1], offsets[1:][is_kept]]),
            session_ids=self.session_ids[is_kept],
        )

    def select_sessions(self, selection: np.ndarray) -> "SessionLog":
        """Returns some sessions: where a bool [S] is true, or by their numbers, in that order."""
        selection = np.asarray(selection)
        if selection.dtype == bool:
            return self.select_clicks(np.repeat(selection, self.lengths))
        lengths = self.lengths[selection]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        shifts = self.offsets[:-1][selection] - offsets[:-1]
        clicks = np.arange(offsets[-1]) + np.repeat(shifts, lengths)
        item_codes, item_ids = _compact(self.item_codes[clicks], self.item_ids)
        return SessionLog(
            item_codes=item_codes,
            item_ids=item_ids,
            times=None if self.times is None else self.times[clicks],
            offsets=offsets,
            session_ids=self.session_ids[selection],
        )


@dataclass(frozen=True, eq=False)
class Sessions:
    """Sessions in the rows of a vocabulary, each long enough to give an example.

    Attributes:
        rows: int32 [N], the row of each click, never 0.
        offsets: int64 [S + 1], session s is the clicks `offsets[s]:offsets[s + 1]`.
        start_times: [S], `SessionLog.start_times` of each.
        log_sessions: int64 [S], the number of each in the log that it comes from.
        num_unknown_clicks: clicks dropped because the vocabulary lacks their item.
        num_dropped_sessions: sessions dropped because they were, or became, too short.
    """

    rows: np.ndarray
    offsets: np.ndarray
    start_times: np.ndarray
    log_sessions: np.ndarray | None = None
    num_unknown_clicks: int = 0
    num_dropped_sessions: int = 0

    @property
    def num_clicks(self) -> int:
        """The number of clicks, N."""
        return len(self.rows)

    @property
    def num_sessions(self) -> int:
        """The number of sessions, S."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Clicks of each session, int64 [S]."""
        return np.diff(self.offsets)

    @classmethod
    def from_log(cls, log: SessionLog, vocabulary: Vocabulary, min_length: int = 2) -> "Sessions":
        """Looks up the items: unknown ones are dropped first, then sessions that are too short.

        Raises:
            ValueError: nothing is left.
        """
        rows = vocabulary.rows(log.item_ids)[log.item_codes]
        is_known = rows > 0
        num_unknown = int(log.num_clicks - np.count_nonzero(is_known))
        if num_unknown == log.num_clicks:
            raise ValueError(
                f"all {log.num_clicks} clicks are on items that the vocabulary lacks, for example "
                f"{log.item_ids[0]!r}; is the item column the one of the training data?"
            )
        offsets = _selected_offsets(log.offsets, is_known)
        is_long = np.diff(offsets) >= min_length
        if not is_long.any():
            raise ValueError(_describe_all_short(log, num_unknown, min_length))
        is_kept = is_known & np.repeat(is_long, log.lengths)
        return cls(
            rows=rows[is_kept],
            offsets=np.concatenate([[0], np.cumsum(np.diff(offsets)[is_long])]),
            start_times=log.start_times()[is_long],
            log_sessions=np.flatnonzero(is_long),
            num_unknown_clicks=num_unknown,
            num_dropped_sessions=int(log.num_sessions - np.count_nonzero(is_long)),
        )

    def sample(self, num_sessions: int, seed: int) -> "Sessions":
        """Returns so many whole sessions, drawn without replacement and left in their order.

        The same arguments give the same sessions. All of them where there are no more than that.
        What was dropped on the way here (`num_unknown_clicks`) stays as it is.

        Raises:
            ValueError: fewer than one session is asked for.
        """
        if num_sessions < 1:
            raise ValueError(f"a sample needs at least 1 session, got {num_sessions}")
        if num_sessions >= self.num_sessions:
            return self
        rng = np.random.default_rng(seed)
        return self._choose(np.sort(rng.choice(self.num_sessions, num_sessions, replace=False)))

    def part(self, number: int, count: int) -> "Sessions":
        """Returns one of `count` parts: every `count`-th session, from session `number` on."""
        return self if count == 1 else self._choose(np.arange(number, self.num_sessions, count))

    def _choose(self, chosen: np.ndarray) -> "Sessions":
        """Returns the sessions of these numbers."""
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        clicks = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        log_sessions = self.log_sessions
        return replace(
            self,
            rows=self.rows[clicks],
            offsets=offsets,
            start_times=self.start_times[chosen],
            log_sessions=None if log_sessions is None else log_sessions[chosen],
        )


def read_session_log(
    paths: str | os.PathLike | Iterable, columns: SessionColumns | None = None
) -> SessionLog:
    """Reads one log or several as one; the clicks of a session may be anywhere in them.

    Args:
        paths: TSV or CSV (also .gz), Parquet, or one session a line (.txt), see `read_columns`.
        columns: where they have what; `SessionColumns()` if None.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what it should be; one sentence with file, line and value.
    """
    return _group(read_columns(paths, columns or SessionColumns()))


def session_log_from_frame(
    frame: pd.DataFrame, columns: SessionColumns | None = None
) -> SessionLog:
    """Returns the clicks of a DataFrame as `read_session_log` would from its file.

    Raises:
        ValueError: a column is missing, an id or a time is missing or of the wrong type.
    """
    columns = columns or SessionColumns()
    columns.check([str(name) for name in frame.columns], "the DataFrame")
    if frame.empty:
        raise ValueError("the DataFrame has columns but no clicks")
    coded = [_factorize(frame[name], name) for name in (columns.session, columns.item)]
    times = None
    if columns.time:
        try:
            times, _ = parse_times(pa.array(frame[columns.time], from_pandas=True))
        except BadTimeError as error:
            raise ValueError(
                f"the DataFrame, row {error.row}: {columns.time} is {error.value!r}, expected a "
                "number or a timestamp"
            ) from None
    return _group(LogColumns(*coded[0], *coded[1], times))


def write_session_log(
    log: SessionLog, path: str | os.PathLike, columns: SessionColumns | None = None
) -> None:
    """Writes a log session by session, atomically, in the format of the ending of `path`.

    A log without times gives a table without that column. One session a line (`.txt`) keeps only
    the items and their order.

    Raises:
        ValueError: the ending is unknown, or the format cannot hold an id.
    """
    columns = columns or SessionColumns()
    file_format = find_format(path)
    names = columns.used if log.times is not None else columns.used[:2]
    item_ids = encode_ids(log.item_ids, file_format)
    with replace_file(path) as temporary:
        if file_format == "lines":
            write_session_lines(temporary, _session_lists(log, item_ids))
        else:
            session_ids = encode_ids(log.session_ids, file_format)
            write_table(temporary, file_format, names, _tables(log, session_ids, item_ids))


def _tables(log: SessionLog, session_ids: pa.Array, item_ids: pa.Array) -> Iterator[list]:
    session_codes = log.session_codes()
    for first in range(0, log.num_clicks, _BLOCK_CLICKS):
        clicks = slice(first, first + _BLOCK_CLICKS)
        block = [session_ids.take(session_codes[clicks]), item_ids.take(log.item_codes[clicks])]
        yield block if log.times is None else [*block, pa.array(log.times[clicks])]


def _session_lists(log: SessionLog, item_ids: pa.Array) -> Iterator[pa.ListArray]:
    targets = np.arange(_BLOCK_CLICKS, log.num_clicks + _BLOCK_CLICKS, _BLOCK_CLICKS)
    cuts = np.unique(np.minimum(np.searchsorted(log.offsets, targets), log.num_sessions))
    for first, last in zip(np.concatenate([[0], cuts]), cuts, strict=False):
        begin, end = log.offsets[first], log.offsets[last]
        offsets = (log.offsets[first : last + 1] - begin).astype(np.int32)
        ids = item_ids.take(log.item_codes[begin:end]).cast(pa.string())
        yield pa.ListArray.from_arrays(offsets, ids)


def _factorize(column: pd.Series, name: str) -> tuple[np.ndarray, np.ndarray]:
    codes, ids = pd.factorize(column)
    ids = as_text_ids(np.asarray(ids), f"{name} values")
    is_bad = (codes < 0) | np.append(ids == "", False)[codes]
    if is_bad.any():
        raise ValueError(f"the DataFrame, row {np.argmax(is_bad)}: {name} is missing or empty")
    return codes.astype(np.int32), ids


def _group(columns: LogColumns) -> SessionLog:
    """Groups clicks by session and sorts them by time, both stably."""
    codes, items, times = columns.session_codes, columns.item_codes, columns.times
    if (codes[1:] < codes[:-1]).any():
        order = np.argsort(codes, kind="stable")
        codes, items = codes[order], items[order]
        times = None if times is None else times[order]
    lengths = np.bincount(codes, minlength=len(columns.session_ids))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    log = SessionLog(items, columns.item_ids, times, offsets, columns.session_ids)
    return log if times is None else _sort_by_time(log, codes)


def _sort_by_time(log: SessionLog, session_codes: np.ndarray) -> SessionLog:
    """Sorts inside the sessions that need it; in most logs these are few."""
    falls = (log.times[1:] < log.times[:-1]) & (session_codes[1:] == session_codes[:-1])
    if not falls.any():
        return log
    is_unsorted = np.zeros(log.num_sessions, bool)
    is_unsorted[session_codes[1:][falls]] = True
    clicks = np.flatnonzero(is_unsorted[session_codes])
    order = clicks[np.lexsort((log.times[clicks], session_codes[clicks]))]
    items, times = log.item_codes.copy(), log.times.copy()
    items[clicks], times[clicks] = log.item_codes[order], log.times[order]
    return replace(log, item_codes=items, times=times)


def _selected_offsets(offsets: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(mask)])[offsets]


def _compact(codes: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drops ids that no code names."""
    is_used = np.bincount(codes, minlength=len(ids)) > 0
    return (np.cumsum(is_used, dtype=np.int32) - 1)[codes], ids[is_used]


def _describe_all_short(log: SessionLog, num_unknown: int, min_length: int) -> str:
    longest = log.lengths.max()
    if num_unknown and longest >= min_length:
        return (
            f"no session has {min_length} clicks left once the {num_unknown} of {log.num_clicks} "
            "clicks on items that the vocabulary lacks are dropped"
        )
    return (
        f"all {log.num_sessions} sessions are shorter than {min_length} clicks, the longest has "
        f"{longest}: nothing to learn from; is the session column the right one?"
    )
