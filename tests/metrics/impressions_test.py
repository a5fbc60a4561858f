"""Metrics of impressions, against loops over pairs and against a case calculated by hand."""

import math

import numpy as np
import pytest

from tfrec_zoo.metrics.impressions import impression_metrics

NAMES = ("impression_auc", "impression_mrr", "impression_ndcg@5", "impression_ndcg@10")


def measure(impressions, **options):
    """Measures impressions given as pairs of scores and marks."""
    scores = np.concatenate([np.asarray(scores, np.float32) for scores, _ in impressions])
    marks = np.concatenate([np.asarray(marks, bool) for _, marks in impressions])
    offsets = np.cumsum([0, *(len(marks) for _, marks in impressions)])
    return impression_metrics(scores, marks, offsets, **options)


def measure_slowly(impressions, ks=(5, 10)):
    """The same pair by pair and place by place; what was clicked is last among equals."""
    found = []
    for scores, marks in impressions:
        scores = [float(score) for score in np.asarray(scores, np.float32)]
        clicked = [score for score, mark in zip(scores, marks, strict=True) if mark]
        others = [score for score, mark in zip(scores, marks, strict=True) if not mark]
        wins = [(p > n) + (p == n) / 2 for p in clicked for n in others]
        places = sorted(range(len(scores)), key=lambda i: (-scores[i], marks[i]))
        ranks = [rank for rank, place in enumerate(places, start=1) if marks[place]]
        values = {
            "impression_auc": sum(wins) / len(wins),
            "impression_mrr": sum(1 / rank for rank in ranks) / len(ranks),
        }
        for k in ks:
            gain = sum(1 / math.log2(1 + rank) for rank in ranks if rank <= k)
            best = sum(1 / math.log2(1 + rank) for rank in range(1, min(k, len(ranks)) + 1))
            values[f"impression_ndcg@{k}"] = gain / best
        found.append(values)
    return {name: sum(values[name] for values in found) / len(found) for name in found[0]}


def draw_impressions(num, seed, num_scores=None):
    """Draws impressions of 2 to 30 items; `num_scores`: so few scores that many are equal."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(num):
        size = rng.integers(2, 31)
        scores = rng.normal(size=size)
        if num_scores:
            scores = rng.integers(0, num_scores, size) / 3
        marks = rng.permutation(np.arange(size) < rng.integers(1, size))
        found.append((scores, marks.tolist()))
    return found


def test_a_case_calculated_by_hand():
    # The order is b, a, c, d; a and d were clicked: ranks 2 and 4.
    one = ([0.5, 0.9, 0.1, -0.3], [True, False, False, True])
    found = measure([one], ks=(2, 5))
    assert found == pytest.approx(
        {
            # a before c, but not before b; d before none of the two.
            "impression_auc": 1 / 4,
            "impression_mrr": (1 / 2 + 1 / 4) / 2,
            "impression_ndcg@2": (1 / math.log2(3)) / (1 + 1 / math.log2(3)),
            "impression_ndcg@5": (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3)),
        }
    )
    # The mean is over impressions, however much they show.
    other = ([3, 2, 1, 0, -1, -2], [True, False, False, False, False, False])
    both = measure([one, other])
    assert both["impression_auc"] == pytest.approx((1 / 4 + 1) / 2)
    assert both["impression_mrr"] == pytest.approx((3 / 8 + 1) / 2)


def test_equal_scores_are_worth_half_a_pair_and_come_after_what_was_not_clicked():
    found = measure([([1, 1, 1, 1], [True, False, False, False])])
    assert found["impression_auc"] == 0.5
    assert found["impression_mrr"] == 1 / 4
    assert found["impression_ndcg@5"] == pytest.approx(1 / math.log2(5))
    # Zero is zero, whatever its sign.
    assert measure([([0.0, -0.0], [False, True])])["impression_auc"] == 0.5
    assert measure([([-0.0, 0.0], [False, True])])["impression_mrr"] == 0.5


@pytest.mark.parametrize("num_scores", [None, 2, 6])
@pytest.mark.parametrize("num", [1, 200])
def test_metrics_are_those_of_loops(num, num_scores):
    impressions = draw_impressions(num, seed=num, num_scores=num_scores)
    found = measure(impressions)
    assert tuple(found) == NAMES
    assert found == pytest.approx(measure_slowly(impressions), rel=1e-12)
    assert all(isinstance(value, float) for value in found.values())
    cut = measure(impressions, ks=(1, 3))
    assert cut == pytest.approx(measure_slowly(impressions, ks=(1, 3)), rel=1e-12)


def test_the_order_of_what_was_shown_changes_nothing():
    rng = np.random.default_rng(4)
    impressions = draw_impressions(50, seed=5, num_scores=4)
    shuffled = []
    for scores, marks in impressions:
        order = rng.permutation(len(scores))
        shuffled.append((scores[order], np.array(marks)[order]))
    assert measure(shuffled) == pytest.approx(measure(impressions), rel=1e-12)


@pytest.mark.parametrize("marks", [[True, True], [False, False]])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_impression_without_one_of_both_is_refused(marks, place):
    impressions = draw_impressions(2, seed=6)
    impressions.insert(place, ([1.0, 2.0], marks))
    with pytest.raises(ValueError, match="needs something that was clicked and something not"):
        measure(impressions)


def test_an_empty_impression_is_refused():
    with pytest.raises(ValueError, match="needs something that was clicked and something not"):
        impression_metrics(np.float32([1, 2]), np.array([True, False]), np.array([0, 2, 2]))


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match=r"are not numbers \(NaN\)"):
        measure([([1.0, math.nan], [True, False])])


def test_no_impressions_are_refused():
    with pytest.raises(ValueError, match="there is no impression to average over"):
        impression_metrics(np.zeros(0, np.float32), np.zeros(0, bool), np.zeros(1, np.int64))
