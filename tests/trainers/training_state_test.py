import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.trainers.training_state import CheckpointedState, TrainingState, read_state


def make_state() -> TrainingState:
    return TrainingState(
        epoch=2,
        block=7,
        step=130,
        epoch_events=3,
        epoch_loss_sum=0.1 + 0.2,
        best_value=0.25,
        best_step=90,
        bad_validations=1,
        data_fingerprint="é",
    )


def save(path, state, lanes) -> str:
    stored = CheckpointedState(lanes)
    stored.store(state, lanes)
    return tf.train.Checkpoint(state=stored).save(str(path / "ckpt"))


def test_a_checkpoint_gives_back_state_and_lanes(tmp_path):
    lanes = (tf.random.normal([3, 4], seed=1), tf.random.normal([3, 2], seed=2))
    path = save(tmp_path, make_state(), lanes)

    found = CheckpointedState(tuple(map(tf.zeros_like, lanes)))
    tf.train.Checkpoint(state=found).restore(path).assert_consumed()
    state, states = found.load()

    assert state == make_state()
    for value, expected in zip(states, lanes, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_state_is_read_without_the_weights(tmp_path):
    path = save(tmp_path, make_state(), ())
    assert read_state(path) == make_state()
    weights = tf.train.Checkpoint(model=tf.Module()).save(str(tmp_path / "weights"))
    with pytest.raises(ValueError, match="holds weights alone, .* with --init_from"):
        read_state(weights)


def test_an_epoch_begins_with_nothing_done():
    state = make_state()
    assert state.epoch_loss == pytest.approx(0.1)
    state.begin_epoch(3)
    assert (state.epoch, state.block, state.epoch_events, state.step) == (3, 0, 0, 130)
    assert math.isnan(state.epoch_loss)


def test_only_a_real_improvement_is_the_best():
    state = TrainingState()
    verdicts = []
    for step, value in enumerate([0.5, 0.5, 0.505, 0.52, 0.1], start=1):
        state.step = step
        verdicts.append((state.note_validation(value, 0.01), state.bad_validations))
    assert verdicts == [(True, 0), (False, 1), (False, 2), (True, 0), (False, 1)]
    assert (state.best_value, state.best_step) == (0.52, 4)
