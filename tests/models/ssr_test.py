"""SSR's towers against a click-by-click computation in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.models.ssr_config import SSRConfig

SMALL = {"embedding_dim": 5, "hidden_dim": 4, "vector_dim": 3}
SCHEMA = ClickSchema(
    dense=(DenseFeature("age", "age"), DenseFeature("length", "length")),
    categorical=(
        CategoricalFeature("category", "category", 6),
        CategoricalFeature("title", "title", 30, max_values=4),
    ),
)
RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, [6, 30, 30, 30, 30], (7, 5)).astype(np.int32)
WEIGHTS = np.array([[1, 1, 1, 1, 0]] * 4 + [[1, 0.5, 0.5, 0, 0]] * 3, np.float32)
DENSE = RNG.normal(size=(7, 2)).astype(np.float32)
HISTORY = np.array([[0, 1, 2, 3], [4, 5, 0, 0], [6, 0, 0, 0], [0, 0, 0, 0]])
LENGTHS = np.array([4, 2, 1, 0], np.int32)


def make_model(schema=SCHEMA, **options) -> SSR:
    model = SSR(SSRConfig(**{**SMALL, **options}), schema, seed=1)
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(2).normal(size=variable.shape))
    return model


def sigma(values):
    return 1 / (1 + np.exp(-values))


def read_items(model: SSR) -> np.ndarray:
    """Returns x of the items, value by value."""
    table = model.tables.tables[0].variable.numpy().astype(np.float64)
    inputs = DENSE.astype(np.float64) @ model.dense_projection.kernel.numpy()
    for item in range(len(ROWS)):
        for slot in range(5):
            first_row = 1 if slot == 0 else 1 + 6
            inputs[item] += WEIGHTS[item, slot] * table[first_row + ROWS[item, slot]]
    return inputs


def play(model: SSR, clicks: np.ndarray) -> list[np.ndarray]:
    """Returns the outputs of the GRU after each click."""
    weights = [w.numpy().astype(np.float64) for w in model.cell.weights]
    kernel, gates, candidate_kernel, bias = weights
    state, outputs = np.zeros(4), []
    for click in clicks:
        candidate, reset, update = np.split(click @ kernel + bias, 3)
        reset_gate, update_gate = np.split(state @ gates, 2)
        reset, update = sigma(reset + reset_gate), sigma(update + update_gate)
        candidate = np.tanh(candidate + (reset * state) @ candidate_kernel)
        state = (1 - update) * state + update * candidate
        outputs.append(state)
    return outputs


def apply(layer, values):
    return values @ layer.kernel.numpy().astype(np.float64) + layer.bias.numpy()


def normalize(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_items_are_the_sum_of_their_content():
    model = make_model()
    inputs = model.read_items(DENSE, ROWS, WEIGHTS)
    np.testing.assert_allclose(inputs, read_items(model), rtol=1e-4, atol=1e-5)
    expected = normalize(apply(model.item_layer, read_items(model)))
    np.testing.assert_allclose(model.item_vectors(inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "pool"),
    [
        ({}, lambda outputs: np.max(outputs, axis=0)),
        ({"session_pooling": "last"}, lambda outputs: outputs[-1]),
        ({"session_pooling": "mean"}, lambda outputs: np.mean(outputs, axis=0)),
        ({"session_encoder": "mean"}, None),
    ],
)
def test_sessions_are_played_click_by_click(options, pool):
    model = make_model(normalize=False, **options)
    items = read_items(model)
    inputs = tf.constant(items[HISTORY], tf.float32)
    vectors = model.session_vectors(inputs, LENGTHS)
    for session, length in enumerate(LENGTHS):
        clicks = items[HISTORY[session, :length]]
        if not length:
            pooled = np.zeros(4 if pool else 5)
        else:
            pooled = pool(play(model, clicks)) if pool else clicks.mean(axis=0)
        expected = apply(model.session_layer, pooled)
        np.testing.assert_allclose(vectors[session], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "last", "mean"])
def test_padding_changes_nothing(pooling):
    model = make_model(session_pooling=pooling)
    inputs = RNG.normal(size=(4, 4, 5)).astype(np.float32)
    other = inputs.copy()
    other[np.arange(4)[None] >= LENGTHS[:, None]] = 99
    np.testing.assert_array_equal(
        model.session_vectors(tf.constant(inputs), LENGTHS),
        model.session_vectors(tf.constant(other), LENGTHS),
    )
    shorter = model.session_vectors(tf.constant(inputs[1:2, :2]), LENGTHS[1:2])
    longer = model.session_vectors(tf.constant(inputs[1:2]), LENGTHS[1:2])
    np.testing.assert_allclose(shorter, longer, rtol=1e-5, atol=1e-6)


def test_vectors_have_length_one_on_request():
    model = make_model()
    inputs = RNG.normal(size=(4, 4, 5)).astype(np.float32)
    vectors = model.session_vectors(tf.constant(inputs), LENGTHS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_catalogue_of_ids_alone_has_a_table_and_no_more():
    schema = ClickSchema((), (CategoricalFeature("item", "item", 50),))
    model = make_model(schema)
    assert model.dense_projection is None
    table = model.tables.tables[0].variable.numpy()
    inputs = model.read_items(np.zeros((3, 0), np.float32), np.int32([[0], [7], [49]]))
    np.testing.assert_allclose(inputs, table[[1, 8, 50]], rtol=1e-6)


def test_dropout_drops_clicks_inputs_by_the_given_numbers():
    model = make_model(item_dropout=0.25)
    inputs = RNG.normal(size=(4, 4, 5)).astype(np.float32)
    noise = np.random.default_rng(3).integers(0, 2**16, inputs.shape, np.uint16)
    dropped = np.where(noise >= 0.25 * 2**16, inputs / 0.75, 0).astype(np.float32)
    np.testing.assert_allclose(
        model.session_vectors(tf.constant(inputs), LENGTHS, tf.constant(noise)),
        model.session_vectors(tf.constant(dropped), LENGTHS),
        rtol=1e-4,
        atol=1e-5,
    )
    assert (model.noise_width, make_model().noise_width) == (5, 0)


def test_every_weight_takes_part():
    model = make_model()
    with tf.GradientTape() as tape:
        inputs = model.read_items(DENSE, ROWS, WEIGHTS)
        sessions = model.session_vectors(tf.gather(inputs, HISTORY), LENGTHS)
        items = model.item_vectors(inputs)
        total = tf.reduce_sum(tf.matmul(sessions, items, transpose_b=True)[:, :3])
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(total, model.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.name
        assert np.any(tf.convert_to_tensor(gradient).numpy()), variable.name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, got 0"),
        ({"item_dropout": 1.0}, r"item_dropout must be in \[0, 1\), got 1.0"),
        ({"session_pooling": "sum"}, "session_pooling must be one of max, last, mean, got 'sum'"),
    ],
)
def test_impossible_towers_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SSRConfig(**options)
