"""Update rules over several steps against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import Optimizer

from tfrec_zoo.optimizers.optimizer_config import ROW_SPARSE_OPTIMIZERS, OptimizerConfig
from tfrec_zoo.optimizers.update_rules import RULES, move, slot_shapes

SHAPE = (4, 3)
NUM_STEPS = 6


def play(gradients, weights, rate=0.1, is_table=False, **options):
    """Returns the weights after each step."""
    config = OptimizerConfig(**options)
    weights = tf.constant(weights, tf.float32)
    shapes = slot_shapes(config, weights.shape, is_table=is_table)
    slots = tuple(tf.zeros(shape) for shape in shapes.values())
    history = []
    for step, gradient in enumerate(gradients, 1):
        gradient = tf.constant(gradient, tf.float32)
        arguments = weights, gradient, slots, tf.constant(rate), tf.constant(step, tf.int64)
        weights, slots = move(config, *arguments)
        history.append(weights.numpy())
    return history, [slot.numpy() for slot in slots]


@pytest.mark.parametrize("l2_penalty", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("rule", ROW_SPARSE_OPTIMIZERS)
def test_each_rule_moves_by_its_formula(rule, momentum, l2_penalty):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=SHAPE)
    # Gradients of all sizes, some of them zero.
    gradients = rng.normal(size=(NUM_STEPS, *SHAPE)) * 10.0 ** rng.integers(-3, 3, SHAPE)
    gradients[:, 0, 0] = gradients[2] = 0
    history, slots = play(
        gradients, weights, optimizer=rule, momentum=momentum, l2_penalty=l2_penalty
    )
    oracle = Optimizer(rule, 0.1, momentum, l2_penalty)
    for gradient, computed in zip(gradients, history, strict=True):
        weights = oracle.move(weights, gradient)
        np.testing.assert_allclose(computed, weights, rtol=1e-4, atol=1e-5)
    wanted = [oracle.slots["accumulator"], oracle.slots["second"]][: len(RULES[rule].slot_names)]
    wanted += [oracle.slots["velocity"]] if momentum else []
    for slot, value in zip(slots, wanted, strict=True):
        np.testing.assert_allclose(slot, value, rtol=1e-4, atol=1e-5)


def test_adagrad_worked_by_hand():
    history, (accumulator,) = play([[3.0], [4.0]], [1.0], rate=0.5, optimizer="adagrad")
    assert accumulator.tolist() == [25.0]
    np.testing.assert_allclose(np.ravel(history), [0.5, 0.5 - 0.5 * 4 / 5], rtol=1e-6)


def test_momentum_is_classical_and_comes_after_the_adaptation():
    history, (velocity,) = play([[1.0], [1.0]], [0.0], optimizer="sgd", momentum=0.5)
    np.testing.assert_allclose(np.ravel(history), [-0.1, -0.25], rtol=1e-6)
    np.testing.assert_allclose(velocity, [-0.15], rtol=1e-6)


def test_a_vanishing_gradient_does_not_move_adagrad_to_infinity():
    history, _ = play([[1e-30]], [1.0], optimizer="adagrad")
    assert history[0].tolist() == [1.0]


def test_rowwise_adagrad_keeps_one_number_a_row():
    history, (accumulator,) = play(
        [[[3.0, 1.0], [0.0, 0.0]], [[1.0, 7.0], [0.0, 2.0]]],
        [[1.0, 1.0], [1.0, 1.0]],
        rate=0.5,
        is_table=True,
        optimizer="rowwise_adagrad",
    )
    # Means of squares: 5 and 0, then 5 + 25 and 2.
    assert accumulator.tolist() == [[30.0], [2.0]]
    first = np.array([[1 - 1.5 / 5**0.5, 1 - 0.5 / 5**0.5], [1.0, 1.0]])
    second = first - [[0.5 / 30**0.5, 3.5 / 30**0.5], [0.0, 1.0 / 2**0.5]]
    np.testing.assert_allclose(history, [first, second], rtol=1e-6)


def test_the_guard_of_adagrad_is_a_choice():
    gradient = tf.constant([1e-4])
    for epsilon, wanted in ((1e-6, 1e-4 / np.sqrt(1e-8 + 1e-6)), (1e-20, 1.0)):
        config = OptimizerConfig(optimizer="adagrad", epsilon=epsilon)
        weights, _ = move(
            config, tf.zeros(1), gradient, (tf.zeros(1),), tf.constant(1.0), tf.constant(1)
        )
        assert float(weights[0]) == pytest.approx(-wanted, rel=1e-4)
