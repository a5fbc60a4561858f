"""Mean, deviation and quantiles of a column of numbers that comes block by block."""

from collections.abc import Mapping

import numpy as np

from tfrec_zoo.data.clicks.click_schema import log_numbers
from tfrec_zoo.data.tables.table_columns import DenseColumn
from tfrec_zoo.data.tables.table_spec import TableSpec

# Before the name of a column whose logarithms are measured.
_LOG = "log\0"
# Quantiles of more numbers than these are those of a random sample.
SAMPLE_SIZE = 1 << 20


def name_scale(column: DenseColumn) -> str | None:
    """Returns the name of the numbers whose mean and deviation a feature needs; None for none."""
    if column.transform not in ("standard", "log_standard"):
        return None
    return column.column if column.transform == "standard" else _LOG + column.column


def list_measured(spec: TableSpec) -> tuple[str, ...]:
    """Returns the names of all numbers that features are measured by, their buckets included."""
    names = [name for column in spec.dense if (name := name_scale(column))]
    names += [column.column for column in spec.categorical if column.buckets]
    return tuple(dict.fromkeys(names))


def take_numbers(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns the numbers of that name, float32 [n], from raw columns."""
    column = name.removeprefix(_LOG)
    return columns[name] if column == name else log_numbers(columns[column])


class NumberStatistics:
    """What is known of the numbers so far; missing ones (NaN) are passed over.

    Attributes:
        count: of numbers.
        mean: float64; 0 without numbers.
    """

    def __init__(self, seed: int, sample_size: int = SAMPLE_SIZE) -> None:
        """Begins with none.

        Args:
            seed: of the sample.
            sample_size: numbers that are kept for the quantiles.
        """
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0
        self._rng = np.random.default_rng(seed)
        self._sample_size = sample_size
        self._sample = np.zeros(0, np.float32)
        self._draws = np.zeros(0)

    @property
    def std(self) -> float:
        """The deviation, float64; 1 where all numbers are equal, so that it can divide."""
        variance = self._squares / max(self.count, 1)
        return float(np.sqrt(variance)) if variance > 0 else 1.0

    def add(self, values: np.ndarray) -> None:
        """Takes in float32 [n]."""
        values = values[~np.isnan(values)]
        if not len(values):
            return
        exact = values.astype(np.float64)
        mean, total = exact.mean(), self.count + len(exact)
        # The sums of squares about two means, brought to the mean of both (Chan et al. 1979).
        shift = mean - self.mean
        self._squares += ((exact - mean) ** 2).sum() + shift**2 * self.count * len(exact) / total
        self.mean += float(shift * len(exact) / total)
        self.count = total
        # The sample is those of all numbers whose random draw is among the smallest.
        self._sample = np.concatenate([self._sample, values])
        self._draws = np.concatenate([self._draws, self._rng.random(len(values))])
        if len(self._sample) > self._sample_size:
            kept = np.argpartition(self._draws, self._sample_size)[: self._sample_size]
            self._sample, self._draws = self._sample[kept], self._draws[kept]

    def find_boundaries(self, num_buckets: int) -> tuple[float, ...]:
        """Returns the boundaries of up to `num_buckets` buckets with about equal counts.

        Each is one of the numbers, the first of its bucket; there are fewer buckets where a number
        is so frequent that it would fill several.
        """
        if not len(self._sample):
            return ()
        values = np.sort(self._sample)
        places = np.arange(1, num_buckets) * len(values) // num_buckets
        boundaries = np.unique(values[places])
        return tuple(boundaries[boundaries > values[0]].tolist())
