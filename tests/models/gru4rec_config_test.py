"""What a network may be made of."""

import pytest

from tfrec_zoo.models.gru4rec_config import ACTIVATIONS, SCORE_ACTIVATIONS, GRU4RecConfig


@pytest.mark.parametrize(
    ("values", "input_mode"),
    [
        ({}, "tied"),
        ({"constrained_embedding": False}, "one_hot"),
        ({"tie_embeddings": False, "embedding": 32, "layers": [100, 50]}, "separate"),
    ],
)
def test_the_input_mode_follows_from_the_tables(values, input_mode):
    assert GRU4RecConfig.from_dict(values).input_mode == input_mode


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"hidden_dims": []}, "hidden_dims needs positive layer sizes, got ()"),
        ({"hidden_dims": [100, 0]}, "hidden_dims needs positive layer sizes, got (100, 0)"),
        ({"embedding_dim": -1}, "embedding_dim must be 0 or positive, got -1"),
        (
            {"embedding_dim": 64},
            "embedding_dim=64 asks for a separate input table, but tie_embeddings is on: pass "
            "--notie_embeddings, or leave embedding_dim at 0",
        ),
        ({"dropout_hidden": 1.0}, "dropout_hidden must be in [0, 1), got 1.0"),
        ({"dropout_embedding": -0.1}, "dropout_embedding must be in [0, 1), got -0.1"),
        (
            {"tie_embeddings": False, "dropout_embedding": 0.5},
            "dropout_embedding needs an embedding, and one-hot input has none: use "
            "dropout_hidden, tie_embeddings or an embedding_dim",
        ),
        ({"init_scale": -1.0}, "init_scale must be 0 or positive, got -1.0"),
        (
            {"score_activation": "softmax"},
            f"score_activation must be one of {', '.join(SCORE_ACTIVATIONS)}, got 'softmax'",
        ),
        (
            {"hidden_activation": "sine"},
            f"hidden_activation must be one of {', '.join(ACTIVATIONS)}, got 'sine'",
        ),
        (
            {"init_distribution": "cauchy"},
            "init_distribution must be one of uniform, normal, got 'cauchy'",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(ValueError) as caught:
        GRU4RecConfig.from_dict(values)
    assert str(caught.value) == sentence
