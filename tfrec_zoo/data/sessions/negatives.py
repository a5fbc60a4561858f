"""Negatives by popularity: exact draws from `p_j ~ count_j ** exponent` by the alias method."""

import numpy as np


class NegativeSampler:
    """Draws rows i.i.d. with replacement, `P(row) = counts[row] ** exponent / sum`.

    Row 0 (padding) is never drawn, nor is a row without a count; exponent 0 is the uniform
    distribution over the rows that have one. The alias method (Walker 1977) needs one uniform
    number and two look-ups a draw, whatever the catalogue's size, and works in float64: a float32
    cumulative sum would leave 8 % of 20 million items without a chance.
    """

    def __init__(self, row_counts: np.ndarray, exponent: float) -> None:
        """Prepares the tables.

        Args:
            row_counts: int64 [V + 1], how often each row occurs in training.
            exponent: of the popularity; the papers' alpha.

        Raises:
            ValueError: no row has a count.
        """
        self._rows = np.flatnonzero(row_counts).astype(np.int32)
        self._rows = self._rows[self._rows > 0]
        if not len(self._rows):
            raise ValueError("negatives need at least one item with a count, got none")
        # Relative to the greatest, so that no exponent overflows.
        weights = (row_counts[self._rows] / row_counts[self._rows].max()) ** exponent
        self._probabilities = weights / weights.sum()
        self._keep, self._alias = build_alias_table(self._probabilities)
        self._num_rows = len(row_counts)

    def log_probabilities(self) -> np.ndarray:
        """Returns float64 [V + 1]: each row's log-probability, -inf where it is never drawn."""
        result = np.full(self._num_rows, -np.inf)
        result[self._rows] = np.log(self._probabilities)
        return result

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Returns int32 rows of `shape`."""
        position = rng.random(shape)
        position *= len(self._rows)
        slot = position.astype(np.int32)
        position -= slot
        # The fraction left over is uniform itself: it decides between the slot and its alias.
        slot = np.where(position < self._keep[slot], slot, self._alias[slot])
        return self._rows[slot]


def build_alias_table(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns `keep` float64 [n] and `alias` int32 [n] of the alias method, without a Python loop.

    A slot holds `1 / n` of the mass: slot i yields i with probability `keep[i]`, else `alias[i]`.
    Slots lighter than that are filled up by the heavy ones in turn; where a heavy slot gave too
    much, the next heavy one fills it. Cumulative deficits and surpluses tell who fills whom
    (Huebschle-Schneider and Sanders 2019).
    """
    scaled = probabilities * (len(probabilities) / probabilities.sum())
    is_light = scaled < 1
    # Rounding may leave all of some equal probabilities just below 1: one must be there to fill.
    is_light[np.argmax(scaled)] = False
    light, heavy = np.flatnonzero(is_light), np.flatnonzero(~is_light)
    deficit = np.cumsum(1 - scaled[light])
    surplus = np.cumsum(scaled[heavy] - 1)
    keep = np.minimum(scaled, 1)
    alias = np.arange(len(scaled), dtype=np.int32)
    # A light slot is filled by the heavy one whose surplus is not yet used up when its turn comes.
    before = np.concatenate([[0.0], deficit[:-1]]) if len(light) else deficit
    filler = np.minimum(np.searchsorted(surplus, before, side="left"), len(heavy) - 1)
    alias[light] = heavy[filler]
    # The light slot that overdraws a heavy one, if any, leaves it with a deficit for the next
    # heavy.
    overdrawing = np.searchsorted(deficit, surplus, side="right")
    is_overdrawn = (overdrawing < len(light)) & (np.arange(len(heavy)) < len(heavy) - 1)
    given = deficit[np.minimum(overdrawing, len(light) - 1)] if len(light) else surplus
    keep[heavy] = np.where(is_overdrawn, np.clip(1 + surplus - given, 0, 1), 1)
    alias[heavy[:-1]] = np.where(is_overdrawn[:-1], heavy[1:], heavy[:-1])
    return keep, alias
