"""The GRU against its formula in NumPy and against Keras' cell with the update gate turned."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from oracles import gru_step

from tfrec_zoo.layers.gru import GRUCell, GRUStack

BATCH = 6


def make_cell(input_dim, units, seed=0, **options):
    cell = GRUCell(units, init_scale=0.8, seed=seed, **options)
    cell.build((None, input_dim))
    cell.bias.assign(np.random.default_rng(seed).normal(size=cell.bias.shape))
    return cell


def weights_of(cell):
    names = ["gate_kernel", "candidate_kernel", "bias"] + ["kernel"] * cell.projects_input
    return {name: getattr(cell, name).numpy().astype(np.float64) for name in names}


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "activation", ["tanh", "relu", "linear", "elu", "selu", "sigmoid", "swish"]
)
def test_a_step_is_that_of_the_formula(activation):
    cell = make_cell(5, 4, activation=activation)
    x, h = random_array(BATCH, 5), random_array(BATCH, 4, seed=1)
    wanted = gru_step(x, h, weights_of(cell), activation)
    np.testing.assert_allclose(cell(x, h), wanted, rtol=1e-5, atol=1e-6)


def test_a_cell_without_projection_takes_the_product_itself():
    cell = make_cell(12, 4, projects_input=False)
    assert len(cell.trainable_variables) == 3
    x, h = random_array(BATCH, 12), random_array(BATCH, 4, seed=1)
    np.testing.assert_allclose(cell(x, h), gru_step(x, h, weights_of(cell)), rtol=1e-5, atol=1e-6)


def test_a_step_is_that_of_keras_with_the_update_gate_turned():
    cell = make_cell(5, 4)
    weights = weights_of(cell)
    candidate, reset, update = np.split(weights["kernel"], 3, axis=1)
    h_reset, h_update = np.split(weights["gate_kernel"], 2, axis=1)
    b_candidate, b_reset, b_update = np.split(weights["bias"], 3)
    # Keras' blocks are update, reset, candidate, and its update gate keeps the old state.
    keras_cell = tf_keras.layers.GRUCell(4, reset_after=False)
    keras_cell.build((None, 5))
    keras_cell.set_weights(
        [
            np.concatenate([-update, reset, candidate], axis=1),
            np.concatenate([-h_update, h_reset, weights["candidate_kernel"]], axis=1),
            np.concatenate([-b_update, b_reset, b_candidate]),
        ]
    )
    x, h = random_array(BATCH, 5), random_array(BATCH, 4, seed=1)
    np.testing.assert_allclose(cell(x, h), keras_cell(x, [tf.constant(h)])[0], rtol=1e-5, atol=1e-6)


def test_a_cell_is_rebuilt_from_its_configuration():
    cell = make_cell(5, 4, seed=3, activation="relu")
    rebuilt = tf_keras.layers.deserialize(tf_keras.layers.serialize(cell))
    rebuilt.build((None, 5))
    np.testing.assert_array_equal(rebuilt.kernel, cell.kernel)
    assert rebuilt.get_config() == cell.get_config()


def test_the_matrices_of_a_cell_are_drawn_apart_and_its_bias_is_zero():
    cell = GRUCell(4)
    cell.build((None, 4))
    values = np.concatenate([np.ravel(v) for v in cell.trainable_variables[:3]])
    assert len(np.unique(values)) == len(values) and not cell.bias.numpy().any()


def make_stack(dropout=0.0):
    stack = GRUStack([make_cell(5, 4), make_cell(4, 7, seed=1), make_cell(7, 3, seed=2)], dropout)
    stack.built = True
    states = tuple(random_array(BATCH, width, seed=width) for width in (4, 7, 3))
    return stack, random_array(BATCH, 5), states


def test_layers_of_unequal_sizes_feed_each_other():
    stack, x, states = make_stack()
    assert stack.state_dims == (4, 7, 3)
    for cell, state, new_state in zip(stack.cells, states, stack(x, states), strict=True):
        x = gru_step(x, state, weights_of(cell))
        np.testing.assert_allclose(new_state, x, rtol=1e-5, atol=1e-6)


def test_building_a_stack_builds_its_cells_for_the_widths_below():
    stack = GRUStack([GRUCell(4), GRUCell(7), GRUCell(3)])
    stack.build((None, 5))
    assert [cell.kernel.shape[0] for cell in stack.cells] == [5, 4, 7]
    assert len(stack.trainable_variables) == 12


def random_noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2**16, shape, np.uint16)


def test_dropout_enters_the_carried_state_and_is_inverted():
    stack, x, states = make_stack(dropout=0.4)
    assert stack.noise_width == 14 and make_stack()[0].noise_width == 0
    dropped = stack(x, states, random_noise(BATCH, 14))
    num_kept = 0
    for cell, state, new_state in zip(stack.cells, states, dropped, strict=True):
        whole = gru_step(x, state, weights_of(cell)) / 0.6
        is_kept = new_state.numpy() != 0
        np.testing.assert_allclose(new_state, np.where(is_kept, whole, 0), rtol=1e-5, atol=1e-6)
        num_kept += is_kept.sum()
        # The next layer is fed what was dropped out, and so is the next step.
        x = new_state.numpy()
    assert 0.4 < num_kept / (BATCH * 14) < 0.8


def test_dropout_is_as_frequent_as_asked_and_of_each_noise_and_layer_its_own():
    cells = [make_cell(5, 50), make_cell(50, 50, seed=1)]
    stack = GRUStack(cells, dropout=0.3)
    stack.built = True
    x, states = random_array(200, 5), (random_array(200, 50), random_array(200, 50, seed=1))
    first, again, other = (stack(x, states, random_noise(200, 100, seed=n)) for n in (2, 2, 3))
    masks = [state.numpy() != 0 for state in (*first, other[0])]
    assert all(abs(mask.mean() - 0.7) < 0.02 for mask in masks)
    assert (masks[0] != masks[1]).mean() > 0.3 and (masks[0] != masks[2]).mean() > 0.3
    np.testing.assert_array_equal(first[1], again[1])


def test_without_noise_nothing_is_dropped():
    with_dropout, x, states = make_stack(dropout=0.4)
    for state, wanted in zip(with_dropout(x, states), make_stack()[0](x, states), strict=True):
        np.testing.assert_array_equal(state, wanted)
