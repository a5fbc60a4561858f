"""How much an item was being shown at a time: what a site has on its pages, told by impressions.

exposures = Exposures.from_logs([log], catalogue.vocabulary, half_life=3600)
levels = exposures.levels(rows, times)
"""

from collections.abc import Iterable

import numpy as np

from tfrec_zoo.data.news.impressions import ImpressionLog
from tfrec_zoo.vocabulary import Vocabulary


class Exposures:
    """Decaying counts of shows: each show before a request counts `2 ** (-age / half_life)`.

    Only what was shown strictly before a request counts for it, so that a request never sees its
    own impression.
    """

    def __init__(self, rows: np.ndarray, times: np.ndarray, half_life: float) -> None:
        """Takes the shows in any order.

        Args:
            rows: int [N], rows of a catalogue.
            times: [N], when each was shown.
            half_life: in the unit of the times.
        """
        order = np.lexsort((times, rows))
        rows, times = np.asarray(rows, np.int64)[order], np.asarray(times, np.float64)[order]
        self._half_life = half_life
        self._first, self._last = (times.min(), times.max()) if len(times) else (0.0, 0.0)
        # One number for row and time, so that one search finds the shows of a row before a time.
        self._keys = self._make_keys(rows, times)
        self._rows, self._times = rows, times
        self._levels = _accumulate(rows, times, half_life)

    @classmethod
    def from_logs(
        cls, logs: Iterable[ImpressionLog], vocabulary: Vocabulary, half_life: float
    ) -> "Exposures":
        """Takes what impressions showed of the items of a vocabulary."""
        rows, times = [np.zeros(0, np.int64)], [np.zeros(0)]
        for log in logs:
            shown = vocabulary.rows(log.item_ids)[log.shown_codes]
            rows.append(shown[shown > 0])
            times.append(np.repeat(log.times, np.diff(log.shown_offsets))[shown > 0])
        return cls(np.concatenate(rows), np.concatenate(times), half_life)

    @property
    def last_time(self) -> float:
        """When the last show was."""
        return self._last

    def levels(self, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Returns the decayed counts of shows of `rows` before `times`, broadcast; float64."""
        rows, times = np.broadcast_arrays(np.asarray(rows, np.int64), np.asarray(times, float))
        if not len(self._keys):
            return np.zeros(rows.shape)
        keys = self._make_keys(rows, np.clip(times, self._first, self._last + 1))
        places = np.searchsorted(self._keys, keys, side="left") - 1
        is_shown = (places >= 0) & (self._rows[np.maximum(places, 0)] == rows)
        places = np.maximum(places, 0)
        passed = np.maximum(times - self._times[places], 0)
        return np.where(is_shown, self._levels[places] * 0.5 ** (passed / self._half_life), 0.0)

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
