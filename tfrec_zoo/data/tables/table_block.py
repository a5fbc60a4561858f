"""Rows of a table in columns, as a reader hands them on: raw numbers, and texts as codes."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Values:
    """A categorical feature of n rows.

    A single-valued one has `codes` int32 [n]; a missing value is the text "". A multi-valued one
    has the values of row i at `codes[offsets[i]:offsets[i + 1]]`, none where it is missing.

    Attributes:
        codes: int32 [n] or [nnz], position in `texts`.
        texts: object [m], distinct texts in any order; some may have no row.
        offsets: int64 [n + 1] from 0; None for a single-valued feature.
        weights: float32 [nnz], finite and not negative; None without weights.
    """

    codes: np.ndarray
    texts: np.ndarray
    offsets: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        """The number of rows, n."""
        return len(self.codes) if self.offsets is None else len(self.offsets) - 1

    def take(self, rows: np.ndarray) -> "Values":
        """Returns the values of `rows`, positions [k] in any order."""
        if self.offsets is None:
            return Values(self.codes[rows], self.texts)
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        starts = self.offsets[:-1][rows]
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        weights = None if self.weights is None else self.weights[places]
        return Values(self.codes[places], self.texts, offsets, weights)

    def without_unused(self) -> "Values":
        """Returns the same values without the texts that no row has."""
        used = np.zeros(len(self.texts), bool)
        used[self.codes] = True
        codes = (np.cumsum(used, dtype=np.int32) - 1)[self.codes]
        return Values(codes, self.texts[used], self.offsets, self.weights)


@dataclass(frozen=True, eq=False)
class TableBlock:
    """Some rows of a table.

    Attributes:
        num_rows: n.
        labels: float32 [n], 0 or 1; None where no label was asked for.
        weights: float32 [n], finite and not negative; None without a column of weights.
        times: int64 or float64 [n], as `time_column.parse_times` reads them, in float64 wherever
            one of the block has a fraction; None without a column of times.
        dense: name of a column -> float32 [n], NaN where it is missing. Raw: no transform is
            applied. The columns of dense features and those that are cut into buckets.
        categorical: name of a feature -> its values; not those that are cut into buckets.
        num_bad_rows: rows passed over so far, in the whole stream.
        vectors: name of a vector feature -> float32 [n, size], NaN throughout where it is missing.
        ids: object [n], the items that the rows are about, none of them empty; None in a table of
            examples. So are the next two.
        numbers: int64 [n], of the rows in their file, from 1; in a text, of lines.
        place: the file, and what its rows are counted in.
    """

    num_rows: int
    labels: np.ndarray | None
    weights: np.ndarray | None
    times: np.ndarray | None
    dense: dict[str, np.ndarray]
    categorical: dict[str, Values]
    num_bad_rows: int = 0
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    ids: np.ndarray | None = None
    numbers: np.ndarray | None = None
    place: str = ""

    def take(self, rows: np.ndarray) -> "TableBlock":
        """Returns the block of `rows`, positions [k] in any order."""
        labels, weights, times, ids, numbers = (
            None if column is None else column[rows]
            for column in (self.labels, self.weights, self.times, self.ids, self.numbers)
        )
        return TableBlock(
            num_rows=len(rows),
            labels=labels,
            weights=weights,
            times=times,
            dense={name: column[rows] for name, column in self.dense.items()},
            categorical={name: values.take(rows) for name, values in self.categorical.items()},
            num_bad_rows=self.num_bad_rows,
            vectors={name: column[rows] for name, column in self.vectors.items()},
            ids=ids,
            numbers=numbers,
            place=self.place,
        )
