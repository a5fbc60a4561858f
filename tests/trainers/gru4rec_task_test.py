"""GRU4Rec under the engine: every kind of training, and the start from another run."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import WORLD

from tfrec_zoo.data.sessions.planted_sessions import PlantedWorld
from tfrec_zoo.data.sessions.session_log import Sessions
from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.export.restore import restore_gru4rec
from tfrec_zoo.run_folder import open_run_folder
from tfrec_zoo.trainers.gru4rec_task import GRU4RecTask, train_in_folder, warm_start
from tfrec_zoo.vocabulary import Vocabulary

BASE = {
    "model": {"hidden_dims": [8]},
    "batches": {"num_lanes": 8, "num_negatives": 8},
    "optimizer": {"learning_rate": 0.1},
    "training": {"steps_per_block": 5, "epochs": 2, "jit_compile": False},
}


def make_experiment(**changes) -> GRU4RecExperiment:
    """Returns the base with groups of options changed."""
    return GRU4RecExperiment.from_dict(
        {name: {**BASE.get(name, {}), **changes.get(name, {})} for name in {**BASE, **changes}}
    )


@pytest.fixture(scope="module")
def log():
    return PlantedWorld(WORLD).sample(120, seed=1)


@pytest.fixture(scope="module")
def vocabulary(log):
    return Vocabulary.from_codes(log.item_ids, log.item_codes)


@pytest.fixture(scope="module")
def sessions(log, vocabulary):
    return Sessions.from_log(log, vocabulary)


@pytest.fixture(scope="module")
def train(sessions, vocabulary, tmp_path_factory):
    """Trains an experiment in a new folder; returns the task and the lines of the metrics log."""

    def train(experiment, **options):
        path = tmp_path_factory.mktemp("run") / "run"
        task = GRU4RecTask(experiment, sessions, vocabulary, **options)
        with open_run_folder(path, experiment) as folder:
            train_in_folder(task, folder, vocabulary, experiment)
        return task, folder.load_metrics_log(), path

    return train


def assert_equal_weights(task, other):
    for found, expected in zip(task.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(found, expected)


KINDS = {
    "whole sessions": {"batches": {"schedule": "sessions"}},
    "truncated backpropagation": {"batches": {"unroll_steps": 3}},
    "cut sessions": {"batches": {"schedule": "sessions", "max_session_length": 4}},
    "full catalogue": {"batches": {"num_negatives": None}},
    "in-batch negatives alone": {"batches": {"num_negatives": 0}},
    "own negatives": {"batches": {"shared_negatives": False}},
    "one-hot": {"model": {"tie_embeddings": False}},
    "separate embeddings": {"model": {"tie_embeddings": False, "embedding_dim": 5}},
    "two layers": {"model": {"hidden_dims": [6, 8]}},
    "keras Adam": {
        "optimizer": {"optimizer": "keras:Adam", "learning_rate": 0.01},
        # XLA compiles these optimizers, too.
        "training": {"jit_compile": True},
    },
    "lazy Adam": {"optimizer": {"optimizer": "adam", "learning_rate": 0.02}},
    "bpr_max": {"loss": {"loss": "bpr_max"}, "model": {"score_activation": "elu"}},
    "top1_max": {"loss": {"loss": "top1_max"}, "model": {"score_activation": "tanh"}},
}


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_every_kind_of_training_lowers_the_loss(train, changes):
    task, lines, _ = train(make_experiment(**changes))
    assert lines[1]["loss"] < 0.97 * lines[0]["loss"]
    assert ("perplexity" in lines[0]) == task.has_perplexity
    assert all(np.isfinite(variable).all() for variable in task.model.variables)


def test_blocks_of_another_size_give_the_same_weights(train):
    # Without negatives and dropout, whose random numbers are drawn block by block.
    changes = {"batches": {"num_negatives": 0}, "model": {"dropout_hidden": 0.0}}
    tasks = [
        train(make_experiment(**changes, training={"steps_per_block": size}))[0] for size in (3, 7)
    ]
    assert_equal_weights(*tasks)


def test_xla_gives_the_same_weights_up_to_rounding(train):
    # Without dropout: XLA's generator of random numbers is not TensorFlow's.
    tasks = [train(make_experiment(training={"jit_compile": jit}))[0] for jit in (True, False)]
    variables = (task.model.variables for task in tasks)
    for found, expected in zip(*variables, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_validation_is_on_a_sample_of_whole_sessions(sessions, vocabulary):
    tasks = [
        GRU4RecTask(
            make_experiment(training={"validation_sessions": size, "primary_metric": "mrr@7"}),
            sessions,
            vocabulary,
            validation=validation,
            cut_offs=(5,),
        )
        for size, validation in ((30, sessions), (0, sessions.sample(30, seed=42)), (0, sessions))
    ]
    sample, expected, everything = (task.validate() for task in tasks)
    assert sample == expected != everything
    # Numbers alone, and the cut-off of the primary metric with those asked for.
    assert sample.keys() == {f"{name}@{k}" for name in ("recall", "mrr", "ndcg") for k in (5, 7)}


def test_the_fingerprint_tells_training_data_apart(log, sessions, vocabulary):
    def fingerprint(sessions, vocabulary):
        return GRU4RecTask(make_experiment(), sessions, vocabulary).fingerprint

    original = fingerprint(sessions, vocabulary)
    assert original == fingerprint(Sessions.from_log(log, vocabulary), vocabulary)
    rows = sessions.rows.copy()
    rows[-1] = rows[-1] % vocabulary.num_items + 1
    later = sessions.start_times + 1
    renamed = Vocabulary.build([f"x{item}" for item in vocabulary.ids], vocabulary.counts)
    others = [
        fingerprint(dataclasses.replace(sessions, rows=rows), vocabulary),
        fingerprint(dataclasses.replace(sessions, start_times=later), vocabulary),
        fingerprint(sessions.sample(119, seed=1), vocabulary),
        fingerprint(sessions, renamed),
    ]
    assert len({original, *others}) == 5


OPTIMIZERS = {
    "adagrad": {"optimizer": "adagrad", "momentum": 0.3, "learning_rate": 0.1},
    "keras": {"optimizer": "keras:Adam", "learning_rate": 0.01},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_run_starts_from_another_one_with_a_grown_vocabulary(train, tmp_path, optimizer):
    experiment = make_experiment(
        model={"tie_embeddings": False, "embedding_dim": 5}, optimizer=optimizer
    )
    old, _, old_run = train(experiment)
    log = PlantedWorld(dataclasses.replace(WORLD, num_items=90)).sample(200, seed=9)
    more = Vocabulary.from_codes(log.item_ids, log.item_codes)
    old_vocabulary = restore_gru4rec(old_run).vocabulary
    vocabulary = old_vocabulary.extend(more.ids, more.counts)
    num_old = old_vocabulary.num_rows
    assert vocabulary.num_rows > num_old + 10
    sessions = Sessions.from_log(log, vocabulary)
    fresh, task = (GRU4RecTask(experiment, sessions, vocabulary) for _ in range(2))
    warm_start(task, old_run)

    num_slots = 0
    found, before_all, initial_all = (
        name_variables(tf.train.Checkpoint(model=each.model, optimizer=each.step.optimizer))
        for each in (task, old, fresh)
    )
    for name, variable in found.items():
        before, initial = before_all[name], initial_all[name]
        if before.shape == variable.shape:
            np.testing.assert_array_equal(variable, before, err_msg=name)
        else:
            np.testing.assert_array_equal(variable[:num_old], before, err_msg=name)
            np.testing.assert_array_equal(variable[num_old:], initial[num_old:], err_msg=name)
            num_slots += name.startswith("optimizer")
    # Two tables, and two slots for each.
    assert num_slots == 4

    found, expected = (
        model.score(model(tf.constant([1, 5, 7]), model.initial_state(3))[0])[:, :num_old]
        for model in (task.model, old.model)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)

    with open_run_folder(tmp_path / "run", experiment) as folder:
        train_in_folder(task, folder, vocabulary, experiment, old_run)
    lines = folder.load_metrics_log()
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert folder.load_vocabulary().ids[: num_old - 1].tolist() == old_vocabulary.ids.tolist()


def name_variables(checkpoint) -> dict[str, tf.Variable]:
    """Returns the variables that a checkpoint holds, each once, by the first of its names."""
    names, seen, queue = {}, [], [("", checkpoint)]
    while queue:
        path, node = queue.pop(0)
        if any(node is other for other in seen):
            continue
        seen.append(node)
        # The learning rate of an optimizer of Keras is set anew before each step.
        if isinstance(node, tf.Variable) and not path.endswith(("save_counter", "_learning_rate")):
            names[path] = node
        children = getattr(node, "_trackable_children", dict)()
        queue += [(f"{path}/{name}".lstrip("/"), child) for name, child in children.items()]
    return names
