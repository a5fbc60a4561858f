"""How a gradient becomes a step: elementwise rules that serve whole variables and single rows
alike.

A rule adapts a gradient to its history, the slots: `adapt(gradient, slots, step, epsilon) ->
adapted, slots`, all of one shape but for slots that hold one number a row. What follows is the same
for all of them (see `move`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig

Slots = tuple[tf.Tensor, ...]


class UpdateRule(NamedTuple):
    """The names of a rule's slots, which start at zero, and the rule.

    With `is_rowwise`, its slots of a table [V, W] are [V, 1].
    """

    slot_names: tuple[str, ...]
    adapt: Callable[[tf.Tensor, Slots, tf.Tensor, float], tuple[tf.Tensor, Slots]]
    is_rowwise: bool = False


def adagrad(
    gradient: tf.Tensor, slots: Slots, step: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, Slots]:
    """`a += g^2; g / sqrt(a + epsilon)`, the root's guard inside it as in GRU4Rec."""
    del step
    accumulator = slots[0] + tf.square(gradient)
    return gradient * tf.math.rsqrt(accumulator + epsilon), (accumulator,)


def rowwise_adagrad(
    gradient: tf.Tensor, slots: Slots, step: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, Slots]:
    """`a += mean over the row of g^2; g / (sqrt(a) + 1e-10)`: DLRM's, one number a table row.

    Where the slot is as wide as the weights (whole variables), each weight has its own mean.
    """
    del step, epsilon
    square = tf.square(gradient)
    if slots[0].shape[-1:] != gradient.shape[-1:]:
        square = tf.reduce_mean(square, axis=-1, keepdims=True)
    accumulator = slots[0] + square
    return gradient / (tf.sqrt(accumulator) + 1e-10), (accumulator,)


def sgd(
    gradient: tf.Tensor, slots: Slots, step: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, Slots]:
    """`g` as it is."""
    del step, epsilon
    return gradient, slots


def rmsprop(
    gradient: tf.Tensor, slots: Slots, step: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, Slots]:
    """`a = 0.9 a + 0.1 g^2; g / sqrt(a + 1e-6)`."""
    del step, epsilon
    accumulator = 0.9 * slots[0] + 0.1 * tf.square(gradient)
    return gradient * tf.math.rsqrt(accumulator + 1e-6), (accumulator,)


def adadelta(
    gradient: tf.Tensor, slots: Slots, step: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, Slots]:
    """`a = 0.95 a + 0.05 g^2; d = g sqrt((u + 1e-6) / (a + 1e-6)); u = 0.95 u + 0.05 d^2`.

    Zeiler 2012; the rate that goes with it is 1.
    """
    del step, epsilon
    accumulator = 0.95 * slots[0] + 0.05 * tf.square(gradient)
    delta = gradient * tf.sqrt((slots[1] + 1e-6) / (accumulator + 1e-6))
    return delta, (accumulator, 0.95 * slots[1] + 0.05 * tf.square(delta))


def adam(
    gradient: tf.Tensor, slots: Slots, step: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, Slots]:
    """Kingma and Ba 2015, beta 0.9 and 0.999; lazy: only touched rows' moments move."""
    del epsilon
    moment = 0.9 * slots[0] + 0.1 * gradient
    square = 0.999 * slots[1] + 0.001 * tf.square(gradient)
    count = tf.cast(step, tf.float32)
    unbiased = moment / (1 - tf.pow(0.9, count))
    root = tf.sqrt(square / (1 - tf.pow(0.999, count)))
    return unbiased / (root + 1e-7), (moment, square)


RULES = {
    "adagrad": UpdateRule(("accumulator",), adagrad),
    "rowwise_adagrad": UpdateRule(("accumulator",), rowwise_adagrad, is_rowwise=True),
    "sgd": UpdateRule((), sgd),
    "rmsprop": UpdateRule(("accumulator",), rmsprop),
    "adadelta": UpdateRule(("accumulator", "update"), adadelta),
    "adam": UpdateRule(("moment", "square"), adam),
}


def slot_shapes(
    config: OptimizerConfig, shape: Sequence[int], *, is_table: bool
) -> dict[str, tuple[int, ...]]:
    """Returns the slots, by name, of weights of `shape`; last the velocity if there is momentum."""
    rule = RULES[config.optimizer]
    shape = tuple(shape)
    rule_shape = (*shape[:-1], 1) if is_table and rule.is_rowwise else shape
    shapes = dict.fromkeys(rule.slot_names, rule_shape)
    return {**shapes, "velocity": shape} if config.momentum else shapes


def move(
    config: OptimizerConfig,
    weights: tf.Tensor,
    gradient: tf.Tensor,
    slots: Slots,
    learning_rate: tf.Tensor,
    step: tf.Tensor,
) -> tuple[tf.Tensor, Slots]:
    """Moves weights by one step, `v = momentum v - rate (adapted + l2 w); w += v`.

    Args:
        config: the rule, momentum and l2_penalty.
        weights: float, a variable's value or some of its rows.
        gradient: of the same shape; of rows, the sum over a row's duplicates.
        slots: see `slot_shapes`.
        learning_rate: float [].
        step: int [], counted from 1.

    Returns:
        The new weights and slots.
    """
    rule = RULES[config.optimizer]
    adapted, new_slots = rule.adapt(gradient, slots[: len(rule.slot_names)], step, config.epsilon)
    if config.l2_penalty:
        adapted += config.l2_penalty * weights
    delta = -learning_rate * adapted
    if config.momentum:
        delta += config.momentum * slots[-1]
        new_slots = (*new_slots, delta)
    return weights + delta, new_slots
