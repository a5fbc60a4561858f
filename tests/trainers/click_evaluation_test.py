"""Scores of many examples, and what is said of models that have learned nothing."""

import numpy as np
import pytest

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.metrics.clicks import click_metrics
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.dlrm_config import DLRMConfig
from tfrec_zoo.trainers.click_evaluation import ClickScorer, evaluate_clicks, refuse_constant

CONFIG = DLRMConfig(embedding_dim=4, bottom_mlp=(4,), top_mlp=(4, 1))


def make(max_values):
    schema = ClickSchema(
        (DenseFeature("a", "a"),), (CategoricalFeature("u", "u", 9, max_values=max_values),)
    )
    rng = np.random.default_rng(1)
    shape = (53, max_values)
    examples = ClickRows(
        labels=rng.integers(0, 2, 53).astype(np.float32),
        dense=rng.normal(size=(53, 1)).astype(np.float32),
        rows=rng.integers(0, 9, shape).astype(np.int32),
        row_weights=rng.random(shape, np.float32) if max_values > 1 else None,
        weights=rng.random(53, np.float32),
    )
    return DLRM(CONFIG, schema, seed=1), examples


@pytest.mark.parametrize("max_values", [1, 3])
def test_scores_do_not_depend_on_the_batches_and_their_shards(max_values):
    model, examples = make(max_values)
    expected = model(examples.dense, examples.rows, examples.row_weights)
    for batch_size, num_shards in ((10, 1), (10, 3), (53, 2), (1000, 1), (1000, 60)):
        found = ClickScorer(model, batch_size, num_shards)(examples)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_weights_are_those_of_the_call_not_of_the_construction():
    model, examples = make(1)
    scorer = ClickScorer(model)
    before = scorer(examples)
    model.top.layers[-1].bias.assign_add([1.0])
    np.testing.assert_allclose(scorer(examples), before + 1, rtol=1e-5)


def test_metrics_count_weights():
    model, examples = make(3)
    metrics = evaluate_clicks(ClickScorer(model), examples)
    logits = model(examples.dense, examples.rows, examples.row_weights).numpy()
    expected = click_metrics(examples.labels, logits, examples.weights)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert metrics["num_test_examples"] == 53
    rate = np.average(examples.labels, weights=examples.weights)
    assert metrics["click_rate"] == pytest.approx(rate)


def test_no_examples():
    model, examples = make(1)
    with pytest.raises(ValueError, match="no examples to evaluate"):
        evaluate_clicks(ClickScorer(model), examples.slice(0, 0))


def test_predictions_that_tell_nothing_are_refused():
    refuse_constant(np.float32([0.1, 0.2]))
    refuse_constant(np.float32([0.1]))
    with pytest.raises(ValueError, match=r"all 3 predictions are 0\.5 \(log-odds\).* collapsed"):
        refuse_constant(np.full(3, 0.5, np.float32))
    with pytest.raises(ValueError, match="1 of 2 predictions are not finite"):
        refuse_constant(np.float32([0.1, np.nan]))
