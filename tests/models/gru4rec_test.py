"""GRU4Rec's network against NumPy, in each input mode, click by click and unrolled."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from oracles import ACTIVATIONS, gru_step, numerical_gradient

from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.gru4rec_config import SCORE_ACTIVATIONS, GRU4RecConfig

NUM_ROWS, BATCH = 12, 5
MODES = {
    "tied": {},
    "separate": {"tie_embeddings": False, "embedding_dim": 6},
    "one_hot": {"tie_embeddings": False},
}


def make_model(mode="tied", **options):
    values = {"hidden_dims": [4, 3], "init_scale": 0.7, **MODES[mode], **options}
    model = GRU4Rec(GRU4RecConfig.from_dict(values), NUM_ROWS, seed=5)
    rng = np.random.default_rng(0)
    for cell in model.network.cells:
        cell.bias.assign(rng.normal(size=cell.bias.shape))
    if model.config.use_item_bias:
        model.item_table[1:, -1].assign(rng.normal(size=NUM_ROWS - 1))
    return model


def weights_of(cell):
    return {v.name.split("/")[-1].split(":")[0]: v.numpy().astype(float) for v in cell.variables}


def play_click(model, mode, rows, states):
    """One step of all layers by the formulas, with an explicit one-hot matrix product."""
    weights = [weights_of(cell) for cell in model.network.cells]
    one_hot = np.eye(NUM_ROWS)[rows]
    if mode == "one_hot":
        weights[0]["kernel"] = model.input_table.numpy().astype(float)
        x = one_hot
    elif mode == "separate":
        x = one_hot @ model.input_table.numpy()
    else:
        x = one_hot @ model.item_table.numpy()[:, :3]
    new_states = []
    for layer, state in zip(weights, states, strict=True):
        x = gru_step(x, state, layer)
        new_states.append(x)
    return new_states


def random_noise(*shape):
    return np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)


def random_states(model, seed=1):
    rng = np.random.default_rng(seed)
    return tuple(
        tf.constant(rng.normal(size=(BATCH, n)), tf.float32) for n in model.network.state_dims
    )


@pytest.mark.parametrize(
    ("mode", "item_shape", "input_shape"),
    [
        ("tied", (NUM_ROWS, 4), None),
        ("separate", (NUM_ROWS, 4), (NUM_ROWS, 6)),
        ("one_hot", (NUM_ROWS, 4), (NUM_ROWS, 12)),
    ],
)
def test_tables_are_those_of_the_mode(mode, item_shape, input_shape):
    model = make_model(mode)
    assert model.item_table.shape == item_shape
    assert input_shape == (None if model.input_table is None else model.input_table.shape)
    num_tables = 1 if input_shape is None else 2
    assert len(model.trainable_variables) == num_tables + 8 - (mode == "one_hot")


def test_tables_start_apart_with_zeros_for_padding_and_bias():
    values = {"tie_embeddings": False, "embedding_dim": 9, "hidden_dims": [9]}
    model = GRU4Rec(GRU4RecConfig.from_dict(values), NUM_ROWS)
    assert not model.item_table.numpy()[0].any() and not model.input_table.numpy()[0].any()
    assert not model.item_table.numpy()[:, -1].any()
    assert not np.isclose(model.item_table[1:, :9], model.input_table[1:]).any()
    other = GRU4Rec(GRU4RecConfig.from_dict(values), NUM_ROWS, seed=1)
    assert not np.isclose(model.item_table[1:, :9], other.item_table[1:, :9]).any()


@pytest.mark.parametrize("mode", MODES)
def test_a_click_moves_the_states_by_the_formula(mode):
    model = make_model(mode)
    rows, states = np.array([1, 11, 3, 3, 7]), random_states(model)
    vectors, new_states = model(tf.constant(rows), states)
    for computed, wanted in zip(new_states, play_click(model, mode, rows, states), strict=True):
        np.testing.assert_allclose(computed, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(vectors, new_states[-1])


@pytest.mark.parametrize("mode", MODES)
def test_padding_leaves_the_state_untouched(mode):
    model = make_model(mode)
    states = random_states(model)
    vectors, new_states = model(tf.constant([0, 4, 0, 0, 1]), states)
    for old, new in zip(states, new_states, strict=True):
        np.testing.assert_array_equal(new.numpy()[[0, 2, 3]], old.numpy()[[0, 2, 3]])
        assert (new.numpy()[[1, 4]] != old.numpy()[[1, 4]]).all()
    np.testing.assert_array_equal(vectors.numpy()[0], states[-1].numpy()[0])


def test_inference_knows_no_dropout():
    states = random_states(make_model())
    vectors = [
        make_model(dropout_embedding=p, dropout_hidden=p)(tf.constant([1, 2, 3, 4, 5]), states)[0]
        for p in (0.0, 0.5)
    ]
    np.testing.assert_array_equal(*vectors)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_steps", [1, 4])
def test_unrolled_steps_are_single_calls(num_steps, mode):
    model = make_model(mode)
    rng = np.random.default_rng(2)
    rows = rng.integers(1, NUM_ROWS, (num_steps, BATCH))
    is_first = rng.random((num_steps, BATCH)) < 0.4
    states = random_states(model)
    inputs = model.input_vectors(tf.constant(rows))
    outputs, last = model.unroll(inputs, tf.constant(is_first), states)
    for t in range(num_steps):
        states = tuple(tf.where(is_first[t][:, None], 0.0, state) for state in states)
        vectors, states = model(tf.constant(rows[t]), states)
        np.testing.assert_allclose(outputs[t], vectors, rtol=1e-5, atol=1e-6)
    for computed, wanted in zip(last, states, strict=True):
        np.testing.assert_allclose(computed, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_a_session_that_begins_knows_nothing_of_the_one_before(num_steps):
    model = make_model(dropout_hidden=0.2)
    inputs = model.input_vectors(tf.fill([num_steps, BATCH], 3))
    is_first = np.zeros((num_steps, BATCH), bool)
    is_first[0, :3] = True
    noise = random_noise(num_steps, BATCH, model.noise_width)
    first, second = (
        model.unroll(inputs, tf.constant(is_first), random_states(model, n), noise)[0].numpy()
        for n in (1, 2)
    )
    np.testing.assert_array_equal(first[:, :3], second[:, :3])
    assert (first[:, 3:] != second[:, 3:]).any(axis=(0, 2)).all()


class Averages(tf_keras.layers.Layer):
    """The mean of the old state and the input."""

    state_dims = (3,)

    def call(self, inputs, states, noise=None):
        return ((inputs + states[0]) / 2,)


class AveragingModel(GRU4Rec):
    def make_network(self):
        return Averages()


def test_the_input_is_dropped_out_and_inverted():
    model = AveragingModel(GRU4RecConfig(dropout_embedding=0.3), NUM_ROWS)
    inputs, states = tf.ones([1, 2000, 3]), model.initial_state(2000)
    outputs, _ = model.unroll(inputs, tf.ones([1, 2000], bool), states, random_noise(1, 2000, 3))
    values, numbers = np.unique(2 * outputs, return_counts=True)
    np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-6)
    np.testing.assert_allclose(numbers / 6000, [0.3, 0.7], atol=0.03)


def test_each_step_drops_out_others():
    model = make_model(dropout_hidden=0.5, hidden_dims=[4, 40])
    inputs = tf.zeros([3, BATCH, 40])
    states = model.initial_state(BATCH)
    is_first = tf.ones([3, BATCH], bool)
    noise = random_noise(3, BATCH, model.noise_width)
    outputs = model.unroll(inputs, is_first, states, noise)[0].numpy()
    masks = outputs != 0
    assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()


@pytest.mark.parametrize("use_item_bias", [True, False])
def test_scores_are_products_with_the_items_and_their_bias(use_item_bias):
    model = make_model(use_item_bias=use_item_bias)
    vectors = np.random.default_rng(3).normal(size=(BATCH, 3)).astype(np.float32)
    table = model.item_table.numpy().astype(float)
    wanted = vectors @ table[:, :3].T + (table[:, 3] if use_item_bias else 0.0)
    assert table.shape[1] == 3 + use_item_bias
    np.testing.assert_allclose(model.score(vectors), wanted, rtol=1e-5, atol=1e-6)
    some = tf.gather(model.item_table, [4, 2, 2])
    np.testing.assert_allclose(
        model.score(vectors, some), wanted[:, [4, 2, 2]], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("activation", SCORE_ACTIVATIONS)
def test_score_activations_and_their_slopes_are_those_of_the_formula(activation):
    options = {"score_activation": activation, "elu_alpha": 0.5}
    model = GRU4Rec(GRU4RecConfig.from_dict({"hidden_dims": [2], **options}), NUM_ROWS)
    function = ACTIVATIONS["elu-0.5" if activation == "elu" else activation]
    scores = np.array([-20.0, -3.0, -0.4, -1e-3, 1e-3, 0.7, 4.0, 20.0])
    inputs = tf.constant(scores, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = model.activate(inputs)
    np.testing.assert_allclose(outputs, function(scores), rtol=2e-4, atol=1e-6)
    slopes = numerical_gradient(lambda x: function(x).sum(), scores)
    np.testing.assert_allclose(tape.gradient(outputs, inputs), slopes, rtol=1e-3, atol=1e-6)


def test_elu_of_huge_scores_has_finite_slopes():
    model = GRU4Rec(GRU4RecConfig(score_activation="elu"), NUM_ROWS)
    scores = tf.constant([-1e3, 1e3])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        outputs = model.activate(scores)
    assert outputs.numpy().tolist() == [-0.5, 1e3]
    assert tape.gradient(outputs, scores).numpy().tolist() == [0.0, 1.0]


def test_a_subclass_brings_another_network():
    model = AveragingModel(GRU4RecConfig(), NUM_ROWS)
    assert model.item_table.shape == (NUM_ROWS, 4)
    states = model.initial_state(2)
    vectors, states = model(tf.constant([3, 0]), states)
    np.testing.assert_allclose(vectors[0], model.item_table[3, :3] / 2)
    assert not vectors[1].numpy().any()
