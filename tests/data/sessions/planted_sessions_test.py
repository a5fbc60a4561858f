"""Planted sessions against their own definition, enumerated in loops, and against chance."""

import dataclasses
import math

import numpy as np
import pytest

from tfrec_zoo.data.sessions.planted_sessions import PlantedConfig, PlantedWorld
from tfrec_zoo.data.sessions.session_log import SessionLog

TINY = PlantedConfig(
    num_items=9,
    num_tastes=3,
    tastes_per_item=1,
    items_per_group=3,
    num_successors=4,
    background_share=0.3,
    off_taste_weight=0.2,
    mean_length=4.0,
    seed=3,
)


def transition_probabilities(world):
    """`P(next | item, taste)` as a dense table, float64 [taste, item, next]."""
    config = world.config
    table = np.zeros((config.num_tastes, config.num_items, config.num_items))
    for taste, item in np.ndindex(table.shape[:2]):
        group = world.groups[item]
        for place, successor in enumerate(world.successors[group]):
            chance = world.successor_probabilities[group, taste, place]
            table[taste, item, successor] += (1 - config.background_share) * chance
        table[taste, item] += config.background_share * world.popularity
    return table


def list_sessions(log):
    """The items of each session, as numbers."""
    numbers = np.array([int(item_id.removeprefix("item-")) for item_id in log.item_ids])
    return np.split(numbers[log.item_codes], log.offsets[1:-1])


def list_events(log, table):
    """(next item, P(next | all clicks), P(taste | all clicks)) of each event, by enumeration."""
    events = []
    for items in list_sessions(log):
        for length in range(1, len(items)):
            joint = [
                math.prod(table[taste, items[n], items[n + 1]] for n in range(length - 1))
                for taste in range(len(table))
            ]
            posterior = np.array(joint) / sum(joint)
            events.append((items[length], posterior @ table[:, items[length - 1]], posterior))
    return events


def test_tables_follow_the_definition():
    config = PlantedConfig(num_items=400, items_per_group=30, seed=2)
    world = PlantedWorld(config)
    popularity = np.array([1 / rank**config.popularity_exponent for rank in range(1, 401)])
    popularity /= popularity.sum()
    np.testing.assert_allclose(world.popularity[world.items_by_popularity], popularity)
    group_sizes = np.bincount(world.groups)
    assert len(group_sizes) == 14 and set(group_sizes) == {28, 29}
    zipf = np.array([1 / rank**config.successor_exponent for rank in range(1, 81)])
    tastes_of_item = {}
    for group, pool in enumerate(world.successors):
        assert len(set(pool)) == 80
        chances = world.successor_probabilities[group]
        np.testing.assert_allclose(chances.sum(axis=1), 1)
        appeal = chances / zipf / (chances / zipf).max(axis=1, keepdims=True)
        is_liked = appeal > 0.5
        np.testing.assert_allclose(appeal, np.where(is_liked, 1, config.off_taste_weight))
        assert (is_liked.sum(axis=0) == config.tastes_per_item).all()
        for item, liking in zip(pool, is_liked.T.tolist(), strict=True):
            assert tastes_of_item.setdefault(item, liking) == liking


def test_clicks_follow_the_transition_probabilities():
    world = PlantedWorld(dataclasses.replace(TINY, num_tastes=1))
    table = transition_probabilities(world)[0]
    sessions = list_sessions(world.sample(40_000, seed=1))
    counts, firsts = np.zeros((9, 9)), np.zeros(9)
    for items in sessions:
        firsts[items[0]] += 1
        np.add.at(counts, (items[:-1], items[1:]), 1)
    from_item = counts.sum(axis=1, keepdims=True)
    errors = (counts / from_item - table) / np.sqrt(table * (1 - table) / from_item)
    assert np.abs(errors).max() < 4.5
    errors = firsts / 40_000 - world.popularity
    assert np.abs(errors / np.sqrt(world.popularity / 40_000)).max() < 4.5


def test_a_session_keeps_its_taste():
    world = PlantedWorld(dataclasses.replace(TINY, background_share=0.02, mean_length=20.0))
    log = world.sample(3000, seed=1)
    last = world.taste_probabilities(log)[log.offsets[1:] - 1]
    is_long = np.diff(log.offsets) >= 20
    assert (last[is_long].max(axis=1) > 0.95).mean() > 0.9
    shares = np.bincount(last[is_long].argmax(axis=1), minlength=3) / is_long.sum()
    assert np.abs(shares - 1 / 3).max() < 4.5 * math.sqrt(2 / 9 / is_long.sum())


def test_taste_probabilities_equal_the_enumeration():
    world = PlantedWorld(TINY)
    log = world.sample(200, seed=2)
    has_next = np.ones(log.num_clicks, bool)
    has_next[log.offsets[1:] - 1] = False
    wanted = [posterior for *_, posterior in list_events(log, transition_probabilities(world))]
    np.testing.assert_allclose(world.taste_probabilities(log)[has_next], wanted, rtol=1e-9)


def test_best_possible_equals_the_enumeration():
    world = PlantedWorld(TINY)
    log = world.sample(300, seed=2)
    events = list_events(log, transition_probabilities(world))
    best = world.best_possible(log, (1, 3, 20))
    assert best["num_test_events"] == len(events)
    for k in (1, 3, 20):
        found, reciprocal, hits, hit_ranks = [], [], [], []
        for target, chances, _ in events:
            order = sorted(range(9), key=lambda item, chances=chances: -chances[item])[:k]
            found.append(sum(chances[item] for item in order))
            reciprocal.append(sum(chances[item] / rank for rank, item in enumerate(order, 1)))
            hits.append(target in order)
            hit_ranks.append(1 / (1 + order.index(target)) if target in order else 0)
        assert best[f"recall@{k}"] == pytest.approx(np.mean(found))
        assert best[f"mrr@{k}"] == pytest.approx(np.mean(reciprocal))
        assert best[f"realised_recall@{k}"] == pytest.approx(np.mean(hits))
        assert best[f"realised_mrr@{k}"] == pytest.approx(np.mean(hit_ranks))


def test_rank_next_equals_the_sorted_dense_table():
    config = PlantedConfig(num_items=300, num_successors=30, items_per_group=40, seed=1)
    world = PlantedWorld(config)
    rng = np.random.default_rng(0)
    items = rng.integers(0, 300, 40)
    tastes = rng.dirichlet(np.ones(config.num_tastes), 40)
    dense = np.einsum("ng,gnv->nv", tastes, transition_probabilities(world)[:, items])
    for k in (5, 60, 1000):
        top_items, chances = world.rank_next(items, tastes, k)
        wanted = -np.sort(-dense, axis=1)[:, :k]
        np.testing.assert_allclose(chances, wanted)
        np.testing.assert_allclose(np.take_along_axis(dense, top_items, 1), wanted)


def test_no_other_ranking_does_better():
    """Realised recall of rankings that know less, forget, or are disturbed, on the same clicks."""
    world = PlantedWorld(PlantedConfig(num_items=400, items_per_group=100, num_successors=60))
    log = world.sample(1500, seed=5)
    best = world.best_possible(log, (20,))
    table = transition_probabilities(world)
    events = list_events(log, table)
    current = np.concatenate([items[:-1] for items in list_sessions(log)])
    targets = np.array([target for target, *_ in events])
    full = np.array([chances for _, chances, _ in events])
    noise = np.random.default_rng(0).lognormal(sigma=0.5, size=full.shape)
    rivals = {
        "popularity": np.broadcast_to(world.popularity, full.shape),
        "last click": table.mean(axis=0)[current],
        "likeliest taste": np.array(
            [table[p.argmax(), i] for (*_, p), i in zip(events, current, strict=True)]
        ),
        "disturbed": full * noise,
    }
    spread = math.sqrt(0.25 / len(events))
    assert abs(best["realised_recall@20"] - best["recall@20"]) < 4 * spread
    for name, scores in rivals.items():
        top = np.argsort(-scores, axis=1)[:, :20]
        assert np.take_along_axis(full, top, 1).sum(axis=1).mean() < best["recall@20"], name
        realised = (top == targets[:, None]).any(axis=1).mean()
        assert realised < best["realised_recall@20"] + 2 * spread, name


def test_memory_is_needed_and_the_best_recall_is_in_its_range():
    world = PlantedWorld(PlantedConfig())
    log = world.sample(5000, seed=2)
    best = world.best_possible(log, (20,))
    assert 0.6 < best["recall@20"] < 0.8
    # A predictor without memory, given several times the sessions that a model is trained on.
    train = world.sample(200_000, seed=1)
    counts = np.zeros((2000, 2000), np.float32)
    for items in list_sessions(train):
        np.add.at(counts, (items[:-1], items[1:]), 1)
    top = np.argsort(-counts, axis=1)[:, :20]
    hits = [
        np.isin(items[n + 1], top[items[n]])
        for items in list_sessions(log)
        for n in range(len(items) - 1)
    ]
    assert np.mean(hits) < 0.88 * best["recall@20"]


def test_sessions_are_those_of_the_seeds():
    first, again = (PlantedWorld(TINY).sample(50, seed=4) for _ in range(2))
    for name in ("item_codes", "item_ids", "times", "offsets", "session_ids"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    other = PlantedWorld(TINY).sample(50, seed=5)
    other_world = PlantedWorld(dataclasses.replace(TINY, seed=4)).sample(50, seed=4)
    for log in (other, other_world):
        assert log.num_clicks != first.num_clicks or (log.item_codes != first.item_codes).any()


def test_the_log_is_in_order():
    world = PlantedWorld(PlantedConfig(mean_length=5.0, max_length=12, num_days=3))
    log = world.sample(20_000, seed=0)
    assert (log.item_codes.dtype, log.times.dtype, log.offsets.dtype) == (np.int32,) + (
        np.int64,
    ) * 2
    lengths = np.diff(log.offsets)
    assert (lengths.min(), lengths.max()) == (2, 12)
    # The mean of 2 + Geometric, cut at 12: the sum of P(length >= n) over n.
    wanted = 2 + sum(0.75**n for n in range(1, 11))
    assert lengths.mean() == pytest.approx(wanted, abs=0.1)
    is_start = np.isin(np.arange(log.num_clicks), log.offsets[:-1])
    assert (np.diff(log.times)[~is_start[1:]] > 0).all()
    starts = log.times[is_start]
    assert (np.diff(starts) >= 0).all()
    assert 2.9 * 86_400 < starts[-1] - starts[0] < 3 * 86_400
    assert len(set(log.session_ids)) == 20_000
    _, first_places = np.unique(log.item_codes, return_index=True)
    assert (np.diff(first_places) > 0).all(), "items are not numbered by first appearance"
    assert all(isinstance(item_id, str) and len(item_id) == 10 for item_id in log.item_ids)


def test_a_large_catalogue_needs_no_table_of_pairs():
    world = PlantedWorld(PlantedConfig(num_items=200_000))
    numbers = sum(table.size for table in vars(world).values() if isinstance(table, np.ndarray))
    assert numbers < 5_000_000
    log = world.sample(2000, seed=0)
    assert log.num_items > 5000
    assert world.best_possible(log, (20,))["recall@20"] > 0.6


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: PlantedConfig(num_items=50), "num_successors is 80, expected at most num_items"),
        (lambda: PlantedConfig(tastes_per_item=7), "tastes_per_item is 7"),
        (lambda: PlantedConfig(background_share=0.0), "background_share is 0.0"),
        (lambda: PlantedConfig(mean_length=1.5), "mean_length is 1.5, expected at least 2"),
        (lambda: PlantedWorld(TINY).sample(0, seed=0), "num_sessions=0"),
        (lambda: PlantedWorld(TINY).best_possible(sessions_of("item-00001"), ()), "cut-offs"),
        (lambda: PlantedWorld(TINY).best_possible(sessions_of("item-00001"), (20,)), "two clicks"),
        (lambda: PlantedWorld(TINY).best_possible(sessions_of("item-00009"), (20,)), "item-00009"),
        (lambda: PlantedWorld(TINY).taste_probabilities(sessions_of("shoe-1")), "'shoe-1'"),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def sessions_of(item_id):
    """A log of one session of one click."""
    return SessionLog(
        item_codes=np.zeros(1, np.int32),
        item_ids=np.array([item_id], object),
        times=None,
        offsets=np.array([0, 1]),
        session_ids=np.array(["1"], object),
    )
