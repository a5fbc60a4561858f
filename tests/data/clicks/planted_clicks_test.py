"""Planted clicks against their own definition, enumerated in loops, and against chance."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from tfrec_zoo.data.clicks.planted_clicks import PlantedClickWorld
from tfrec_zoo.data.clicks.planted_clicks_config import PlantedClicksConfig
from tfrec_zoo.metrics.clicks import log_loss, roc_auc

TINY = PlantedClicksConfig(
    num_dense=2,
    value_counts=(3, 5),
    bag_value_counts=(4, 6),
    max_values=3,
    pooling="sum",
    weighted_bags=True,
    latent_dim=2,
    seed=3,
)
SHAPES = [
    TINY,
    dataclasses.replace(TINY, pooling="mean", weighted_bags=False),
    dataclasses.replace(TINY, num_dense=0, bag_value_counts=()),
]


def logit_of(world, rows, example):
    """The formula at the head of the module, value by value."""
    logit, vectors = world.bias, [np.zeros(world.config.latent_dim)]
    for dense, mean, weights in zip(
        rows.dense[example], world.dense_means, world.dense_weights, strict=True
    ):
        logit += (float(dense) - mean) * weights[0]
        vectors[0] = vectors[0] + (float(dense) - mean) * weights[1:]
    table = slot = 0
    for feature in world.schema.categorical:
        vectors.append(np.zeros(world.config.latent_dim))
        for _ in range(feature.max_values):
            weight = 1.0 if rows.row_weights is None else float(rows.row_weights[example, slot])
            row = world.tables[table + rows.rows[example, slot]]
            logit += weight * row[0]
            vectors[-1] = vectors[-1] + weight * row[1:]
            slot += 1
        table += feature.num_rows
    return logit + sum(first @ second for first, second in itertools.combinations(vectors, 2))


@pytest.mark.parametrize("config", SHAPES)
def test_true_logits_follow_the_formula(config):
    world = PlantedClickWorld(config)
    rows = world.sample(200, seed=1)
    wanted = [logit_of(world, rows, example) for example in range(200)]
    np.testing.assert_allclose(world.true_logits(rows), wanted, rtol=1e-9, atol=1e-9)


def test_effects_are_0_in_the_mean_and_for_unknown_values():
    world = PlantedClickWorld(TINY)
    start = 0
    for feature, count in zip(world.schema.categorical, (3, 5, 4, 6), strict=True):
        assert feature.num_rows == count + 1
        table = world.tables[start : start + feature.num_rows]
        zipf = np.array([1 / rank**TINY.zipf_exponent for rank in range(1, count + 1)])
        np.testing.assert_allclose(zipf @ table[1:], 0, atol=1e-12)
        assert not table[0].any()
        start += feature.num_rows
    assert start == len(world.tables)


def test_click_rate_and_spreads_are_those_of_the_configuration():
    config = PlantedClicksConfig(
        click_rate=0.1, first_order_spread=0.8, interaction_spread=1.3, seed=2
    )
    world = PlantedClickWorld(config)
    rows = world.sample(100_000, seed=1)
    assert rows.labels.mean() == pytest.approx(0.1, abs=0.005)
    total = world.true_logits(rows)
    world.tables[:, 1:] = 0
    world.dense_weights[:, 1:] = 0
    first = world.true_logits(rows)
    assert first.std() == pytest.approx(0.8, rel=0.03)
    assert (total - first).std() == pytest.approx(1.3, rel=0.03)
    # What the interactions add is nothing that first-order effects could say.
    assert abs(np.corrcoef(first, total - first)[0, 1]) < 0.02


def test_values_have_zipf_frequencies():
    world = PlantedClickWorld(PlantedClicksConfig(zipf_exponent=0.7))
    num_rows = 50_000
    rows = world.sample(num_rows, seed=1)
    for slot, count in enumerate((20, 30, 50, 100)):
        weights = np.array([1 / rank**0.7 for rank in range(1, count + 1)])
        wanted = weights / weights.sum()
        counts = np.bincount(rows.rows[:, slot], minlength=count + 1)
        assert counts[0] == 0
        errors = (counts[1:] / num_rows - wanted) / np.sqrt(wanted / num_rows)
        assert np.abs(errors).max() < 4.5
    assert (rows.dense == 0).mean() == pytest.approx(0.106, abs=0.01)  # P(N(1.5, 1.2) < 0)
    np.testing.assert_allclose(np.expm1(rows.dense), np.rint(np.expm1(rows.dense)), rtol=1e-5)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_bags_hold_distinct_values_and_padding_behind(pooling, weighted):
    config = dataclasses.replace(TINY, pooling=pooling, weighted_bags=weighted)
    rows = PlantedClickWorld(config).sample(2000, seed=1)
    assert (rows.rows.dtype, rows.row_weights.dtype) == (np.int32, np.float32)
    assert (rows.row_weights[:, :2] == 1).all()
    sizes = set()
    for bag, weights in zip(rows.rows[:, 2:5], rows.row_weights[:, 2:5], strict=True):
        size = np.count_nonzero(bag)
        sizes.add(size)
        assert len(set(bag[:size])) == size and not bag[size:].any()
        assert (weights[:size] > 0).all() and not weights[size:].any()
        if pooling == "mean" and size:
            assert weights.sum() == pytest.approx(1)
        elif not weighted:
            assert (weights[:size] == 1).all()
    assert sizes == {0, 1, 2, 3}


def test_clicks_happen_with_the_true_probabilities():
    world = PlantedClickWorld(PlantedClicksConfig())
    rows = world.sample(200_000, seed=1)
    probabilities = 1 / (1 + np.exp(-world.true_logits(rows)))
    order = np.argsort(probabilities)
    for part in np.array_split(order, 20):
        wanted = probabilities[part]
        error = (rows.labels[part] - wanted).sum() / math.sqrt((wanted * (1 - wanted)).sum())
        assert abs(error) < 4.5


def test_best_possible_equals_the_enumeration_of_all_labels():
    world = PlantedClickWorld(TINY)
    rows = world.sample(9, seed=4).take(np.array([0, 1, 2, 3, 4, 5, 6, 7, 7]))
    logits = [logit_of(world, rows, example) for example in range(9)]
    right = pairs = loss = 0.0
    for labels in itertools.product((0, 1), repeat=9):
        chances = [1 / (1 + math.exp(-z if y else z)) for y, z in zip(labels, logits, strict=True)]
        chance = math.prod(chances)
        loss -= chance * sum(map(math.log, chances)) / 9
        for i, j in itertools.product(range(9), repeat=2):
            if labels[i] > labels[j]:
                pairs += chance
                is_equal = {i, j} == {7, 8}
                right += chance * (0.5 if is_equal else logits[i] > logits[j])
    best = world.best_possible(rows)
    assert best["auc"] == pytest.approx(right / pairs)
    assert best["log_loss"] == pytest.approx(loss)
    assert best["num_rows"] == 9


def test_realised_values_are_the_metrics_of_the_true_logits():
    world = PlantedClickWorld(PlantedClicksConfig())
    rows = world.sample(50_000, seed=5)
    best, logits = world.best_possible(rows), world.true_logits(rows)
    assert best["realised_auc"] == pytest.approx(roc_auc(rows.labels, logits))
    assert best["realised_log_loss"] == pytest.approx(log_loss(rows.labels, logits))
    assert best["auc"] == pytest.approx(best["realised_auc"], abs=0.01)
    assert best["log_loss"] == pytest.approx(best["realised_log_loss"], abs=0.01)
    assert 0.78 < best["auc"] < 0.82


def test_no_other_prediction_does_better_and_interactions_are_needed():
    world = PlantedClickWorld(PlantedClicksConfig())
    rows = world.sample(100_000, seed=6)
    best, logits = world.best_possible(rows), world.true_logits(rows)
    rng = np.random.default_rng(0)
    blind = PlantedClickWorld(PlantedClicksConfig())
    blind.tables[:, 1:] = 0
    rivals = {
        "disturbed": logits + rng.normal(scale=0.3, size=logits.shape),
        "too sure": 1.3 * logits,
        "shifted": logits + 0.2,
        "without interactions": blind.true_logits(rows),
    }
    for name, scores in rivals.items():
        assert log_loss(rows.labels, scores) > best["realised_log_loss"], name
        assert roc_auc(rows.labels, scores) <= best["realised_auc"], name
    assert roc_auc(rows.labels, rivals["without interactions"]) < 0.95 * best["auc"]


def test_labels_of_one_kind_leave_the_realised_auc_undefined():
    world = PlantedClickWorld(TINY)
    rows = dataclasses.replace(world.sample(5, seed=0), labels=np.ones(5, np.float32))
    best = world.best_possible(rows)
    assert math.isnan(best["realised_auc"]) and 0 < best["auc"] < 1


def test_clicks_are_those_of_the_seeds():
    first, again = (PlantedClickWorld(TINY).sample(50, seed=4) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    other = PlantedClickWorld(TINY).sample(50, seed=5)
    other_world = PlantedClickWorld(dataclasses.replace(TINY, seed=4)).sample(50, seed=4)
    assert len({rows.fingerprint for rows in (first, other, other_world)}) == 3


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: PlantedClicksConfig(latent_dim=0), "latent_dim is 0, expected at least 1"),
        (lambda: PlantedClicksConfig(value_counts=(5, 1)), "at least 2 values of each feature"),
        (
            lambda: PlantedClicksConfig(value_counts=(5,), bag_value_counts=()),
            "at least two features",
        ),
        (lambda: PlantedClicksConfig(click_rate=1.0), "click_rate is 1.0"),
        (lambda: PlantedClicksConfig(pooling="max"), "pooling must be one of sum, mean"),
        (lambda: PlantedClickWorld(TINY).sample(0, seed=0), "num_rows=0"),
        (lambda: PlantedClickWorld(TINY).best_possible(rows_of(TINY).slice(0, 0)), "no rows"),
        (lambda: PlantedClickWorld(TINY).true_logits(rows_of(SHAPES[2])), "another schema"),
        (
            lambda: PlantedClickWorld(TINY).true_logits(
                rows_of(dataclasses.replace(TINY, value_counts=(3, 50)))
            ),
            "another schema",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def rows_of(config):
    """Some examples of a world."""
    return PlantedClickWorld(config).sample(200, seed=0)
