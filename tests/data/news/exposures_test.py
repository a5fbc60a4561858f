"""Decaying counts of shows against sums over all shows."""

import numpy as np
import pytest

from tfrec_zoo.data.news.exposures import Exposures
from tfrec_zoo.data.news.impression_files import read_impressions
from tfrec_zoo.vocabulary import Vocabulary


def sum_shows(rows, times, row, time, half_life):
    before = (rows == row) & (times < time)
    return np.sum(0.5 ** ((time - times[before]) / half_life))


@pytest.mark.parametrize("half_life", [0.5, 30.0, 1e6])
def test_levels_are_sums_over_the_shows_before(half_life):
    rng = np.random.default_rng(0)
    rows, times = rng.integers(1, 9, 400), rng.integers(1000, 1200, 400)
    exposures = Exposures(rows, times, half_life)
    asked_rows, asked_times = rng.integers(0, 12, 300), rng.integers(950, 1300, 300)
    found = exposures.levels(asked_rows, asked_times)
    wanted = [
        sum_shows(rows, times, *asked, half_life)
        for asked in zip(asked_rows, asked_times, strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    assert (np.array(wanted) > 0).any() and exposures.last_time == times.max()


def test_lifts_are_click_rates_beside_that_of_all():
    rng = np.random.default_rng(1)
    rows, times = rng.integers(1, 9, 400), rng.integers(1000, 1200, 400)
    is_clicked = rng.random(400) < 0.1 * rows / 4
    exposures = Exposures(rows, times, 10.0, is_clicked)
    asked_rows, asked_times = rng.integers(0, 12, 300), rng.integers(950, 1300, 300)
    found = exposures.click_lifts(asked_rows, asked_times, prior=5.0)
    for row, time, lift in zip(asked_rows, asked_times, found, strict=True):
        before = (rows == row) & (times < time)
        clicks = is_clicked[before].sum() + 5 * is_clicked.mean()
        wanted = clicks / (before.sum() + 5) / is_clicked.mean()
        np.testing.assert_allclose(lift, wanted, rtol=1e-9)
    assert found.min() < 0.8 and found.max() > 1.2
    assert Exposures(rows, times, 10.0).click_lifts([1, 2], 1100.0, 5.0).tolist() == [1, 1]


def test_rows_and_times_are_broadcast():
    exposures = Exposures([1, 2, 1], [0, 0, 10], 10.0)
    levels = exposures.levels(np.array([[1, 2, 3]]), np.array([[0.0], [10.0], [20.0]]))
    np.testing.assert_allclose(levels, [[0, 0, 0], [0.5, 0.5, 0], [0.75, 0.25, 0]])


def test_without_shows_all_levels_are_zero():
    exposures = Exposures(np.zeros(0, int), np.zeros(0), 10.0)
    assert exposures.levels([1, 2], 5.0).tolist() == [0, 0]


def test_a_log_counts_what_it_shows_of_the_known_items(tmp_path):
    path = tmp_path / "behaviors.tsv"
    path.write_text(
        "1\tu\t11/9/2019 12:00:00 AM\tn1\tn2-0 n3-1\n2\tu\t11/9/2019 1:00:00 AM\t\tn2-1\n"
    )
    vocabulary = Vocabulary(["n1", "n2"], [0, 0])
    exposures = Exposures.from_logs([read_impressions(path)], vocabulary, half_life=3600)
    midnight = 1573257600
    levels = exposures.levels([1, 2], [[midnight + 3600], [midnight + 7200]])
    np.testing.assert_allclose(levels, [[0, 0.5], [0, 0.75]])
