"""Planted news: what the formulas say, against enumeration of all that can happen."""

import itertools

import numpy as np
import pytest

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.news.planted_news import PERIOD_SECONDS, PlantedNewsWorld
from tfrec_zoo.data.news.planted_news_config import PlantedNewsConfig
from tfrec_zoo.data.news.planted_news_table import (
    planted_item_spec,
    word_texts,
    write_planted_items,
    write_planted_spec,
)
from tfrec_zoo.data.news.time_split import split_by_time
from tfrec_zoo.data.sessions.session_log import read_session_log, write_session_log
from tfrec_zoo.data.tables.table_spec import load_table_spec

SMALL = PlantedNewsConfig(
    num_periods=3,
    items_per_period=4,
    lifetime=2,
    taste_dim=2,
    num_readers=3,
    num_words=9,
    num_fillers=2,
    choice_sharpness=2.0,
    min_length=2,
    max_length=3,
)


@pytest.fixture(scope="module")
def world():
    return PlantedNewsWorld(PlantedNewsConfig(num_periods=8))


@pytest.fixture(scope="module")
def log(world):
    return world.sample_log(300, seed=1)


def session_probability(world, clicks, reader, alive):
    """The probability that a reader clicks these items in this order, by the definition."""
    left, probability = list(alive), 1.0
    for item in clicks:
        weights = {
            i: np.exp(world.config.choice_sharpness * world.readers[reader] @ world.tastes[i])
            for i in left
        }
        probability *= weights[item] / sum(weights.values())
        left.remove(item)
    return probability


def test_the_filter_is_the_rule_of_bayes():
    world = PlantedNewsWorld(SMALL)
    alive = world.alive_items(2)
    assert len(alive) == 8
    for clicks in itertools.chain(itertools.permutations(alive, 1), [alive[[3, 0]], alive[[5, 2]]]):
        readers = range(SMALL.num_readers)
        before = sum(session_probability(world, clicks, r, alive) for r in readers)
        items, probabilities = world.rank_next(np.array(clicks), 2)
        assert (np.diff(probabilities) <= 0).all()
        assert probabilities.sum() == pytest.approx(1)
        for item, probability in zip(items, probabilities, strict=True):
            if item in clicks:
                assert probability == 0
                continue
            both = sum(session_probability(world, [*clicks, item], r, alive) for r in readers)
            assert probability == pytest.approx(both / before)


def test_sessions_follow_the_formula():
    world = PlantedNewsWorld(SMALL)
    log = world.sample_log(40_000, seed=3, periods=[1])
    numbers = world.find_numbers(log.item_ids)[log.item_codes]
    alive = world.alive_items(1)
    pairs = np.stack([numbers[log.offsets[:-1]], numbers[log.offsets[:-1] + 1]], axis=1)
    found = np.zeros((world.num_items, world.num_items))
    np.add.at(found, tuple(pairs.T), 1 / len(pairs))
    for pair in itertools.permutations(alive, 2):
        expected = np.mean([session_probability(world, pair, r, alive) for r in range(3)])
        assert found[pair] == pytest.approx(expected, abs=5 * np.sqrt(expected / len(pairs)))
    assert np.bincount(log.lengths).tolist()[:2] == [0, 0]
    assert set(log.lengths) == {2, 3}


def test_items_come_and_go(world, log):
    numbers = world.find_numbers(log.item_ids)[log.item_codes]
    periods = (log.times - world.period_time(0)) // PERIOD_SECONDS
    ages = periods - world.births[numbers]
    assert ages.min() == 0 and ages.max() == world.config.lifetime - 1
    owners = log.session_codes()
    assert (log.end_times() - log.start_times() < PERIOD_SECONDS).all()
    assert len(set(zip(owners, numbers, strict=True))) == log.num_clicks
    for period in (0, 7):
        assert len(world.alive_items(period)) == 60 * 5
    assert world.candidate_ids(7)[0] == world.item_ids[world.births == 3][0]


def test_the_taste_of_an_item_is_what_its_words_say(world):
    config = world.config
    words = world.titles
    assert words.shape == (world.num_items, config.title_words + config.title_fillers)
    assert ((words >= config.num_words).sum(axis=1) == config.title_fillers).all()
    # The taste is linear in the words up to its length: least squares find the words' vectors.
    counts = np.zeros((world.num_items, config.num_words))
    is_word = words < config.num_words
    np.add.at(counts, (np.nonzero(is_word)[0], words[is_word]), 1)
    np.testing.assert_allclose(np.linalg.norm(world.tastes, axis=1), 1)
    same = PlantedNewsWorld(config)
    np.testing.assert_array_equal(same.titles, words)
    vectors = np.linalg.lstsq(counts, world.tastes * 4.0, rcond=None)[0]
    guessed = counts @ vectors
    cosine = (guessed * world.tastes).sum(axis=1) / np.linalg.norm(guessed, axis=1)
    assert np.mean(cosine) > 0.97


def test_the_best_possible_is_what_a_loop_finds():
    world = PlantedNewsWorld(SMALL)
    log = world.sample_log(30, seed=5, periods=[1, 2])
    seen = world.item_ids[:9]
    found = {name: [] for name in ("recall", "mrr", "hit", "rank", "mass", "unseen")}
    unseen_hits = []
    k = 2
    for session in range(log.num_sessions):
        clicks = world.find_numbers(log.item_ids[log.item_codes])
        clicks = clicks[log.offsets[session] : log.offsets[session + 1]]
        period = int((log.start_times()[session] - world.period_time(0)) // PERIOD_SECONDS)
        for place in range(1, len(clicks)):
            items, probabilities = world.rank_next(clicks[:place], period)
            rank = 1 + items.tolist().index(clicks[place])
            found["recall"].append(probabilities[:k].sum())
            found["mrr"].append(probabilities[:k] @ [1, 1 / 2])
            found["hit"].append(rank <= k)
            found["rank"].append(1 / rank if rank <= k else 0)
            is_new = ~np.isin(world.item_ids[items], seen)
            found["mass"].append(probabilities[is_new].sum())
            found["unseen"].append(probabilities[:k][is_new[:k]].sum())
            if is_new[rank - 1]:
                unseen_hits.append(rank <= k)
    best = world.best_possible(log, [k], seen_ids=seen)
    expected = {
        "recall@2": np.mean(found["recall"]),
        "mrr@2": np.mean(found["mrr"]),
        "realised_recall@2": np.mean(found["hit"]),
        "realised_mrr@2": np.mean(found["rank"]),
        "unseen_recall@2": np.sum(found["unseen"]) / np.sum(found["mass"]),
        "realised_unseen_recall@2": np.mean(unseen_hits),
        "num_targets": len(found["hit"]),
        "num_unseen_targets": len(unseen_hits),
    }
    assert {name: best[name] for name in expected} == pytest.approx(expected)


def test_what_is_expected_is_what_comes(world, log):
    for targets in ("all", "last"):
        best = world.best_possible(log, targets=targets)
        for k in (1, 5, 10, 20):
            spread = 4 * np.sqrt(0.25 / best["num_targets"])
            assert abs(best[f"recall@{k}"] - best[f"realised_recall@{k}"]) < spread
    assert best["num_targets"] == log.num_sessions
    # Far from chance, far from certain.
    assert 0.5 < best["recall@20"] < 0.9


def test_the_last_period_has_targets_that_training_never_saw(world, log):
    split = split_by_time(log, world.last_period_time)
    assert split.test.num_sessions == 300
    best = world.best_possible(split.test, [20], targets="last", seen_ids=split.train.item_ids)
    assert 0.1 < best["num_unseen_targets"] / best["num_targets"] < 0.4
    assert 0.4 < best["unseen_recall@20"] < 0.9


def test_tables_of_a_world_are_read_as_real_ones(tmp_path, world, log):
    write_planted_items(world, tmp_path / "items.tsv", has_vectors=True)
    write_planted_spec(world, tmp_path / "items.json", has_vectors=True)
    spec = load_table_spec(tmp_path / "items.json")
    assert spec == planted_item_spec(world, has_vectors=True)
    write_session_log(log, tmp_path / "log.tsv.gz")
    found = read_session_log(tmp_path / "log.tsv.gz")
    np.testing.assert_array_equal(found.item_ids[found.item_codes], log.item_ids[log.item_codes])
    np.testing.assert_array_equal(found.times, log.times)
    catalogue = ItemCatalogue.build(tmp_path / "items.tsv", spec, min_count=1)
    assert catalogue.ids.tolist() == world.item_ids.tolist()
    words = catalogue.vocabularies["title"].raw_ids(catalogue.features.rows[1:])
    np.testing.assert_array_equal(words, word_texts(world)[world.titles])
    np.testing.assert_allclose(catalogue.features.dense[1:], world.tastes, atol=1e-6)
    assert catalogue.times[1:].tolist() == [world.period_time(b) for b in world.births.tolist()]
    write_planted_items(world, tmp_path / "new.tsv", numbers=world.alive_items(7))
    new = ItemCatalogue.build(tmp_path / "new.tsv", planted_item_spec(world))
    assert new.ids.tolist() == world.candidate_ids(7).tolist()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"num_periods": 1}, "num_periods is 1, expected at least 2"),
        ({"max_length": 2}, "max_length is 2, expected min_length or more, 3"),
        ({"items_per_period": 5}, "max_length is 10, expected at most items_per_period, 5"),
        ({"num_fillers": 0}, "title_fillers is 2, but num_fillers is 0"),
    ],
)
def test_worlds_that_cannot_be_are_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        PlantedNewsConfig(**changes)


def test_clicks_of_other_worlds_are_refused(world):
    other = PlantedNewsWorld(SMALL).sample_log(5, seed=0, periods=[2])
    with pytest.raises(ValueError, match="is not there in period 2 of this planted world"):
        world.best_possible(other)
    large = world.sample_log(5, seed=0, periods=[7])
    with pytest.raises(ValueError, match="expected one of the 16 items of this planted world"):
        PlantedNewsWorld(SMALL).best_possible(large)
    with pytest.raises(ValueError, match="targets must be one of all, last"):
        world.best_possible(large, targets="first")
