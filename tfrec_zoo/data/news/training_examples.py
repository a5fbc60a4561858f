"""What SSR is trained on: the targets of session logs, and the clicks of impressions."""

import zlib
from dataclasses import dataclass

import numpy as np

from tfrec_zoo.data.news.histories import Histories
from tfrec_zoo.data.news.impressions import Impressions


@dataclass(frozen=True, eq=False)
class TrainingExamples:
    """Examples of sessions and, behind them, of impressions, numbered from 0 on.

    Attributes:
        histories: the examples of the session logs.
        impressions: each click of theirs is an example, with the history of its impression; None:
            there are none.
    """

    histories: Histories
    impressions: Impressions | None = None

    def __post_init__(self) -> None:
        """Finds the clicks of the impressions."""
        clicks = np.zeros(0, np.int64), np.zeros(0, np.int32)
        if self.impressions is not None:
            clicks = self.impressions.list_clicked()
        object.__setattr__(self, "_clicks", clicks)

    @property
    def num_examples(self) -> int:
        """The number of examples, E."""
        return self.histories.num_examples + len(self._clicks[0])

    @property
    def has_times(self) -> bool:
        """Whether it is known when each target was clicked."""
        return self.histories.times is not None

    @property
    def lengths(self) -> np.ndarray:
        """The clicks of each example's history, 1 or more; int64 [E]."""
        if self.impressions is None:
            return self.histories.lengths
        numbers, _ = self._clicks
        lengths = np.diff(self.impressions.history_offsets)[numbers]
        lengths = np.minimum(lengths, self.histories.max_history)
        return np.concatenate([self.histories.lengths, lengths])

    @property
    def fingerprint(self) -> str:
        """Tells one content from another: a short text."""
        histories, impressions = self.histories, self.impressions
        parts = [histories.rows, histories.offsets, histories.targets, histories.sessions]
        parts += [] if histories.times is None else [histories.times]
        if impressions is not None:
            parts += [impressions.history_rows, impressions.history_offsets, impressions.times]
            parts += [impressions.shown_rows, impressions.is_clicked, impressions.shown_offsets]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(np.ascontiguousarray(part), checksum)
        return f"{self.num_examples} examples, checksum {checksum:08x}"

    def is_shown(self, indices: np.ndarray) -> np.ndarray:
        """Returns which examples, integer [n], are clicks of impressions; bool [n]."""
        return np.asarray(indices) >= self.histories.num_examples

    def take(self, indices: np.ndarray, width: int) -> dict[str, np.ndarray]:
        """Returns some examples as arrays.

        Args:
            indices: integer [n], numbers of examples.
            width: T; of a longer history the most recent clicks are kept.

        Returns:
            `history` int32 [n, T], rows of the catalogue, 0 for padding on the right; `lengths`
            int32 [n]; `target` int32 [n]; `time` [n] of the target, 0 without times.
        """
        indices = np.asarray(indices, np.int64)
        is_shown = self.is_shown(indices)
        of_sessions = self.histories.take(np.where(is_shown, 0, indices), width=width)
        batch = {name: of_sessions[name] for name in ("history", "lengths", "target")}
        batch["time"] = of_sessions.get("time", np.zeros(len(indices)))
        if is_shown.any():
            numbers, rows = self._clicks
            places = indices[is_shown] - self.histories.num_examples
            batch = {name: array.copy() for name, array in batch.items()}
            of_impressions = self.impressions.histories(numbers[places], width)
            for name, array in {**of_impressions, "target": rows[places]}.items():
                batch[name][is_shown] = array
        return batch

    def draw_shown(self, rng: np.random.Generator, indices: np.ndarray, count: int) -> np.ndarray:
        """Draws from what was shown with each target and not clicked, with replacement.

        Args:
            rng: of the draws.
            indices: integer [n], numbers of examples.
            count: draws for each.

        Returns:
            int32 [n, count], rows; 0 for examples of session logs, which show nothing.
        """
        shown = np.zeros((len(indices), count), np.int32)
        is_shown = self.is_shown(indices)
        if is_shown.any():
            places = np.asarray(indices)[is_shown] - self.histories.num_examples
            numbers = self._clicks[0][places]
            shown[is_shown] = self.impressions.draw_unclicked(rng, numbers, count)
        return shown
