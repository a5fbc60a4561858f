"""Scales and buckets of columns of numbers, measured in a Beam pipeline.

The results are those of `NumberStatistics` over the same blocks one after the other: the moments of
blocks are brought together in their order, and a number has the same random draw, which decides
whether it is in the sample for the quantiles.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsSingleton, PCollection

from tfrec_zoo.data.beam.beam_blocks import PlacedBlock
from tfrec_zoo.data.clicks.click_split import TRAIN
from tfrec_zoo.data.clicks.number_statistics import SAMPLE_SIZE, NumberStatistics, take_numbers

# Name of a column -> for each block, how many numbers the blocks before it have.
Starts = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True)
class Moments:
    """Those of a block's numbers: how many, their mean, the sum of squares about it."""

    ordinal: int
    count: int
    mean: float
    squares: float


@dataclass(frozen=True, eq=False)
class Measurement:
    """What is known of some blocks' numbers.

    Attributes:
        moments: of each block.
        draws: float64 [n], the random draws of the sampled numbers.
        sample: float32 [n], those numbers.
    """

    moments: list[Moments]
    draws: np.ndarray
    sample: np.ndarray


class MeasureNumbers(beam.PTransform):
    """Placed blocks -> one dictionary: name of a column -> `Measurement` of its training part."""

    def __init__(self, columns: Sequence[str], seed: int) -> None:
        """Takes the columns to measure, and the seed of the samples."""
        super().__init__()
        self._columns, self._seed = tuple(columns), seed

    def expand(self, blocks: PCollection) -> PCollection:
        """Builds the steps."""
        counts = blocks | "Count" >> beam.Map(_count_numbers, self._columns)
        counts = counts | "ListCounts" >> beam.combiners.ToList()
        starts = counts | "Starts" >> beam.Map(_find_starts, self._columns)
        found = blocks | "Measure" >> beam.FlatMap(_measure, self._seed, AsSingleton(starts))
        found = found | "Join" >> beam.CombinePerKey(_join)
        return found | "Collect" >> beam.combiners.ToDict()


def learn_scale(measurement: Measurement) -> tuple[float, float]:
    """Returns mean and standard deviation, as `NumberStatistics` has them."""
    count, mean, squares = 0, 0.0, 0.0
    for block in sorted(measurement.moments, key=lambda block: block.ordinal):
        total, shift = count + block.count, block.mean - mean
        squares += block.squares + shift**2 * count * block.count / total
        mean += shift * block.count / total
        count = total
    variance = squares / max(count, 1)
    return mean, float(np.sqrt(variance)) if variance > 0 else 1.0


def learn_boundaries(measurement: Measurement, num_buckets: int) -> tuple[float, ...]:
    """Returns the boundaries of buckets, as `NumberStatistics.find_boundaries` does."""
    statistics = NumberStatistics(seed=0)
    statistics.add(measurement.sample)
    return statistics.find_boundaries(num_buckets)


def _numbers(block: PlacedBlock, column: str) -> np.ndarray:
    values = take_numbers(block.rows.dense, column)[block.parts == TRAIN]
    return values[~np.isnan(values)]


def _count_numbers(block: PlacedBlock, columns: Sequence[str]) -> tuple[int, dict[str, int]]:
    return block.ordinal, {column: len(_numbers(block, column)) for column in columns}


def _find_starts(counts: Sequence[tuple[int, dict[str, int]]], columns: Sequence[str]) -> Starts:
    counts = sorted(counts, key=lambda pair: pair[0])
    starts = {}
    for column in columns:
        ends = np.cumsum([found[column] for _, found in counts]).tolist()
        ordinals = [ordinal for ordinal, _ in counts]
        starts[column] = dict(zip(ordinals, [0, *ends[:-1]], strict=True))
    return starts


def _measure(block: PlacedBlock, seed: int, starts: Starts) -> Iterator[tuple[str, Measurement]]:
    for column, start_of in starts.items():
        values = _numbers(block, column)
        moments = []
        if len(values):
            exact = values.astype(np.float64)
            squares = float(((exact - exact.mean()) ** 2).sum())
            moments.append(Moments(block.ordinal, len(values), float(exact.mean()), squares))
        # One draw a number: the generator goes on from those of the blocks before.
        bits = np.random.PCG64(seed).advance(start_of[block.ordinal])
        draws = np.random.Generator(bits).random(len(values))
        yield column, _cut_sample(Measurement(moments, draws, values))


def _join(found: Iterable[Measurement]) -> Measurement:
    found = list(found)
    return _cut_sample(
        Measurement(
            moments=[moments for part in found for moments in part.moments],
            draws=np.concatenate([np.zeros(0), *(part.draws for part in found)]),
            sample=np.concatenate([np.zeros(0, np.float32), *(part.sample for part in found)]),
        )
    )


def _cut_sample(found: Measurement) -> Measurement:
    if len(found.draws) <= SAMPLE_SIZE:
        return found
    kept = np.argpartition(found.draws, SAMPLE_SIZE)[:SAMPLE_SIZE]
    return Measurement(found.moments, found.draws[kept], found.sample[kept])
