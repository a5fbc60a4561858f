"""A session's clicks through a recurrent network, for the graph that is served.

What a session takes is above all the number of operations, each of which costs as much as the
arithmetic in it, and a round of a loop is two dozen of them before it computes anything. So there
are several clicks to a round, and what needs no state is found for all rounds at once. The sessions
are brought to full rounds by steps without a click in front, which leave the states as they are,
and end with the last known item of the longest one.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec_zoo.layers.gru import GRUCell, GRUStack
from tfrec_zoo.models.gru4rec import GRU4Rec, States

Player = Callable[[tf.Tensor], States]

# From rows [..., n, B] to what is needed of them for their steps, tensors [..., n, B, ...].
_Read = Callable[[tf.Tensor], tuple[tf.Tensor, ...]]
# From these of n steps, where n is static, and the states before to the states after.
_Advance = Callable[[Sequence[tf.Tensor], States], States]

# Steps in a round of each of the two loops: few clicks are played by the small rounds alone.
_LARGE, _SMALL = 10, 2
# More steps than these take longer in small rounds than in a large one.
_MOST_SMALL_STEPS = 6

_MAX_SUMS_BYTES = 64 * 2**20


def make_player(model: GRU4Rec, sums: tf.Variable | None = None) -> Player:
    """Returns the function from sessions to the states at their ends.

    It takes item rows int32 [B, T], where 0, anywhere, is no click and leaves the state as it is,
    and returns float [B, H_i] of each layer: exact zeros for a session without a click.

    Args:
        model: the network and its tables.
        sums: what `make_input_sums` has made of it; None: computed for each click.
    """
    if type(model.network) is not GRUStack:
        return lambda rows: _play(rows, model.initial_state, lambda rows: (rows,), _advance(model))

    def read(rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        inputs = _sum_inputs(model, rows) if sums is None else tf.gather(sums, rows)
        return (inputs,) if len(model.network.cells) == 1 else (inputs, rows)

    return lambda rows: _play(rows, model.initial_state, read, _advance_gru(model))


def make_input_sums(model: GRU4Rec) -> tf.Variable | None:
    """Returns the share that a click on each item has in the sums of the first layer's gates.

    It takes the place of a matrix product with each request.

    Returns:
        float [V + 1, 3 H_0], see `GRUCell`; row 0 is such that it keeps the state. None where the
        network is another one or the table would be large.
    """
    if type(model.network) is not GRUStack:
        return None
    if model.num_rows * 12 * model.network.cells[0].units > _MAX_SUMS_BYTES:
        return None
    sums = _sum_inputs(model, tf.range(model.num_rows))
    return tf.Variable(sums, trainable=False, name="input_sums")


def _play(
    rows: tf.Tensor, make_states: Callable[[tf.Tensor], States], read: _Read, advance: _Advance
) -> States:
    """Returns the states after rows [B, T]."""
    batch_size, num_columns = tf.unstack(tf.shape(rows))
    numbers = tf.range(1, num_columns + 1)
    # Where there is no step at all the maximum is the least integer.
    num_steps = tf.maximum(tf.reduce_max(tf.where(rows > 0, numbers, 0)), 0)
    num_large = (num_steps + _LARGE - 1 - _MOST_SMALL_STEPS) // _LARGE
    num_small = tf.maximum(num_steps - num_large * _LARGE + _SMALL - 1, 0) // _SMALL
    sizes = tf.stack([num_small * _SMALL, num_large * _LARGE])
    padding = tf.reduce_sum(sizes) - num_steps
    steps = tf.pad(tf.transpose(rows[:, :num_steps]), [[padding, 0], [0, 0]])
    small, large = tf.split(steps, sizes)
    states = make_states(batch_size)
    for steps, count, size in ((small, num_small, _SMALL), (large, num_large, _LARGE)):
        rounds = read(tf.reshape(steps, tf.stack([count, size, batch_size])))
        states = _repeat(rounds, count, states, advance)
    return states


def _repeat(
    rounds: tuple[tf.Tensor, ...], count: tf.Tensor, states: States, advance: _Advance
) -> States:
    """Returns the states after all of rounds [count, n, B, ...]."""
    return tf.while_loop(
        lambda *_: True,
        lambda number, states: (
            number + 1,
            advance([tf.gather(inputs, number) for inputs in rounds], states),
        ),
        (tf.constant(0), states),
        maximum_iterations=count,
        parallel_iterations=1,
    )[1]


def _advance(model: GRU4Rec) -> _Advance:
    """Returns the steps of any network, one call of the model each."""

    def advance(steps: Sequence[tf.Tensor], states: States) -> States:
        (rows,) = steps
        for step in tf.unstack(rows):
            _, states = model(step, states)
        return states

    return advance


def _advance_gru(model: GRU4Rec) -> _Advance:
    """Returns the steps of a `GRUStack`, one layer after the other."""
    first, *others = model.network.cells

    def advance(steps: Sequence[tf.Tensor], states: States) -> States:
        inputs, *rows = steps
        outputs = _advance_cell(first, inputs, states[0])
        advanced = [outputs[-1]]
        for cell, state in zip(others, states[1:], strict=True):
            inputs = _keep_states(cell.project(tf.stack(outputs)), *rows)
            outputs = _advance_cell(cell, inputs, state)
            advanced.append(outputs[-1])
        return tuple(advanced)

    return advance


def _sum_inputs(model: GRU4Rec, rows: tf.Tensor) -> tf.Tensor:
    """Returns float [..., 3 H_0] of rows [...], see `make_input_sums`."""
    return _keep_states(model.network.cells[0].project(model.input_vectors(rows)), rows)


def _keep_states(inputs: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns inputs [..., 3 H] with such ones for no click that a cell keeps its state."""
    # The update gate is then sigma(-inf) = 0.
    keeping = np.repeat(np.float32([0, 0, -math.inf]), inputs.shape[-1] // 3)
    return tf.where((rows > 0)[..., None], inputs, keeping)


def _advance_cell(cell: GRUCell, inputs: tf.Tensor, state: tf.Tensor) -> list[tf.Tensor]:
    """Returns the states after each of n steps, whose shares in the sums are inputs [n, B, 3 H]."""
    gate_kernel = tf.convert_to_tensor(cell.gate_kernel)
    candidate_kernel = tf.convert_to_tensor(cell.candidate_kernel)
    activate = tf_keras.activations.get(cell.activation)
    candidates, gates = map(tf.unstack, tf.split(inputs, [cell.units, 2 * cell.units], axis=2))
    states = []
    for candidate, gate in zip(candidates, gates, strict=True):
        reset, update = tf.split(tf.sigmoid(gate + tf.matmul(state, gate_kernel)), 2, axis=1)
        candidate = activate(candidate + tf.matmul(reset * state, candidate_kernel))
        state += update * (candidate - state)
        states.append(state)
    return states
