import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.export import session_player
from tfrec_zoo.export.session_player import make_input_sums, make_player

NETWORKS = {
    "tied": {},
    "three layers": {"hidden_dims": (5, 7, 4), "hidden_activation": "relu"},
    "separate": {"tie_embeddings": False, "embedding_dim": 4},
    "one hot": {"tie_embeddings": False, "hidden_dims": (5, 6)},
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, make_restored, make_oracle):
    restored = make_restored(**NETWORKS[request.param])
    return restored.model, make_oracle(restored)


@pytest.fixture(scope="module", params=["sums stored", "sums computed"])
def play(request, network):
    model, _ = network
    player = make_player(model, make_input_sums(model) if request.param == "sums stored" else None)
    return tf.function(player, input_signature=[tf.TensorSpec([None, None], tf.int32)])


def assert_states(states, oracle, rows):
    sessions = [[oracle.ids[row] for row in line if row] for line in rows]
    expected = [oracle.play(session) for session in sessions]
    for layer, state in enumerate(states):
        np.testing.assert_allclose(state, [one[layer] for one in expected], rtol=1e-4, atol=1e-5)


def test_sessions_of_every_number_of_clicks(network, play):
    _, oracle = network
    rng = np.random.default_rng(1)
    for length in range(28):
        rows = rng.integers(1, len(oracle.ids), (1, length)).astype(np.int32)
        assert_states(play(rows), oracle, rows)


def test_a_batch_of_sessions_with_padding_anywhere(network, play):
    _, oracle = network
    rng = np.random.default_rng(2)
    rows = rng.integers(1, len(oracle.ids), (5, 31)).astype(np.int32)
    rows[0, 17:], rows[1, :9], rows[2, ::2], rows[3] = 0, 0, 0, 0
    rows[:, 26:] = 0
    states = play(rows)
    assert_states(states, oracle, rows)
    assert all((state[3].numpy() == 0.0).all() for state in states)


def test_no_sessions(network, play):
    model, _ = network
    states = play(np.zeros((0, 12), np.int32))
    assert [tuple(state.shape) for state in states] == [(0, n) for n in model.network.state_dims]


def test_sums_that_would_be_large_are_not_stored(network, monkeypatch):
    model, _ = network
    size = make_input_sums(model).numpy().nbytes
    monkeypatch.setattr(session_player, "_MAX_SUMS_BYTES", size - 1)
    assert make_input_sums(model) is None


def test_few_operations_run_for_a_click(network, play):
    """What the time of an answer goes with, counted in the graph and not on a clock."""
    model, _ = network
    graph = play.get_concrete_function().graph.as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def]
    # The products of a round of ten and of a round of two, and those of the input of a layer.
    products = sum(node.op == "MatMul" for node in nodes)
    assert products == (10 + 2) * 2 * len(model.network.cells) + 2 * (len(model.network.cells) - 1)
    # Variables come in as they are: what is read outside would be handed on in each round.
    loops = [node for node in graph.node if node.op in ("While", "StatelessWhile")]
    for loop in loops:
        carried = [t for t in loop.attr["T"].list.type if t != tf.resource.as_datatype_enum]
        # Loop counter, number of rounds, number, states, and what is read of the rows.
        assert len(carried) <= 3 + len(model.network.cells) + min(2, len(model.network.cells))
