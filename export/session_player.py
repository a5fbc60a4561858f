"""A session's clicks through a recurrent network, for the graph that is served.

The loop runs only up to the last known item of the batch's longest session, and what does not
depend on the state, the products of the first layer's inputs, is computed for all clicks at once.
"""

import math
from collections.abc import Callable

import tensorflow as tf
import tf_keras

from tfrec_zoo.layers.gru import GRUCell, GRUStack
from tfrec_zoo.models.gru4rec import GRU4Rec, States

Player = Callable[[tf.Tensor], States]


def make_player(model: GRU4Rec) -> Player:
    """Returns the function from sessions to the states at their ends.

    It takes item rows int32 [B, T], where 0, anywhere, is no click and leaves the state as it is,
    and returns float [B, H_i] of each layer: exact zeros for a session without a click.
    """
    is_gru = type(model.network) is GRUStack
    return (lambda rows: _play_gru(model, rows)) if is_gru else (lambda rows: _play(model, rows))


def _play(model: GRU4Rec, rows: tf.Tensor) -> States:
    """Plays sessions through any network, one call of the model a click."""
    rows = _trim(rows)
    return _loop(model, rows, lambda step, states: model(tf.gather(rows, step), states)[1])


def _play_gru(model: GRU4Rec, rows: tf.Tensor) -> States:
    """Plays sessions through a `GRUStack`, most of the first layer outside of the loop."""
    rows = _trim(rows)
    is_click = (rows > 0)[..., None]
    first, *others = model.network.cells
    inputs = model.input_vectors(rows)
    if first.projects_input:
        # One product of all clicks; that of a tensor of rank 3 would be one for each step.
        inputs = tf.matmul(tf.reshape(inputs, [-1, model.input_dim]), first.kernel)
    inputs = tf.reshape(inputs + first.bias, tf.concat([tf.shape(rows), [3 * first.units]], 0))
    candidate, reset, update = tf.split(inputs, 3, axis=2)
    # The update gate of no click is sigma(-inf) = 0, which keeps the state without a further step.
    gates = tf.concat([reset, tf.where(is_click, update, -math.inf)], axis=2)

    def advance(step: tf.Tensor, states: States) -> States:
        new = _advance_cell(first, tf.gather(candidate, step), tf.gather(gates, step), states[0])
        advanced = [new]
        for cell, state in zip(others, states[1:], strict=True):
            new = tf.where(tf.gather(is_click, step), cell(new, state), state)
            advanced.append(new)
        return tuple(advanced)

    return _loop(model, rows, advance)


def _advance_cell(
    cell: GRUCell, candidate: tf.Tensor, gates: tf.Tensor, state: tf.Tensor
) -> tf.Tensor:
    """Returns the next state of `cell`, whose input's share in its sums is computed already."""
    gates = tf.sigmoid(gates + tf.matmul(state, cell.gate_kernel))
    reset, update = tf.split(gates, 2, axis=1)
    candidate = candidate + tf.matmul(reset * state, cell.candidate_kernel)
    candidate = tf_keras.activations.get(cell.activation)(candidate)
    return state + update * (candidate - state)


def _trim(rows: tf.Tensor) -> tf.Tensor:
    """Returns rows [B, T] as [T', B], without the steps after the last click of all sessions."""
    numbers = tf.range(1, tf.shape(rows)[1] + 1)
    # The zero in front is the maximum where there is no step at all.
    last = tf.reduce_max(tf.concat([[0], tf.reduce_max(tf.where(rows > 0, numbers, 0), 0)], 0))
    return tf.transpose(rows[:, :last])


def _loop(
    model: GRU4Rec, rows: tf.Tensor, advance: Callable[[tf.Tensor, States], States]
) -> States:
    """Returns the states after `advance(step, states)` for all steps of rows [T', B]."""
    num_steps, batch_size = tf.unstack(tf.shape(rows))
    return tf.while_loop(
        lambda step, _: step < num_steps,
        lambda step, states: (step + 1, advance(step, states)),
        (tf.constant(0), model.initial_state(batch_size)),
        maximum_iterations=num_steps,
    )[1]
