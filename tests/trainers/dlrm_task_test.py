"""DLRM's task: what the engine asks of it."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from tfrec_zoo.data.clicks.planted_clicks import PlantedClicksConfig, PlantedClickWorld
from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.trainers import dlrm_task
from tfrec_zoo.trainers.dlrm_task import DLRMTask

WORLD = PlantedClickWorld(PlantedClicksConfig(num_dense=2, value_counts=(12, 20)))
EXPERIMENT = DLRMExperiment.from_dict(
    {"model": {"embedding_dim": 4, "bottom_mlp": [4], "top_mlp": [4, 1]}}
)


@pytest.fixture
def task():
    examples = WORLD.sample(300, 1)
    return DLRMTask(EXPERIMENT, WORLD.schema, examples, validation=WORLD.sample(200, 2))


def test_a_model_that_has_collapsed_is_refused(task):
    task.check()
    kernel, _ = task.model.top.layers[-1].weights
    kernel.assign(np.zeros(kernel.shape))
    with pytest.raises(ValueError, match="all 300 predictions are .* the model has collapsed"):
        task.check()
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(ValueError, match="300 of 300 predictions are not finite"):
        task.check()


def test_a_model_at_chance_is_told(task, caplog):
    labels = task._validation.labels
    # Half of the examples with a click score above, half below those without.
    scores = np.zeros(200, np.float32)
    clicks = np.flatnonzero(labels)
    scores[clicks] = np.where(np.arange(len(clicks)) % 2, 1, -1)
    scores[clicks[: len(clicks) % 2]] = 0
    task.scorer = lambda examples: scores
    with caplog.at_level(logging.WARNING):
        metrics = task.validate()
    assert metrics["auc"] == pytest.approx(0.5, abs=1e-3)
    assert any("is that of chance" in message for message in caplog.messages)


def test_the_fingerprint_is_that_of_the_examples(task):
    other = DLRMTask(EXPERIMENT, WORLD.schema, WORLD.sample(300, 3))
    same = DLRMTask(EXPERIMENT, WORLD.schema, WORLD.sample(300, 1))
    assert task.fingerprint == same.fingerprint != other.fingerprint
    assert not same.has_validation
    assert (task.num_events, task.initial_states()) == (300, ())


def test_numbers_that_are_too_large_to_learn_from_are_told(caplog):
    examples = WORLD.sample(300, 1)
    with caplog.at_level(logging.WARNING):
        DLRMTask(EXPERIMENT, WORLD.schema, examples)
        assert not caplog.messages
        DLRMTask(EXPERIMENT, WORLD.schema, replace(examples, dense=examples.dense * [1, 1e4]))
    _, name = (feature.name for feature in WORLD.schema.dense)
    size = np.abs(examples.dense[:, 1]).mean() * 1e4
    assert [m for m in caplog.messages if f": {name} {size:.4g} on average" in m]


@pytest.mark.parametrize("num_shards", [0, 2])
@pytest.mark.parametrize("has_instructions", [True, False])
def test_shards_and_products_of_bfloat16_are_not_left_to_xla(
    has_instructions, num_shards, monkeypatch
):
    monkeypatch.setattr(dlrm_task, "multiplies_bfloat16", lambda: has_instructions)
    monkeypatch.setattr(dlrm_task, "choose_num_shards", lambda experiment: num_shards)
    steps = []
    monkeypatch.setattr(
        dlrm_task, "DLRMStep", lambda *_, **options: steps.append(options["num_shards"])
    )
    half = replace(EXPERIMENT, model=replace(EXPERIMENT.model, precision="mixed_bfloat16"))
    tasks = [DLRMTask(e, WORLD.schema, WORLD.sample(300, 1)) for e in (EXPERIMENT, half)]
    assert steps == [num_shards, num_shards]
    of_half = not num_shards and not has_instructions
    assert [task.prefers_xla for task in tasks] == [not num_shards, of_half]


def test_tables_are_redrawn_between_epochs_and_layers_are_not():
    experiment = DLRMExperiment.from_dict(
        {
            **EXPERIMENT.to_dict(),
            "optimizer": {"optimizer": "adagrad", "initial_accumulator": 0.5},
            "training": {"redraw_tables": True},
        }
    )
    task = DLRMTask(experiment, WORLD.schema, WORLD.sample(300, 1))
    (table,), (slots,) = task.model.tables.tables, task.step.optimizer.table_slots
    first = table.variable.numpy()
    layers = [variable.numpy() for variable in task.step.dense_variables]
    slots[0].assign_add(np.ones(slots[0].shape))
    task.begin_epoch(0)
    np.testing.assert_array_equal(table.variable, first)
    assert slots[0].numpy().min() == 1.5
    task.begin_epoch(1)
    second = table.variable.numpy()
    assert not np.isclose(second[1:], first[1:]).all(axis=1).any()
    assert not second[0].any()
    np.testing.assert_array_equal(slots[0], np.full(slots[0].shape, 0.5))
    task.begin_epoch(2)
    assert not np.array_equal(table.variable, second)
    task.begin_epoch(1)
    np.testing.assert_array_equal(table.variable, second)
    for variable, before in zip(task.step.dense_variables, layers, strict=True):
        np.testing.assert_array_equal(variable, before)


def test_the_bias_starts_at_the_click_rate_on_request():
    examples = WORLD.sample(300, 1)
    values = {**EXPERIMENT.to_dict()}
    values["model"]["click_rate_bias"] = True
    task = DLRMTask(DLRMExperiment.from_dict(values), WORLD.schema, examples)
    bias = float(task.model.top.layers[-1].bias.numpy()[0])
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(examples.labels.mean(), rel=1e-5)
    task.model.set_click_rate(0.0)
    assert np.isfinite(task.model.top.layers[-1].bias.numpy()).all()
