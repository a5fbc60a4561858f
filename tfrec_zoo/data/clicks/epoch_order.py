"""The order of an epoch's examples, of which any piece can be had without the whole."""

import numpy as np


class EpochOrder:
    """A permutation of 0..n-1 as a function of its seed: window by window, or of all at once.

    Windows of neighbouring numbers come in random order, the numbers of each in random order. A
    piece of the permutation costs the windows that it meets.
    """

    def __init__(self, num_rows: int, window: int, seed: tuple[int, ...]) -> None:
        """Takes what decides the order.

        Args:
            num_rows: n.
            window: numbers that are shuffled among each other; 0: all of them.
            seed: of this epoch.
        """
        self._num_rows, self._seed = num_rows, seed
        self._window = min(window or num_rows, num_rows) or 1
        num_windows = -(-num_rows // self._window)
        self._windows = np.random.default_rng((*seed, 0)).permutation(num_windows)
        sizes = np.minimum(self._window, num_rows - self._windows * self._window)
        self._ends = np.cumsum(sizes)
        self._current: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def piece(self, start: int, stop: int) -> np.ndarray:
        """Returns the numbers at `start:stop` of the permutation, int64."""
        stop = min(stop, self._num_rows)
        pieces = [np.zeros(0, np.int64)]
        while start < stop:
            place = int(np.searchsorted(self._ends, start, side="right"))
            end = int(self._ends[place])
            numbers = self._shuffle_window(place)
            first = end - len(numbers)
            pieces.append(numbers[start - first : min(stop, end) - first])
            start = end
        return np.concatenate(pieces)

    def _shuffle_window(self, place: int) -> np.ndarray:
        # The one at hand is kept, for pieces are asked for one after the other.
        if self._current[0] != place:
            window = int(self._windows[place])
            first = window * self._window
            size = min(self._window, self._num_rows - first)
            rng = np.random.default_rng((*self._seed, 1, window))
            self._current = place, first + rng.permutation(size)
        return self._current[1]
