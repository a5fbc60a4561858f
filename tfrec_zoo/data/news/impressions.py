"""Impressions: what was shown at once, what of it was clicked, and what had been read before.

log = read_impressions("behaviors.tsv")
impressions = Impressions.from_log(log, catalogue.vocabulary)
rows, is_clicked = impressions.shown(0)
"""

from dataclasses import dataclass

import numpy as np

from tfrec_zoo.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class ImpressionLog:
    """Impressions in the order of the file, with raw ids.

    Attributes:
        impression_ids: object [M].
        user_ids: object [M].
        times: int64 or float64 [M], seconds since 1970-01-01, of clocks without a zone as if UTC.
        item_ids: object [n], distinct ids.
        history_codes: int32 [H], place in `item_ids`; of impression m are those at
            `history_offsets[m]:history_offsets[m + 1]`, the most recent one last.
        history_offsets: int64 [M + 1].
        shown_codes: int32 [K], place in `item_ids` of what was shown.
        is_clicked: bool [K].
        shown_offsets: int64 [M + 1].
    """

    impression_ids: np.ndarray
    user_ids: np.ndarray
    times: np.ndarray
    item_ids: np.ndarray
    history_codes: np.ndarray
    history_offsets: np.ndarray
    shown_codes: np.ndarray
    is_clicked: np.ndarray
    shown_offsets: np.ndarray

    @property
    def num_impressions(self) -> int:
        """The number of impressions, M."""
        return len(self.impression_ids)

    def select(self, chosen: np.ndarray) -> "ImpressionLog":
        """Returns some impressions, by a mask [M] or their numbers, with the same `item_ids`."""
        chosen = np.arange(self.num_impressions)[chosen]
        history, history_offsets = take_runs(self.history_offsets, chosen)
        shown, shown_offsets = take_runs(self.shown_offsets, chosen)
        return ImpressionLog(
            impression_ids=self.impression_ids[chosen],
            user_ids=self.user_ids[chosen],
            times=self.times[chosen],
            item_ids=self.item_ids,
            history_codes=self.history_codes[history],
            history_offsets=history_offsets,
            shown_codes=self.shown_codes[shown],
            is_clicked=self.is_clicked[shown],
            shown_offsets=shown_offsets,
        )

    def shown_ids(self) -> np.ndarray:
        """Returns the distinct ids of what was shown, object."""
        return self.item_ids[np.unique(self.shown_codes)]

    def occurring_ids(self) -> np.ndarray:
        """Returns the distinct ids of what was shown or had been read, object."""
        return self.item_ids[np.unique(np.concatenate([self.shown_codes, self.history_codes]))]


@dataclass(frozen=True, eq=False)
class Impressions:
    """Impressions in the rows of a catalogue; what it lacks is left out.

    Attributes:
        history_rows: int32 [H], never 0, the most recent one of an impression last.
        history_offsets: int64 [M + 1].
        shown_rows: int32 [K], never 0.
        is_clicked: bool [K].
        shown_offsets: int64 [M + 1].
        times: [M].
        log_numbers: int64 [M], the number of each in the log that it comes from.
        num_unknown_shown: shown items that the catalogue lacks.
        num_unknown_history: items of histories that the catalogue lacks.
        num_dropped: impressions left out: see `from_log`.
    """

    history_rows: np.ndarray
    history_offsets: np.ndarray
    shown_rows: np.ndarray
    is_clicked: np.ndarray
    shown_offsets: np.ndarray
    times: np.ndarray
    log_numbers: np.ndarray
    num_unknown_shown: int = 0
    num_unknown_history: int = 0
    num_dropped: int = 0

    @classmethod
    def from_log(cls, log: ImpressionLog, vocabulary: Vocabulary) -> "Impressions":
        """Looks up the items, and keeps the impressions from which something can be ranked.

        That are those with a history, something clicked and something not, as far as the catalogue
        knows these; in the others no metric is defined, or nothing to rank by.

        Raises:
            ValueError: none is left.
        """
        rows = vocabulary.rows(log.item_ids)
        history, history_offsets = _drop(rows[log.history_codes] > 0, log.history_offsets)
        shown, shown_offsets = _drop(rows[log.shown_codes] > 0, log.shown_offsets)
        is_clicked = log.is_clicked[shown]
        clicks = np.concatenate([[0], np.cumsum(is_clicked)])[shown_offsets]
        num_clicked, num_shown = np.diff(clicks), np.diff(shown_offsets)
        is_kept = (np.diff(history_offsets) > 0) & (num_clicked > 0) & (num_clicked < num_shown)
        if not is_kept.any():
            raise ValueError(
                f"none of {log.num_impressions} impressions has a history, a click and something "
                "not clicked among the items of the catalogue"
            )
        kept = np.flatnonzero(is_kept)
        history_places, kept_history_offsets = take_runs(history_offsets, kept)
        shown_places, kept_shown_offsets = take_runs(shown_offsets, kept)
        return cls(
            history_rows=rows[log.history_codes[history[history_places]]],
            history_offsets=kept_history_offsets,
            shown_rows=rows[log.shown_codes[shown[shown_places]]],
            is_clicked=is_clicked[shown_places],
            shown_offsets=kept_shown_offsets,
            times=log.times[kept],
            log_numbers=kept,
            num_unknown_shown=len(log.shown_codes) - len(shown),
            num_unknown_history=len(log.history_codes) - len(history),
            num_dropped=log.num_impressions - len(kept),
        )

    @property
    def num_impressions(self) -> int:
        """The number of impressions, M."""
        return len(self.log_numbers)

    def histories(self, indices: np.ndarray, width: int) -> dict[str, np.ndarray]:
        """Returns the `width` most recent items of each history, padded on the right.

        Args:
            indices: integer [n], numbers of impressions.
            width: T.

        Returns:
            `history` int32 [n, T], 0 for padding; `lengths` int32 [n], from 1 to T; `time` [n].
        """
        indices = np.asarray(indices, np.int64)
        ends = self.history_offsets[indices + 1]
        lengths = np.minimum(ends - self.history_offsets[indices], width)
        is_item = np.arange(width) < lengths[:, None]
        places = np.where(is_item, (ends - lengths)[:, None] + np.arange(width), 0)
        return {
            "history": np.where(is_item, self.history_rows[places], 0).astype(np.int32, copy=False),
            "lengths": lengths.astype(np.int32),
            "time": self.times[indices],
        }

    def shown(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows that an impression showed, int32 [k], and which were clicked, bool."""
        places = slice(*self.shown_offsets[index : index + 2])
        return self.shown_rows[places], self.is_clicked[places]

    def list_clicked(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the number of the impression, int64, and the row, int32, of each click, [P]."""
        numbers = np.repeat(np.arange(self.num_impressions), np.diff(self.shown_offsets))
        return numbers[self.is_clicked], self.shown_rows[self.is_clicked]

    def draw_unclicked(
        self, rng: np.random.Generator, indices: np.ndarray, count: int
    ) -> np.ndarray:
        """Draws from what impressions showed in vain, uniformly and with replacement.

        Args:
            rng: of the draws.
            indices: integer [n], numbers of impressions.
            count: draws for each.

        Returns:
            int32 [n, count], rows.
        """
        unclicked, offsets = _drop(~self.is_clicked, self.shown_offsets)
        starts, ends = offsets[indices], offsets[np.asarray(indices) + 1]
        draws = rng.random((len(starts), count)) * (ends - starts)[:, None]
        return self.shown_rows[unclicked[starts[:, None] + draws.astype(np.int64)]]


def take_runs(offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the elements of some runs stand, and the offsets of these runs alone.

    Args:
        offsets: int64 [M + 1], run m is the elements `offsets[m]:offsets[m + 1]`.
        chosen: integer [m], numbers of runs.
    """
    lengths = np.diff(offsets)[chosen]
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return np.arange(ends[-1]) + np.repeat(offsets[:-1][chosen] - ends[:-1], lengths), ends


def _drop(is_kept: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the elements stand that are kept, and the offsets without the others."""
    return np.flatnonzero(is_kept), np.concatenate([[0], np.cumsum(is_kept)])[offsets]
