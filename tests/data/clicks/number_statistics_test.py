"""Statistics by blocks against those of the whole column."""

import numpy as np
import pytest

from tfrec_zoo.data.clicks.number_statistics import NumberStatistics


def collect(blocks, **options):
    statistics = NumberStatistics(seed=0, **options)
    for block in blocks:
        statistics.add(np.asarray(block, np.float32))
    return statistics


def test_mean_and_deviation_of_blocks():
    rng = np.random.default_rng(1)
    # Far from 0, where sums of squares would lose their digits.
    values = rng.normal(1e5, 2.0, 5000).astype(np.float32)
    values[::7] = np.nan
    statistics = collect(np.split(values, [3, 3, 1000, 4999]))
    present = values[~np.isnan(values)].astype(np.float64)
    assert statistics.count == len(present)
    np.testing.assert_allclose(statistics.mean, present.mean(), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, present.std(), rtol=1e-9)


def test_columns_without_a_deviation():
    for blocks, mean in (([], 0), ([[np.nan, np.nan]], 0), ([[5.0, 5.0], [5.0]], 5)):
        statistics = collect(blocks)
        assert (statistics.mean, statistics.std) == (mean, 1.0)
        assert statistics.find_boundaries(4) == ()


@pytest.mark.parametrize("num_buckets", [2, 3, 10, 100])
def test_buckets_of_distinct_numbers_are_even(num_buckets):
    values = np.random.default_rng(2).permutation(1000).astype(np.float32)
    boundaries = collect([values[:300], values[300:]]).find_boundaries(num_buckets)
    assert len(boundaries) == num_buckets - 1
    assert set(boundaries) <= set(values.tolist())
    counts = np.bincount(np.searchsorted(boundaries, values, side="right"))
    assert counts.sum() == 1000 and counts.max() - counts.min() <= 1


def test_a_frequent_number_has_one_bucket():
    values = [0] * 70 + list(range(1, 31))
    boundaries = collect([values]).find_boundaries(10)
    counts = np.bincount(np.searchsorted(boundaries, values, side="right"))
    assert boundaries[0] == 1.0 or counts[0] == 70
    assert (np.diff(boundaries) > 0).all() and counts.min() > 0
    assert collect([[0, 0, 1]]).find_boundaries(9) == (1.0,)


def test_many_numbers_are_sampled():
    rng = np.random.default_rng(3)
    values = rng.normal(size=200_000).astype(np.float32)
    # Sorted, so that a sample of the first or the last blocks would be far off.
    statistics = collect(np.split(np.sort(values), 50), sample_size=20_000)
    boundaries = statistics.find_boundaries(4)
    np.testing.assert_allclose(boundaries, np.quantile(values, [0.25, 0.5, 0.75]), atol=0.04)
