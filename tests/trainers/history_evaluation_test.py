"""Ranks and metrics of histories against towers in NumPy float64, one example at a time."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tiny_news
from ssr_oracle import Towers, take_weights, to_arrays

from tfrec_zoo.data.news.exposures import Exposures
from tfrec_zoo.data.news.held_out import HeldOut
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.metrics.ranking import TIE_RULES
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.models.ssr_config import SSRConfig
from tfrec_zoo.trainers import history_evaluation
from tfrec_zoo.trainers.history_evaluation import HistoryRanker, cut_by_length, evaluate_held_out

HISTORIES, IMPRESSIONS = tiny_news.make_histories(), tiny_news.make_impressions()
NUM_ROWS = tiny_news.NUM_ITEMS + 1
# Not among them are targets and items of histories.
CANDIDATES = np.array([2, 5, 6, 9, 13, 14, 20, 22, 23])
AGES = {"age_buckets": 5, "age_unit": 23.0}
CONFIGS = {
    "max": {},
    "mean of the clicks": {"session_encoder": "mean", "normalize": False},
    "ages": {"session_pooling": "last", **AGES},
    "shows": {
        **{"exposure_weight": 0.3, "exposure_half_life": 40.0, "exposure_prior": 0.2},
        **{"click_rate_weight": 0.4, "click_rate_prior": 3.0},
    },
}


def make_catalogue(**options) -> ItemCatalogue:
    """The items 3, 8, 17 and the last one have the same content, so that they score the same."""
    catalogue = tiny_news.make_catalogue(**options)
    features = catalogue.features
    for array in (features.dense, features.rows, features.row_weights):
        array[[8, 17, NUM_ROWS - 1]] = array[3]
    if catalogue.times is not None:
        catalogue.times[[8, 17, NUM_ROWS - 1]] = catalogue.times[3]
    return catalogue


CATALOGUE = make_catalogue()
# Rows and times of shows, those that score the same among them and others.
SHOWS = np.array([[3, 8, 17, NUM_ROWS - 1, 5, 5, 2, 9, 9], [0, 0, 0, 0, 30, 60, 10, 90, 95]])
SHOWS[1] += tiny_news.START
IS_CLICKED = SHOWS[0] == 5


def make_model(options=None, seed=0) -> SSR:
    config = SSRConfig(**{"embedding_dim": 5, "hidden_dim": 4, "vector_dim": 3, **(options or {})})
    model = SSR(config, tiny_news.SCHEMA)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.7)
    (table,) = model.tables.tables
    table.variable[0].assign(tf.zeros(5))
    return model


@functools.cache
def make_ranker(name="max", *, exclude_history=True) -> HistoryRanker:
    """One for each kind, since compiling takes longer than ranking."""
    return HistoryRanker(
        make_model(CONFIGS[name]),
        CATALOGUE,
        exclude_history=exclude_history,
        exposures=Exposures(*SHOWS, 40.0, IS_CLICKED) if name == "shows" else None,
    )


class SlowRanker:
    """Scores item by item, history by history."""

    def __init__(self, model, catalogue=CATALOGUE):
        self.towers = Towers(model.config, to_arrays(take_weights(model)))
        self.times = catalogue.times
        content = catalogue.features
        (store,) = model.tables.stores
        located = store.locate(content.rows, content.row_weights)
        dense = content.dense.astype(np.float64)
        self.inputs = self.towers.read_items(dense, located, content.row_weights)
        self.vectors = self.towers.item_vectors(self.inputs)

    def score(self, history, time, *, with_shows=True):
        """Scores float64 [V + 1] of all rows."""
        scores = self.vectors @ self.towers.session_vector(self.inputs[history])
        if "age_scores" in self.towers.weights:
            ages = [-1 if np.isnan(came) else time - came for came in self.times]
            scores = scores + [self.towers.score_age(age) for age in ages]
        config = self.towers.config
        if config.click_rate_weight:
            for row in range(NUM_ROWS):
                count = len(self.times_shown(row, time))
                clicks = count if row == 5 else 0
                lift = (clicks / IS_CLICKED.mean() + 3) / (count + 3)
                scores[row] += config.click_rate_weight * np.log(lift)
        if config.exposure_weight and with_shows:
            for row in range(NUM_ROWS):
                shows = sum(0.5 ** ((time - t) / 40) for t in self.times_shown(row, time))
                scores[row] += config.exposure_weight * np.log(1 + shows / config.exposure_prior)
        return scores

    def times_shown(self, row, time):
        """The times before `time` at which a row was shown."""
        return [t for r, t in SHOWS.T if r == row and t < time]

    def rank(self, histories, candidates, *, exclude_history=True):
        """(greater, equal) of each example; scores as close as 1e-9 are equal."""
        found = []
        for target, session in zip(histories.targets, histories.sessions, strict=True):
            first = max(histories.offsets[session], target - histories.max_history)
            history = histories.rows[first:target]
            scores = self.score(history, histories.times[target])
            if exclude_history:
                scores[history] = -1e300
            row = histories.rows[target]
            others = scores[[j for j in candidates if j != row]] - scores[row]
            is_equal = np.abs(others) < 1e-9
            found.append((np.sum(others[~is_equal] > 0), is_equal.sum()))
        return np.array(found)


@pytest.mark.parametrize("exclude_history", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_ranks_equal_a_model_in_float64_ties_included(name, exclude_history):
    ranker = make_ranker(name, exclude_history=exclude_history)
    found = ranker.rank(HISTORIES)
    everything = range(1, NUM_ROWS)
    slow = SlowRanker(ranker.model)
    expected = slow.rank(HISTORIES, everything, exclude_history=exclude_history)
    np.testing.assert_array_equal(np.stack([found.num_greater, found.num_equal], 1), expected)
    assert found.num_candidates == tiny_news.NUM_ITEMS
    assert {0, 3} <= {*found.num_equal.tolist()}


@pytest.mark.parametrize("name", ["max", "ages"])
def test_a_target_is_ranked_against_the_candidates_even_if_it_is_none_of_them(name):
    ranker = make_ranker(name)
    found = ranker.rank(HISTORIES, CANDIDATES)
    expected = SlowRanker(ranker.model).rank(HISTORIES, CANDIDATES)
    np.testing.assert_array_equal(np.stack([found.num_greater, found.num_equal], 1), expected)
    assert found.num_candidates == len(CANDIDATES)
    assert not np.isin(HISTORIES.target_rows, CANDIDATES).all()


def test_a_target_of_its_own_history_comes_behind_all_that_may_be_recommended():
    found = make_ranker().rank(HISTORIES)
    for example in range(HISTORIES.num_examples):
        batch = HISTORIES.take(np.array([example]))
        if batch["target"][0] in batch["history"][0]:
            excluded = len({*batch["history"][0].tolist()} - {0})
            assert found.num_greater[example] == tiny_news.NUM_ITEMS - excluded
            assert found.num_equal[example] == excluded - 1


def rank_with(catalogue):
    ranker = copy.copy(make_ranker("ages"))
    ranker.catalogue = catalogue
    return ranker.rank(HISTORIES)


def test_what_is_not_yet_shown_is_of_unknown_age():
    """Its score is that of an item of which no time is known, whenever it will come up."""
    times = CATALOGUE.times.copy()
    is_later = times > HISTORIES.times.max()
    assert is_later.any()
    times[is_later] = np.nan
    unknown = dataclasses.replace(CATALOGUE, times=times)
    later = dataclasses.replace(CATALOGUE, times=np.where(is_later, 1e12, CATALOGUE.times))
    ranks = [rank_with(catalogue) for catalogue in (CATALOGUE, unknown, later)]
    for other in ranks[1:]:
        np.testing.assert_array_equal(other.num_greater, ranks[0].num_greater)
        np.testing.assert_array_equal(other.num_equal, ranks[0].num_equal)
    # And the ages do matter.
    old = dataclasses.replace(CATALOGUE, times=CATALOGUE.times - 1e6)
    assert (rank_with(old).num_greater != ranks[0].num_greater).any()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("max_history", [tiny_news.MAX_HISTORY, 5])
def test_what_impressions_showed_is_scored_as_items_are_but_for_having_been_shown(
    name, max_history
):
    ranker = make_ranker(name)
    slow = SlowRanker(ranker.model)
    found = ranker.score_shown(IMPRESSIONS, max_history)
    assert found.shape == IMPRESSIONS.shown_rows.shape
    for number in range(IMPRESSIONS.num_impressions):
        history = IMPRESSIONS.history_rows[slice(*IMPRESSIONS.history_offsets[number:][:2])]
        scores = slow.score(history[-max_history:], IMPRESSIONS.times[number], with_shows=False)
        places = slice(*IMPRESSIONS.shown_offsets[number:][:2])
        wanted = scores[IMPRESSIONS.shown_rows[places]]
        np.testing.assert_allclose(found[places], wanted, rtol=1e-4, atol=1e-5)


def make_held_out(**changes) -> HeldOut:
    seen = np.zeros(NUM_ROWS, bool)
    seen[1:15] = True
    values = {"impressions": IMPRESSIONS, "candidate_rows": CANDIDATES, **changes}
    return HeldOut(tiny_news.MAX_HISTORY, HISTORIES, seen, **values)


@pytest.mark.parametrize("tie_rule", TIE_RULES)
def test_metrics_are_those_of_ranks_counted_one_by_one(tie_rule):
    ranker, held_out = make_ranker(), make_held_out(candidate_rows=None)
    metrics = evaluate_held_out(ranker, held_out, (3, 10), tie_rule, seed=7)
    greater, equal = SlowRanker(ranker.model).rank(HISTORIES, range(1, NUM_ROWS)).T
    ties = {
        "optimistic": 0 * equal,
        "pessimistic": equal,
        "expected": equal / 2,
        "random": np.random.default_rng(7).integers(0, equal + 1),
    }
    ranks = 1 + greater + ties[tie_rule]
    is_seen = HISTORIES.target_rows < 15
    assert 0 < is_seen.sum() < len(is_seen)
    groups = {"": ranks, "seen_": ranks[is_seen], "unseen_": ranks[~is_seen]}
    for prefix, chosen in groups.items():
        for k in (3, 10):
            hits = [rank for rank in chosen if rank <= k]
            gains = {
                "recall": len(hits),
                "mrr": sum(1 / rank for rank in hits),
                "ndcg": sum(1 / np.log2(1 + rank) for rank in hits),
            }
            for metric, gain in gains.items():
                found = metrics[f"{prefix}{metric}@{k}"]
                assert found == pytest.approx(gain / len(chosen)), (prefix, metric, k)
    assert metrics["num_test_events"] == len(ranks) == HISTORIES.num_examples
    assert metrics["num_unseen_events"] == np.count_nonzero(~is_seen)
    assert metrics["num_candidates"] == tiny_news.NUM_ITEMS
    assert metrics["tie_rule"] == tie_rule
    assert metrics["num_impressions"] == IMPRESSIONS.num_impressions


def test_impressions_are_measured_pair_by_pair():
    ranker = make_ranker("ages")
    metrics = evaluate_held_out(ranker, make_held_out())
    slow, areas = SlowRanker(ranker.model), []
    for number in range(IMPRESSIONS.num_impressions):
        history = IMPRESSIONS.history_rows[slice(*IMPRESSIONS.history_offsets[number:][:2])]
        scores = slow.score(history[-tiny_news.MAX_HISTORY :], IMPRESSIONS.times[number])
        rows, is_clicked = IMPRESSIONS.shown(number)
        pairs = scores[rows[is_clicked]][:, None] - scores[rows[~is_clicked]]
        areas.append(np.mean((pairs > 1e-9) + (np.abs(pairs) < 1e-9) / 2))
    assert metrics["impression_auc"] == pytest.approx(np.mean(areas), abs=1e-9)


def test_groups_without_a_target_are_left_out():
    ranker = make_ranker()
    everything = dataclasses.replace(make_held_out(), seen_rows=np.ones(NUM_ROWS, bool))
    metrics = evaluate_held_out(ranker, everything)
    assert not [name for name in metrics if name.startswith("unseen_")]
    assert metrics["seen_recall@20"] == metrics["recall@20"]
    alone = dataclasses.replace(everything, histories=None)
    assert not [name for name in evaluate_held_out(ranker, alone) if "@20" in name]
    sessions = evaluate_held_out(ranker, dataclasses.replace(everything, impressions=None))
    assert not [name for name in sessions if "impression" in name]


def test_ranks_do_not_depend_on_chunks_or_the_compiler(monkeypatch):
    ranker, ticks = make_ranker("ages"), []
    found = ranker.rank(HISTORIES, progress=lambda *done: ticks.append(done))
    assert ticks[-1] == (HISTORIES.num_examples, HISTORIES.num_examples)
    monkeypatch.setattr(history_evaluation, "chunk_size", lambda *_: 8)
    monkeypatch.setattr(history_evaluation, "_CHUNK_ITEMS", 7)
    ticks.clear()
    others = [ranker, HistoryRanker(ranker.model, CATALOGUE, jit_compile=False)]
    for other in others:
        other = other.rank(HISTORIES, progress=lambda *done: ticks.append(done))
        np.testing.assert_array_equal(other.num_greater, found.num_greater)
        np.testing.assert_array_equal(other.num_equal, found.num_equal)
    assert len(ticks) == 2 * -(-HISTORIES.num_examples // 8)


def test_a_second_evaluation_sees_new_weights():
    ranker = HistoryRanker(make_model(), CATALOGUE)
    held_out = make_held_out()
    first = evaluate_held_out(ranker, held_out)
    assert evaluate_held_out(ranker, held_out) == first
    for old, new in zip(ranker.model.weights, make_model(seed=1).weights, strict=True):
        old.assign(new)
    assert evaluate_held_out(ranker, held_out) != first
    counts = SlowRanker(ranker.model).rank(HISTORIES, CANDIDATES)
    found = ranker.rank(HISTORIES, CANDIDATES)
    np.testing.assert_array_equal(np.stack([found.num_greater, found.num_equal], 1), counts)


def test_histories_are_cut_by_their_lengths():
    lengths = np.array([3, 50, 1, 17, 16, 4, 5, 16])
    found = list(cut_by_length(lengths, 50, 3))
    assert [(indices.tolist(), width) for indices, width in found] == [
        ([2, 0, 5], 4),
        ([6, 4, 7], 16),
        ([3, 1], 50),
    ]


def test_weights_that_are_no_numbers_are_refused():
    model = make_model()
    model.item_layer.bias.assign([np.nan] * 3)
    ranker = HistoryRanker(model, CATALOGUE)
    with pytest.raises(ValueError, match=r"not numbers \(NaN\): the training diverged"):
        ranker.rank(HISTORIES)
    with pytest.raises(ValueError, match=r"not numbers \(NaN\)"):
        evaluate_held_out(ranker, dataclasses.replace(make_held_out(), histories=None))


@pytest.mark.parametrize(
    ("candidates", "sentence"),
    [
        ([], "no candidate items"),
        ([0, 3], r"must be in 1\.\.23, got 0\.\.3"),
        ([3, 24], r"must be in 1\.\.23, got 3\.\.24"),
    ],
)
def test_candidates_that_are_no_items_are_refused(candidates, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_ranker().rank(HISTORIES, candidates)
