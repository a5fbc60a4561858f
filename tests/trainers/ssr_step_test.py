"""Whole training steps of SSR, weights and slots, against NumPy in float64 and its gradients."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny_news
from block_steps import to_tensors, unstack
from ssr_oracle import StepOracle

from tfrec_zoo.data.news.history_batches import HistoryBatches
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.news.training_examples import TrainingExamples
from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.trainers.drivers.block_runner import make_block_runner
from tfrec_zoo.trainers.ssr_step import SSRStep

CATALOGUE = tiny_news.make_catalogue()
# 9 examples of sessions and 3 of impressions: with 5 a step, the last one of a width is not full.
EXAMPLES = TrainingExamples(
    dataclasses.replace(tiny_news.make_histories((4, 2, 5, 3)), max_history=6),
    tiny_news.make_impressions((3, 5)),
)


def make_experiment(**groups) -> SSRExperiment:
    values = {
        "model": {"embedding_dim": 3, "hidden_dim": 3, "vector_dim": 2},
        "batches": {
            "batch_size": 5,
            "num_negatives": 4,
            "popularity_exponent": 0.75,
            "num_shown_negatives": 2,
            "max_history": 6,
        },
        "optimizer": {"learning_rate": 0.1},
        "training": {"steps_per_block": 3, "seed": 11},
    }
    merged = {key: {**values.get(key, {}), **groups.get(key, {})} for key in {*values, *groups}}
    return SSRExperiment.from_dict(merged)


def make_step(experiment, catalogue=CATALOGUE) -> SSRStep:
    model = SSR(experiment.model, catalogue.schema, seed=experiment.training.seed)
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.8)
    (table,) = model.tables.tables
    table.variable[0].assign(tf.zeros(table.variable.shape[1]))
    return SSRStep(model, experiment)


def list_blocks(step, experiment, catalogue=CATALOGUE, examples=EXAMPLES, epoch=0):
    batches = HistoryBatches(
        examples,
        catalogue,
        experiment.batches,
        [store.locate for store in step.model.tables.stores],
        has_ages=step.model.age_scores is not None,
        noise_width=step.model.noise_width,
        steps_per_block=experiment.training.steps_per_block,
        seed=experiment.training.seed,
    )
    return list(batches.blocks(epoch))


def assert_equal(step, oracle):
    """Weights and slots of all variables."""
    slots = {id(step.model.tables.tables[0].variable): step.optimizer.table_slots[0]}
    for variable, own in zip(step.dense, step.optimizer.dense_slots, strict=True):
        slots[id(variable)] = own
    assert len(slots) == len(oracle.variables)
    config = oracle.experiment.optimizer
    for name, variable in oracle.variables.items():
        wanted = oracle.weights[name]
        np.testing.assert_allclose(variable, wanted, rtol=5e-4, atol=5e-5, err_msg=name)
        expected = oracle.optimizers[name].slots
        named = [expected["accumulator"]] if config.optimizer == "adagrad" else []
        named += [expected["velocity"]] if config.momentum else []
        for slot, value in zip(slots[id(variable)], named, strict=True):
            np.testing.assert_allclose(slot, value, rtol=5e-3, atol=5e-5, err_msg=name)


SHARED = {"loss": {"temperature": 0.3, "logq_weight": 0.7}}
VARIANTS = {
    "shared with logQ": {
        **SHARED,
        "batches": {"num_shown_negatives": 0},
        "optimizer": {"momentum": 0.3},
    },
    "Paddle's hinge, one uniform negative": {
        "model": {"session_pooling": "max"},
        "loss": {"loss": "hinge", "margin": 0.8, "remove_accidental_hits": False},
        "batches": {
            "num_negatives": 1,
            "popularity_exponent": 0,
            "shared_negatives": False,
            "num_shown_negatives": 0,
        },
    },
    "hinge over shared ones, clipped": {
        "loss": {"loss": "hinge", "margin": 0.5},
        "optimizer": {"clip_norm": 0.2, "momentum": 0.2, "embedding_learning_rate": 0.3},
    },
    "shown in vain, ages": {
        **SHARED,
        "model": {"age_buckets": 4, "age_unit": 37.0, "session_pooling": "last"},
    },
    "own negatives, shown in vain, ages": {
        "model": {"age_buckets": 6, "age_unit": 11.0, "session_pooling": "mean"},
        "loss": {"temperature": 0.4},
        "batches": {"shared_negatives": False, "impression_weight": 2.5},
        "optimizer": {"optimizer": "sgd", "l2_penalty": 0.1},
    },
    "hard negatives": {
        "loss": {"temperature": 0.3, "logq_weight": 1.0, "num_hard_negatives": 2},
        "model": {"normalize": False},
    },
    "hard own negatives": {
        "loss": {"loss": "hinge", "num_hard_negatives": 2},
        "batches": {"shared_negatives": False},
        # Adagrad would make much of gradients that are next to nothing, and of their rounding.
        "optimizer": {"optimizer": "sgd"},
    },
    "accidental hits stay, no in-batch negatives, mean of the clicks": {
        "loss": {"temperature": 0.5, "logq_weight": 0.5, "remove_accidental_hits": False},
        "batches": {"in_batch_negatives": False, "num_negatives": 12},
        "model": {"session_encoder": "mean"},
    },
    "accidental hits stay, in-batch alone": {
        "loss": {"remove_accidental_hits": False, "temperature": 0.2},
        "batches": {"num_negatives": 0},
    },
    "dropout, unknown values": {
        **SHARED,
        "model": {"item_dropout": 0.4},
        "batches": {"unknown_rate": 0.3},
    },
}


@pytest.mark.parametrize("groups", VARIANTS.values(), ids=VARIANTS.keys())
def test_an_epoch_of_steps_is_that_of_the_oracle(groups):
    experiment = make_experiment(**groups)
    step = make_step(experiment)
    oracle = StepOracle(step, experiment)
    blocks = list_blocks(step, experiment)
    batches = [batch for block in blocks for batch in unstack(block)]
    assert len(batches) >= 3 and not all(batch["is_valid"].all() for batch in batches)
    for batch in batches:
        loss, states = step(to_tensors(batch), ())
        assert states == ()
        assert float(loss) == pytest.approx(oracle(batch), rel=1e-4)
        assert_equal(step, oracle)


def test_an_item_without_content_but_its_id_trains_as_any():
    catalogue = ItemCatalogue.of_ids(CATALOGUE.vocabulary)
    experiment = make_experiment(**VARIANTS["Paddle's hinge, one uniform negative"])
    step = make_step(experiment, catalogue)
    oracle = StepOracle(step, experiment)
    for block in list_blocks(step, experiment, catalogue):
        assert "row_weights" not in block
        for batch in unstack(block):
            loss, _ = step(to_tensors(batch), ())
            assert float(loss) == pytest.approx(oracle(batch), rel=1e-4)
            assert_equal(step, oracle)


@pytest.mark.parametrize("name", ["shown in vain, ages", "dropout, unknown values"])
def test_a_compiled_block_is_that_of_the_oracle(name):
    experiment = make_experiment(**VARIANTS[name])
    step = make_step(experiment)
    oracle = StepOracle(step, experiment)
    run = make_block_runner(step, jit_compile=True)
    block = max(list_blocks(step, experiment), key=lambda block: block["is_valid"].sum())
    losses, num_examples, _ = run(to_tensors(block), ())
    wanted = [oracle(batch) for batch in unstack(block)]
    np.testing.assert_allclose(losses[: len(wanted)], wanted, rtol=1e-3)
    assert int(num_examples) == block["is_valid"].sum()
    assert_equal(step, oracle)


@pytest.mark.parametrize(
    "name", ["shown in vain, ages", "own negatives, shown in vain, ages", "hard negatives"]
)
def test_what_fills_up_a_step_takes_no_part(name):
    experiment = make_experiment(**VARIANTS[name])
    steps = [make_step(experiment) for _ in range(2)]
    batch = next(
        batch
        for block in list_blocks(steps[0], experiment)
        for batch in unstack(block)
        if not batch["is_valid"].all()
    )
    other = {key: array.copy() for key, array in batch.items()}
    is_empty = ~batch["is_valid"]
    other["history"][is_empty] = 1 + np.arange(other["history"].shape[1]) % 3
    other["lengths"][is_empty] = 1
    if "times" in other:
        other["times"][is_empty] += 77
    losses = [
        step(to_tensors(given), ())[0] for step, given in zip(steps, (batch, other), strict=True)
    ]
    assert float(losses[0]) == float(losses[1])
    for one, two in zip(steps[0].model.weights, steps[1].model.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_step_moves_what_it_reads_and_nothing_else():
    experiment = make_experiment(**VARIANTS["shared with logQ"])
    step = make_step(experiment)
    table = step.model.tables.tables[0].variable
    batch = next(unstack(list_blocks(step, experiment)[0]))
    before = table.numpy()
    step(to_tensors(batch), ())
    is_moved = (table.numpy() != before).any(axis=1)
    assert {*np.flatnonzero(is_moved)} == {*batch["columns_0"].tolist()} - {0}


def test_every_example_of_an_empty_step_is_left_out():
    experiment = make_experiment(**SHARED)
    step = make_step(experiment)
    batch = next(unstack(list_blocks(step, experiment)[0]))
    batch["is_valid"] = np.zeros_like(batch["is_valid"])
    before = [variable.numpy() for variable in step.model.weights]
    assert float(step(to_tensors(batch), ())[0]) == 0
    for variable, old in zip(step.model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, old)
