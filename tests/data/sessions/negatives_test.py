"""Negatives by popularity: the probabilities that the alias tables stand for, and draws."""

import numpy as np
import pytest

from tfrec_zoo.data.sessions.negatives import NegativeSampler, build_alias_table


def implied_probabilities(keep, alias):
    """What the alias method draws: a slot evenly, then itself with `keep`, else its alias."""
    assert keep.min() >= 0 and keep.max() <= 1
    probabilities = keep.astype(np.float64)
    np.add.at(probabilities, alias, 1 - keep)
    return probabilities / len(keep)


def assert_exact(weights, rtol=0.0):
    wanted = weights / weights.sum()
    implied = implied_probabilities(*build_alias_table(wanted))
    np.testing.assert_allclose(implied, wanted, atol=1e-12, rtol=rtol)
    assert implied.min() > 0


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.75, 1.0, 2.0])
def test_tables_stand_for_the_powers_of_the_counts(exponent):
    counts = np.random.default_rng(0).zipf(1.3, 5000).clip(1, 10**12).astype(float)
    assert_exact(counts**exponent)


@pytest.mark.parametrize(
    "weights",
    [
        [1.0],
        [1e15, 1.0],
        [1.0, 1e15],
        [1e12] + [1.0] * 999,
        [1e-9, 1.0, 1e9],
        [3.0, 1.0, 3.0, 1.0, 1.0, 3.0],
        [2.0, 2.0, 1.0, 1.0, 0.5, 0.5],
    ],
)
def test_extreme_counts_stay_exact(weights):
    assert_exact(np.array(weights))


def test_random_weights_stay_exact():
    rng = np.random.default_rng(1)
    for spread in (0, 1e-12, 0.1, 1, 5):
        for num in range(1, 100):
            assert_exact(np.exp(spread * rng.normal(size=num)))
            assert_exact(rng.integers(1, 4, num).astype(float))


def test_equal_items_all_have_their_chance():
    for num_items in (*range(1, 300), 10**6, 10**6 + 3):
        assert_exact(np.ones(num_items))


def test_a_million_items_of_all_counts_have_their_chance():
    counts = np.random.default_rng(2).zipf(1.5, 10**6).clip(1, 10**9)
    # What a million sums round off, a few 1e-12, ends up with one frequent item.
    assert_exact(counts.astype(float) ** 0.75, rtol=1e-6)


def test_log_probabilities_are_those_of_the_formula():
    counts = np.array([7, 3, 0, 5, 1])
    weights = np.array([0, 3**0.5, 0, 5**0.5, 1])
    with np.errstate(divide="ignore"):
        wanted = np.log(weights / weights.sum())
    np.testing.assert_allclose(NegativeSampler(counts, 0.5).log_probabilities(), wanted)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_draws_pass_a_chi_square_test(exponent):
    counts = np.array([99, 1, 200, 0, 17, 17, 3, 40])
    sampler = NegativeSampler(counts, exponent)
    rows = sampler.draw(np.random.default_rng(3), (200, 1000))
    assert rows.shape == (200, 1000) and rows.dtype == np.int32
    observed = np.bincount(rows.ravel(), minlength=len(counts))
    expected = rows.size * np.exp(sampler.log_probabilities())
    assert not observed[[0, 3]].any()
    drawn = expected > 0
    chi_square = np.sum((observed - expected)[drawn] ** 2 / expected[drawn])
    # 24.3 is the 99.95th percentile with five degrees of freedom.
    assert chi_square < 24.3


def test_successive_draws_are_independent():
    rows = NegativeSampler(np.array([0, 1, 1, 2]), 1.0).draw(np.random.default_rng(4), (100_000,))
    pairs = np.histogram2d(rows[:-1], rows[1:], bins=3)[0] / (len(rows) - 1)
    np.testing.assert_allclose(pairs, np.outer([0.25, 0.25, 0.5], [0.25, 0.25, 0.5]), atol=0.005)


def test_draws_are_those_of_the_generator():
    sampler = NegativeSampler(np.arange(50), 0.5)
    first, second, other = (sampler.draw(np.random.default_rng(n), (9, 9)) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_a_catalogue_without_counts_is_refused():
    with pytest.raises(ValueError, match="at least one item with a count"):
        NegativeSampler(np.array([5, 0, 0]), 1.0)
