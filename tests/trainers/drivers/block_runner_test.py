"""A block in one call is its steps one by one, and the steps that pad it are not run."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.trainers.drivers.block_runner import make_block_runner

CAPACITY, NUM_LANES = 5, 3


class DriftingStep(tf.Module):
    """A step whose weights move even without any data, as those with momentum do."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable([1.0, 2.0])
        self.count = tf.Variable(0)

    def __call__(self, batch, states):
        self.count.assign_add(1)
        self.weight.assign(0.9 * self.weight + tf.reduce_sum(batch["values"]))
        states = tuple(0.5 * state + batch["values"] for state in states)
        return tf.reduce_sum(self.weight) + tf.reduce_sum(states[0]), states


def make_block(num_steps):
    rng = np.random.default_rng(0)
    is_valid = np.arange(CAPACITY)[:, None, None] < np.array(num_steps)
    return {
        "num_steps": tf.constant(num_steps),
        "values": tf.constant(rng.normal(size=(CAPACITY, NUM_LANES)), tf.float32),
        "is_valid": tf.constant(np.broadcast_to(is_valid, (CAPACITY, 1, NUM_LANES))),
    }


def make_states():
    return (tf.ones([NUM_LANES]), tf.zeros([NUM_LANES]))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_call_is_as_many_steps_as_the_block_has(jit_compile):
    in_block, one_by_one = DriftingStep(), DriftingStep()
    run = make_block_runner(in_block, jit_compile)
    states, wanted_states = make_states(), make_states()
    for num_steps in (5, 2, 0, 4):
        block = make_block(num_steps)
        losses, num_events, states = run(block, states)
        wanted = np.zeros(CAPACITY)
        for k in range(num_steps):
            loss, wanted_states = one_by_one({"values": block["values"][k]}, wanted_states)
            wanted[k] = loss
        np.testing.assert_allclose(losses, wanted, rtol=1e-6)
        assert int(num_events) == num_steps * NUM_LANES
        np.testing.assert_allclose(in_block.weight, one_by_one.weight, rtol=1e-6)
        for state, value in zip(states, wanted_states, strict=True):
            np.testing.assert_allclose(state, value, rtol=1e-6)
    assert int(in_block.count) == int(one_by_one.count) == 11
    assert run.experimental_get_tracing_count() == 1
