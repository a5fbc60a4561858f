"""Ranks and metrics against scores ranked one by one, and against formulas worked by hand."""

import math

import numpy as np
import pytest

from tfrec_zoo.metrics import ranking


def rank_by_sorting(scores, target, tie_rule):
    """The rank of `target` in a list sorted by hand, ties placed as the rule says."""
    others = [score for item, score in enumerate(scores) if item != target]
    best_first = sorted([*others, scores[target]], reverse=True)
    places = [place for place, score in enumerate(best_first, 1) if score == scores[target]]
    if tie_rule == "optimistic":
        return places[0]
    return places[-1] if tie_rule == "pessimistic" else sum(places) / len(places)


def count(scores, targets):
    """`num_greater` and `num_equal_others` of each row's target."""
    target_scores = np.take_along_axis(scores, targets[:, None], axis=1)
    return (scores > target_scores).sum(axis=1), (scores == target_scores).sum(axis=1) - 1


@pytest.mark.parametrize(
    ("tie_rule", "peer_name"),
    [("optimistic", "standard"), ("pessimistic", "conservative"), ("expected", "median")],
)
def test_ranks_equal_the_places_in_a_sorted_list(tie_rule, peer_name):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (60, 12)).astype(float)
    targets = rng.integers(0, 12, 60)
    wanted = [rank_by_sorting(scores[n], targets[n], tie_rule) for n in range(60)]
    for name in (tie_rule, peer_name):
        ranks = ranking.ranks_from_counts(*count(scores, targets), name)
        np.testing.assert_array_equal(ranks, wanted)


@pytest.mark.parametrize("name", ["random", "tiebreaking"])
def test_random_ties_are_uniform_over_all_places(name):
    num_equal = np.full(40_000, 3)
    ranks = ranking.ranks_from_counts(np.full(40_000, 5), num_equal, name, np.random.default_rng(1))
    places, frequencies = np.unique(ranks, return_counts=True)
    np.testing.assert_array_equal(places, [6, 7, 8, 9])
    # Four standard deviations of a binomial count with p = 1/4.
    assert np.abs(frequencies - 10_000).max() < 4 * math.sqrt(40_000 * 0.25 * 0.75)


def test_random_ties_are_those_of_the_seed():
    counts = np.arange(50), np.full(50, 100)
    first, second = (
        ranking.ranks_from_counts(*counts, "random", np.random.default_rng(7)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_metrics_equal_the_values_worked_by_hand():
    metrics = ranking.ranking_metrics(np.array([1, 3, 2.5, 21, np.inf]), (1, 3, 20))
    assert list(metrics)[:3] == ["recall@1", "mrr@1", "ndcg@1"]
    assert metrics["recall@1"] == pytest.approx(1 / 5)
    assert metrics["recall@3"] == metrics["recall@20"] == pytest.approx(3 / 5)
    assert metrics["mrr@1"] == metrics["ndcg@1"] == pytest.approx(1 / 5)
    assert metrics["mrr@20"] == pytest.approx((1 + 1 / 3 + 0.4) / 5)
    assert metrics["ndcg@20"] == pytest.approx((1 + 0.5 + 1 / math.log2(3.5)) / 5)


def test_a_rank_of_the_cut_off_is_a_hit_and_the_next_one_is_none():
    assert ranking.recall_at([20], 20) == 1.0
    assert (
        ranking.recall_at([20.5], 20) == ranking.mrr_at([21], 20) == ranking.ndcg_at([21], 20) == 0
    )


def test_positions_from_the_last_on_share_a_group():
    ranks, positions = [1, 30, 2, 4, 1], [1, 1, 3, 10, 17]
    breakdown = ranking.metrics_by_position(ranks, positions, (20,))
    assert list(breakdown) == ["1", "3", "10+"]
    assert breakdown["1"] == {
        "num_events": 2,
        "recall@20": 0.5,
        "mrr@20": 0.5,
        "ndcg@20": 0.5,
    }
    assert breakdown["10+"]["num_events"] == 2
    assert breakdown["10+"]["mrr@20"] == pytest.approx((1 / 4 + 1) / 2)


def test_groups_add_up_to_the_whole():
    rng = np.random.default_rng(3)
    ranks, rows = rng.integers(1, 60, 500), rng.integers(1, 40, 500)
    counts = rng.zipf(1.5, 40)
    whole = ranking.ranking_metrics(ranks, (20,))
    for breakdown in (
        ranking.metrics_by_position(ranks, rows, (20,)),
        ranking.metrics_by_popularity(ranks, rows, counts, (20,)),
    ):
        assert sum(group["num_events"] for group in breakdown.values()) == 500
        for name, value in whole.items():
            total = sum(group["num_events"] * group[name] for group in breakdown.values())
            assert total / 500 == pytest.approx(value)


def test_popularity_bins_hold_equal_shares_of_the_clicks():
    counts = np.random.default_rng(4).permutation(1 + np.arange(1000) ** 2 // 1000)
    bins = ranking.popularity_bins(counts, 4)
    shares = np.bincount(bins, counts) / counts.sum()
    np.testing.assert_allclose(shares, 0.25, atol=0.002)
    for bin_ in range(3):
        assert counts[bins == bin_].min() >= counts[bins == bin_ + 1].max()


def test_popularity_bins_worked_by_hand():
    # In falling order the clicks take the places 0-4, 4-7, 7-9, 9-10 of 10; middles 2, 5.5, 8, 9.5.
    np.testing.assert_array_equal(ranking.popularity_bins([0, 2, 4, 1, 3], 2), [1, 1, 0, 1, 1])
    np.testing.assert_array_equal(ranking.popularity_bins([0, 2, 4, 1, 3], 3), [2, 2, 0, 2, 1])


def test_popularity_groups_go_by_the_target():
    breakdown = ranking.metrics_by_popularity([1, 50, 50], [2, 1, 3], [0, 2, 4, 1, 3], (20,), 3)
    assert {name: group["recall@20"] for name, group in breakdown.items()} == {"1": 1.0, "3": 0.0}


@pytest.mark.parametrize(
    ("function", "arguments", "sentence"),
    [
        (ranking.recall_at, ([], 20), "no event"),
        (ranking.ranking_metrics, (np.zeros(0), (20,)), "no event"),
        (ranking.metrics_by_position, ([], np.zeros(0, int), (20,)), "no event"),
        (ranking.metrics_by_position, ([1, 2], [1], (20,)), "as many"),
        (ranking.metrics_by_position, ([1], [0], (20,)), "position 0"),
        (ranking.metrics_by_popularity, ([], np.zeros(0, int), [0, 1], (20,)), "no event"),
        (ranking.recall_at, ([1, 0], 20), "rank 0"),
        (ranking.mrr_at, ([1, math.nan], 20), "rank nan"),
        (ranking.ndcg_at, ([1], 0), "k=0"),
        (ranking.ranking_metrics, ([1], ()), "no cut-off"),
        (ranking.popularity_bins, ([0, 0],), "above 0"),
        (ranking.popularity_bins, ([0, 1], 0), "num_bins=0"),
        (ranking.ranks_from_counts, ([1], [0], "fair"), "Unknown tie rule 'fair'"),
        (ranking.ranks_from_counts, ([1], [0], "random"), "rng"),
        (ranking.ranks_from_counts, ([1], [0, 1], "expected"), "shapes"),
        (ranking.ranks_from_counts, ([1], [-1], "expected"), "negative"),
    ],
)
def test_what_has_no_answer_is_refused(function, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        function(*arguments)
