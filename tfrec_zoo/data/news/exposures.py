"""How much an item was being shown at a time, and how often it had been clicked when it was.

exposures = Exposures.from_logs([log], catalogue.vocabulary, half_life=3600)
levels = exposures.levels(rows, times)
lifts = exposures.click_lifts(rows, times, prior=10)
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from tfrec_zoo.data.news.impressions import ImpressionLog
from tfrec_zoo.vocabulary import Vocabulary

Items = TypeVar("Items")


class Exposures:
    """Decaying counts of shows: each show before a request counts `2 ** (-age / half_life)`.

    Only what was shown strictly before a request counts for it, so that a request never sees its
    own impression.
    """

    def __init__(
        self,
        rows: np.ndarray,
        times: np.ndarray,
        half_life: float,
        is_clicked: np.ndarray | None = None,
    ) -> None:
        """Takes the shows in any order.

        Args:
            rows: int [N], rows of a catalogue.
            times: [N], when each was shown.
            half_life: in the unit of the times.
            is_clicked: bool [N], which were clicked; None: none.
        """
        order = np.lexsort((times, rows))
        clicks = np.zeros(len(order)) if is_clicked is None else np.asarray(is_clicked)[order]
        rows, times = np.asarray(rows, np.int64)[order], np.asarray(times, np.float64)[order]
        self._half_life = half_life
        self._first, self._last = (times.min(), times.max()) if len(times) else (0.0, 0.0)
        # One number for row and time, so that one search finds the shows of a row before a time.
        self._keys = self._make_keys(rows, times)
        self._rows, self._times = rows, times
        self._levels = _accumulate(rows, times, half_life)
        self._clicks = np.concatenate([[0], np.cumsum(clicks)])

    @classmethod
    def from_logs(
        cls, logs: Iterable[ImpressionLog], vocabulary: Vocabulary, half_life: float
    ) -> "Exposures":
        """Takes what impressions showed of the items of a vocabulary."""
        parts = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))]
        for log in logs:
            shown = vocabulary.rows(log.item_ids)[log.shown_codes]
            times = np.repeat(log.times, np.diff(log.shown_offsets))
            is_known = shown > 0
            parts.append((shown[is_known], times[is_known], log.is_clicked[is_known]))
        rows, times, is_clicked = map(np.concatenate, zip(*parts, strict=True))
        return cls(rows, times, half_life, is_clicked)

    @property
    def last_time(self) -> float:
        """When the last show was."""
        return self._last

    def levels(self, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Returns the decayed counts of shows of `rows` before `times`, broadcast; float64."""
        rows, times = np.broadcast_arrays(np.asarray(rows, np.int64), np.asarray(times, float))
        if not len(self._keys):
            return np.zeros(rows.shape)
        ends = self._find_ends(rows, times)
        places = np.maximum(ends - 1, 0)
        is_shown = (ends > 0) & (self._rows[places] == rows)
        passed = np.maximum(times - self._times[places], 0)
        return np.where(is_shown, self._levels[places] * 0.5 ** (passed / self._half_life), 0.0)

    def click_lifts(self, rows: np.ndarray, times: np.ndarray, prior: float) -> np.ndarray:
        """Returns the click rates of `rows` before `times`, as multiples of that of all shows.

        An item has, beside its own, `prior` shows that were clicked as often as all; where nothing
        is known of it the lift is 1. Broadcast; float64.
        """
        rows, times = np.broadcast_arrays(np.asarray(rows, np.int64), np.asarray(times, float))
        rate = self._clicks[-1] / max(len(self._rows), 1)
        if not rate:
            return np.ones(rows.shape)
        starts = np.searchsorted(self._rows, rows, side="left")
        ends = np.maximum(self._find_ends(rows, times), starts)
        clicks = self._clicks[ends] - self._clicks[starts]
        return (clicks / rate + prior) / (ends - starts + prior)

    def describe(self, catalogue: Items, time: float, prior: float) -> Items:
        """Returns a catalogue with what is known of all its items before a time.

        Args:
            catalogue: an `ItemCatalogue` of the rows.
            time: of the requests to be answered.
            prior: see `click_lifts`.
        """
        rows = np.arange(catalogue.num_rows)
        shows, lifts = self.levels(rows, time), self.click_lifts(rows, time, prior)
        return replace(catalogue, shows=shows, click_lifts=lifts)

    def _find_ends(self, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Returns the number of shows up to those of a row before a time, in the order kept."""
        keys = self._make_keys(rows, np.clip(times, self._first, self._last + 1))
        return np.searchsorted(self._keys, keys, side="left")

    def _make_keys(self, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
        return rows * (self._last - self._first + 2) + (times - self._first)


def _accumulate(rows: np.ndarray, times: np.ndarray, half_life: float) -> np.ndarray:
    """Returns the level of a row right after each of its shows, in the order of rows and times.

    level_n = 1 + level_(n-1) 2 ** (-(t_n - t_(n-1)) / half_life), summed in pieces within which
    the powers stay finite.
    """
    levels = np.ones(len(rows))
    is_first = np.ones(len(rows), bool)
    is_first[1:] = rows[1:] != rows[:-1]
    factors = np.zeros(len(rows))
    factors[1:] = 0.5 ** (np.maximum(np.diff(times), 0) / half_life)
    factors[is_first] = 0.0
    # Doubling: after step k each level holds the last 2 ** k shows of its row.
    reach = 1
    while reach < len(rows) and factors.any():
        levels[reach:] += factors[reach:] * levels[:-reach]
        factors[reach:] *= factors[:-reach]
        factors[:reach] = 0.0
        reach *= 2
    return levels
