"""DLRM's network against a step-by-step computation in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.models.dlrm import DLRM, count_dense_weights, list_stores
from tfrec_zoo.models.dlrm_config import DLRMConfig

SMALL = {"embedding_dim": 4, "bottom_mlp": (6, 4), "top_mlp": (8, 1)}
CATEGORICAL = (
    CategoricalFeature("user", "user", 20),
    CategoricalFeature("tags", "tags", 30, max_values=2),
    CategoricalFeature("film", "film", 40),
)
DENSE = (DenseFeature("a", "a"), DenseFeature("b", "b"), DenseFeature("c", "c"))
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(5, 3)).astype(np.float32)
ROWS = RNG.integers(0, [20, 30, 30, 40], (5, 4)).astype(np.int32)
WEIGHTS = np.array([[1, 1, 0.5, 1]] * 4 + [[1, 1, 0, 1]], np.float32)


def make_model(dense=DENSE, **options) -> DLRM:
    return DLRM(DLRMConfig(**{**SMALL, **options}), ClickSchema(dense, CATEGORICAL), seed=1)


def relu(values):
    return np.maximum(values, 0)


def apply_layers(layers, values, is_last_linear=False):
    for index, layer in enumerate(layers):
        kernel, bias = (weight.numpy().astype(np.float64) for weight in layer.weights)
        values = values @ kernel + bias
        if not is_last_linear or index < len(layers) - 1:
            values = relu(values)
    return values


def compute(model: DLRM, has_dense=True) -> np.ndarray:
    """Returns the logits, example by example and pair by pair."""
    config, logits = model.config, []
    pooled = model.tables(ROWS, tf.constant(WEIGHTS))
    for example in range(len(ROWS)):
        vectors = list(pooled.vectors.numpy()[example].astype(np.float64))
        features = []
        if has_dense:
            bottom = apply_layers(model.bottom.layers, INPUTS[example].astype(np.float64))
            vectors.insert(0, bottom)
            features = list(bottom)
        if config.interaction != "dot":
            features = list(np.concatenate(vectors))
        if config.interaction in ("dot", "dot_cat"):
            last = 1 if config.self_interaction else 0
            features += [
                vectors[i] @ vectors[j] for i in range(len(vectors)) for j in range(i + last)
            ]
        if config.interaction == "cross":
            first = features = np.array(features)
            for (layer,) in model.cross.layers:
                product = features @ layer.kernel.numpy() + layer.bias.numpy()
                features = first * product + features
        logit = apply_layers(model.top.layers, np.array(features), is_last_linear=True)[0]
        logits.append(logit + (pooled.first_order[example] if config.first_order else 0))
    return np.array(logits)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"self_interaction": True},
        {"interaction": "cat"},
        {"interaction": "dot_cat"},
        {"interaction": "dot_cat", "self_interaction": True},
        {"interaction": "cross", "cross_layers": 2},
        {"first_order": True, "weighted_pooling": True, "qr_threshold": 25},
    ],
)
@pytest.mark.parametrize("has_dense", [True, False])
def test_logits_are_those_of_the_formula(options, has_dense):
    model = make_model(DENSE if has_dense else (), **options)
    for table in model.tables.tables:
        table.variable.assign(np.random.default_rng(2).normal(size=table.variable.shape))
    dense = INPUTS if has_dense else np.zeros((5, 0), np.float32)
    logits = model(dense, ROWS, WEIGHTS)
    assert logits.shape == (5,)
    np.testing.assert_allclose(logits, compute(model, has_dense), rtol=1e-4, atol=1e-5)


def test_without_weights_all_values_count():
    model = make_model()
    ones = np.ones_like(WEIGHTS)
    np.testing.assert_array_equal(model(INPUTS, ROWS), model(INPUTS, ROWS, ones))


def test_seeds_decide_the_weights():
    schema = ClickSchema(DENSE, CATEGORICAL)
    config = DLRMConfig(**SMALL)
    first, same, other = (DLRM(config, schema, seed)(INPUTS, ROWS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.isclose(first, other).any()


def test_the_size_of_tables_is_known_before_they_are_made():
    model = make_model(qr_threshold=25, table_dims=("user:2",))
    stores = list_stores(model.config, model.schema)
    assert [(s.num_rows, s.width) for s in stores] == [
        tuple(table.variable.shape) for table in model.tables.tables
    ]


def test_weights_outside_of_the_tables_are_counted():
    # bottom 3-6-4, top (4 + 6 pairs of 4 vectors)-8-1
    expected = (3 * 6 + 6) + (6 * 4 + 4) + (10 * 8 + 8) + (8 + 1)
    assert count_dense_weights(make_model()) == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bottom_mlp": (6, 5)}, r"bottom_mlp needs .* end in 4 \(embedding_dim\), got \(6, 5\)"),
        ({"top_mlp": (8,)}, r"top_mlp needs positive layer sizes that end in 1, got \(8,\)"),
        ({"top_mlp": ()}, r"top_mlp needs positive layer sizes that end in 1, got \(\)"),
        ({"interaction": "cat", "self_interaction": True}, "self_interaction belongs to dot"),
        ({"table_dims": ("film",)}, "table_dims needs entries such as C3:8, .* got 'film'"),
        ({"table_dims": ("film:2", "film:4")}, "each feature once, got 'film:4'"),
        ({"mlp_dropout": 1.0}, r"mlp_dropout must be in \[0, 1\), got 1.0"),
        ({"qr_threshold": -1}, "qr_threshold must be 0 or positive, got -1"),
        (
            {"qr_threshold": 9, "qr_operation": "concat", "embedding_dim": 3, "bottom_mlp": (3,)},
            "qr_operation=concat needs an even embedding_dim, got 3",
        ),
        ({"interaction": "sum"}, "interaction must be one of dot, cat, dot_cat, cross, got 'sum'"),
    ],
)
def test_impossible_networks_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DLRMConfig(**{**SMALL, **options})


def test_a_single_vector_has_no_products():
    schema = ClickSchema((), CATEGORICAL[:1])
    with pytest.raises(ValueError, match="at least two categorical ones, got only user"):
        DLRM(DLRMConfig(**SMALL), schema)
    assert DLRM(DLRMConfig(**SMALL, interaction="cat"), schema)(INPUTS[:, :0], ROWS).shape == (5,)


def test_names_of_peers_are_understood():
    config = DLRMConfig.from_dict(
        {"arch_sparse_feature_size": 8, "bottom_mlp": [8], "arch_interaction_op": "dcn"}
    )
    assert (config.embedding_dim, config.interaction) == (8, "cross")


@pytest.mark.parametrize("interaction", ["dot", "cat", "cross"])
def test_aligned_columns_end_in_zeros_and_change_no_logit(interaction):
    model = make_model(interaction=interaction)
    bottom, pooled = model.encode_dense(INPUTS), model.tables(ROWS, tf.constant(WEIGHTS))
    exact, aligned = (model.join(bottom, pooled.vectors, number) for number in (1, 32))
    width = exact.shape[1]
    # Cross layers multiply columns by each other, and have no weights for more.
    assert aligned.shape[1] == (width if interaction == "cross" else 32)
    np.testing.assert_array_equal(aligned[:, :width], exact)
    assert not aligned[:, width:].numpy().any()
    logits = [model.predict_joined(joined, None) for joined in (exact, aligned)]
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)
