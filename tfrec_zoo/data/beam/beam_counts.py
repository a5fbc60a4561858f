"""Counts of keys over the blocks of a Beam pipeline, in arrays: never an element for each key."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import apache_beam as beam
import numpy as np
import pyarrow as pa

Keys = TypeVar("Keys", np.ndarray, pa.Array)
# Distinct keys, and how often each occurs, int64.
Counts = tuple[Keys, np.ndarray]

# Pieces are added up when they have so many keys, or as many as what was added up before.
_LEAST_KEYS = 1 << 18


class SumCounts(beam.CombineFn):
    """Adds up counts; memory holds the distinct keys."""

    def __init__(self, add: Callable[[Sequence[Counts]], Counts]) -> None:
        """Takes `add_text_counts` or `add_number_counts`."""
        self._add = add

    def create_accumulator(self) -> list[Counts]:
        """Returns no pieces."""
        return []

    def add_input(self, pieces: list[Counts], piece: Counts) -> list[Counts]:
        """Appends a piece."""
        pieces.append(piece)
        num_waiting = sum(len(keys) for keys, _ in pieces[1:])
        is_enough = num_waiting >= max(_LEAST_KEYS, len(pieces[0][0]))
        return self.compact(pieces) if is_enough else pieces

    def merge_accumulators(self, accumulators: Sequence[list[Counts]]) -> list[Counts]:
        """Returns the pieces of all."""
        return self.compact([piece for pieces in accumulators for piece in pieces])

    def compact(self, pieces: list[Counts]) -> list[Counts]:
        """Adds the pieces up."""
        return [self._add(pieces)] if len(pieces) > 1 else pieces

    def extract_output(self, pieces: list[Counts]) -> Counts:
        """Returns the sums."""
        return self._add(pieces)


def add_text_counts(pieces: Sequence[Counts]) -> Counts:
    """Returns the distinct texts of all pieces, large_string, and the sums of their counts."""
    found = pa.concat_arrays([texts for texts, _ in pieces]).dictionary_encode()
    totals = np.zeros(len(found.dictionary), np.int64)
    np.add.at(totals, found.indices.to_numpy(), np.concatenate([counts for _, counts in pieces]))
    return found.dictionary, totals


def add_number_counts(pieces: Sequence[Counts]) -> Counts:
    """Returns the distinct numbers of all pieces, ascending, and the sums of their counts."""
    numbers = np.concatenate([numbers for numbers, _ in pieces])
    values, inverse = np.unique(numbers, return_inverse=True)
    totals = np.zeros(len(values), np.int64)
    np.add.at(totals, inverse, np.concatenate([counts for _, counts in pieces]))
    return values, totals


def count_numbers(numbers: np.ndarray) -> Counts:
    """Returns the distinct numbers, ascending, and how often each occurs."""
    return np.unique(numbers, return_counts=True)
