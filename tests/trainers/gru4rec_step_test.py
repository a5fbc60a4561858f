"""Whole training steps, weights and accumulators, against NumPy in float64 and its gradients."""

import numpy as np
import pytest
import tensorflow as tf
from block_steps import assert_no_kernel_is_copied, to_tensors, unstack
from oracles import make_sessions
from step_oracle import StepOracle

from tfrec_zoo.data.sessions.session_batches import SessionBatches
from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.trainers.drivers.block_runner import make_block_runner
from tfrec_zoo.trainers.gru4rec_step import GRU4RecStep

NUM_ITEMS, NUM_LANES, STEPS_PER_BLOCK = 9, 3, 8
SESSIONS = make_sessions([3, 2, 4, 2, 3, 2, 5], NUM_ITEMS - 1, seed=3)
COUNTS = np.bincount(SESSIONS.rows, minlength=NUM_ITEMS + 1)


def make_experiment(**groups):
    values = {
        "model": {"hidden_dims": [3], "init_scale": 0.8},
        "batches": {"num_lanes": NUM_LANES, "num_negatives": 4, "popularity_exponent": 0.75},
        "optimizer": {"learning_rate": 0.1},
        "training": {"steps_per_block": STEPS_PER_BLOCK, "seed": 11},
    }
    merged = {key: {**values.get(key, {}), **groups.get(key, {})} for key in {*values, *groups}}
    return GRU4RecExperiment.from_dict(merged)


def make_step(experiment, num_rows=NUM_ITEMS + 1, counts=COUNTS):
    model = GRU4Rec(experiment.model, num_rows, seed=experiment.training.seed)
    if experiment.model.use_item_bias:
        model.item_table[1:, -1].assign(np.random.default_rng(0).normal(size=num_rows - 1))
    return GRU4RecStep(model, experiment, counts)


def list_blocks(experiment, epoch=0):
    batches = SessionBatches(
        SESSIONS,
        COUNTS,
        experiment.batches,
        has_tied_inputs=experiment.model.tie_embeddings,
        steps_per_block=experiment.training.steps_per_block,
        seed=experiment.training.seed,
    )
    return list(batches.blocks(epoch))


def assert_equal(step, oracle):
    """Weights and slots of all variables."""
    model = step.model
    tables = [getattr(model, name) for name in oracle.names]
    slots = [*step.optimizer.table_slots, *step.optimizer.dense_slots]
    variables = [*tables, *model.network.trainable_variables]
    for (name, wanted), variable, own in zip(oracle.weights.items(), variables, slots, strict=True):
        np.testing.assert_allclose(variable, wanted, rtol=2e-4, atol=2e-5, err_msg=name)
        expected = oracle.optimizers[name].slots
        named = (
            [expected["accumulator"]] if oracle.experiment.optimizer.optimizer == "adagrad" else []
        )
        named += [expected["velocity"]] if oracle.experiment.optimizer.momentum else []
        for slot, value in zip(own, named, strict=True):
            np.testing.assert_allclose(slot, value, rtol=2e-4, atol=2e-5, err_msg=name)


LOGQ = {"loss": {"logq_weight": 0.7}, "optimizer": {"momentum": 0.3}}
BPR_MAX = {
    "loss": {"loss": "bpr_max", "score_penalty": 0.6},
    "model": {"score_activation": "elu", "elu_alpha": 0.5},
    "optimizer": {"momentum": 0.2, "embedding_learning_rate": 0.2},
}
UNTIED = {"tie_embeddings": False}
VARIANTS = {
    "cross-entropy, logQ, tied": LOGQ,
    "cross-entropy, logQ, one-hot": {
        **LOGQ,
        "model": UNTIED,
        "optimizer": {"clip_norm": 0.05, "momentum": 0.3},
    },
    "cross-entropy, logQ, smoothing, windows of two": {
        "loss": {"logq_weight": 1.0, "label_smoothing": 0.1, "loss_reduction": "events"},
        "batches": {"unroll_steps": 2},
    },
    "bpr-max, tied": BPR_MAX,
    "bpr-max, separate, two layers": {
        **BPR_MAX,
        "model": {**BPR_MAX["model"], **UNTIED, "embedding_dim": 2, "hidden_dims": [3, 2]},
    },
    "top1-max, in-batch only, no bias": {
        "loss": {"loss": "top1_max"},
        "batches": {"num_negatives": 0},
        "model": {"use_item_bias": False},
    },
    "top1, extra only, no hits, l2": {
        "loss": {"loss": "top1", "remove_accidental_hits": True},
        "batches": {"in_batch_negatives": False},
        "optimizer": {"l2_penalty": 0.1, "optimizer": "sgd"},
    },
    "bpr, all items, separate": {
        "loss": {"loss": "bpr"},
        "batches": {"num_negatives": None},
        "model": {**UNTIED, "embedding_dim": 2},
        "optimizer": {"momentum": 0.3},
    },
    "bpr-mean, own negatives, whole sessions": {
        "loss": {"loss": "bpr_mean", "loss_reduction": "sum"},
        "batches": {"shared_negatives": False, "schedule": "sessions"},
        "model": {**UNTIED, "embedding_dim": 2},
        "optimizer": {"clip_norm": 0.3},
    },
}


def make_pair(groups):
    experiment = make_experiment(**groups)
    step = make_step(experiment)
    return experiment, step, StepOracle(step, experiment, COUNTS)


@pytest.mark.parametrize("groups", VARIANTS.values(), ids=VARIANTS.keys())
def test_an_epoch_of_steps_is_that_of_the_oracle(groups):
    experiment, step, oracle = make_pair(groups)
    states = step.model.initial_state(NUM_LANES)
    wanted_states = [state.numpy().astype(float) for state in states]
    num_steps = 0
    for batch in (batch for block in list_blocks(experiment) for batch in unstack(block)):
        loss, states = step(to_tensors(batch), states)
        wanted, wanted_states = oracle(batch, wanted_states)
        assert float(loss) == pytest.approx(wanted, rel=1e-4)
        assert_equal(step, oracle)
        num_steps += 1
    assert num_steps >= 3
    is_playing = batch["is_valid"][-1]
    for state, wanted in zip(states, wanted_states, strict=True):
        np.testing.assert_allclose(state[is_playing], wanted[is_playing], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["cross-entropy, logQ, one-hot", "bpr-max, tied"])
def test_a_compiled_block_is_that_of_the_oracle(name):
    experiment, step, oracle = make_pair(VARIANTS[name])
    run = make_block_runner(step, jit_compile=True)
    states = step.model.initial_state(NUM_LANES)
    wanted_states = [state.numpy().astype(float) for state in states]
    (block,) = list_blocks(experiment)
    losses, num_events, _ = run(to_tensors(block), states)
    wanted = []
    for batch in unstack(block):
        loss, wanted_states = oracle(batch, wanted_states)
        wanted.append(loss)
    np.testing.assert_allclose(losses[: len(wanted)], wanted, rtol=1e-3)
    assert int(num_events) == block["is_valid"].sum()
    assert_equal(step, oracle)


def test_xla_copies_no_kernel_of_a_step():
    experiment = make_experiment(model={"hidden_dims": [5, 4]})
    step = make_step(experiment)
    (block,) = list_blocks(experiment)
    assert_no_kernel_is_copied(step, block, step.model.initial_state(NUM_LANES))


@pytest.mark.parametrize("model", [{}, UNTIED])
def test_no_operation_of_a_step_is_as_large_as_the_catalogue(model):
    """Only the handles of variables and what the caller holds know of it."""
    num_rows = 7919
    experiment = make_experiment(model=model, optimizer={"momentum": 0.1, "clip_norm": 1.0})
    step = make_step(experiment, num_rows, np.ones(num_rows, int))
    batch = to_tensors(next(unstack(list_blocks(experiment)[0])))
    before = step.model.item_table.numpy()
    graph = (
        tf.function(step, autograph=False)
        .get_concrete_function(batch, step.model.initial_state(NUM_LANES))
        .graph
    )
    large = {
        operation.type
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.rank is None or num_rows in output.shape.as_list()
    }
    assert len(graph.get_operations()) > 100
    assert large <= {"Placeholder"}, large
    step(batch, step.model.initial_state(NUM_LANES))
    is_moved = (step.model.item_table.numpy() != before).any(axis=1)
    assert set(np.flatnonzero(is_moved)) == set(batch["columns"].numpy()) - {0}


@pytest.mark.parametrize("name", ["dropout_hidden", "dropout_embedding"])
def test_dropout_is_that_of_the_noise_in_the_batch(name):
    experiment = make_experiment(
        model={name: 0.4, "hidden_dims": [20]},
        # The weights hardly move.
        optimizer={"optimizer": "sgd", "learning_rate": 1e-12},
    )
    step = make_step(experiment)
    batch = next(unstack(list_blocks(experiment)[0]))

    def loss_with(seed):
        shape = (*batch["is_valid"].shape, step.model.noise_width)
        noise = np.random.default_rng(seed).integers(0, 2**16, shape, np.uint16)
        tensors = to_tensors({**batch, "noise": noise})
        return float(step(tensors, step.model.initial_state(NUM_LANES))[0])

    assert step.model.noise_width == 20
    assert loss_with(1) == loss_with(1) != loss_with(2)


@pytest.mark.parametrize("model", [{}, UNTIED, {**UNTIED, "embedding_dim": 2}])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adadelta", "sgd", "keras:Adam"])
def test_every_optimizer_runs_in_every_input_mode(optimizer, model):
    experiment = make_experiment(
        model=model, optimizer={"optimizer": optimizer, "learning_rate": 1}
    )
    step = make_step(experiment)
    before = [variable.numpy() for variable in step.model.trainable_variables]
    states = step.model.initial_state(NUM_LANES)
    for batch in unstack(list_blocks(experiment)[0]):
        loss, states = step(to_tensors(batch), states)
        assert np.isfinite(loss)
    for variable, old in zip(step.model.trainable_variables, before, strict=True):
        assert (variable.numpy() != old).any(), variable.name
