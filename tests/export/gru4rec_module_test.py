import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfrec_zoo.export.gru4rec_module import GRU4RecModule
from tfrec_zoo.models.gru4rec import GRU4Rec

K = 10
UNKNOWN = "never seen"
NETWORKS = {
    "tied": {},
    "two layers": {"hidden_dims": (5, 7)},
    "separate": {"tie_embeddings": False, "embedding_dim": 4},
    "one hot": {"tie_embeddings": False, "hidden_dims": (5, 6), "use_item_bias": False},
    "elu": {"score_activation": "elu", "hidden_activation": "relu"},
    "relu": {"score_activation": "relu"},
}


def make_signatures(restored, folder, k=K):
    path = folder / "vocabulary.tsv"
    restored.vocabulary.save(path)
    # The signatures keep no reference to the module, and it owns the variables and the table.
    module = GRU4RecModule(restored.model, restored.vocabulary, path, k)
    return module, module.trace_signatures()


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, make_restored, make_oracle, tmp_path_factory):
    """Signatures of a network and its oracle."""
    restored = make_restored(**NETWORKS[request.param])
    module, signatures = make_signatures(restored, tmp_path_factory.mktemp("module"))
    yield signatures, make_oracle(restored)
    del module


@pytest.fixture(scope="module")
def tied(restored, make_oracle, tmp_path_factory):
    module, signatures = make_signatures(restored, tmp_path_factory.mktemp("module"))
    yield signatures, make_oracle(restored)
    del module


def draw_sessions(oracle, lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [[oracle.ids[row] for row in rng.integers(1, len(oracle.ids), n)] for n in lengths]


def pad(sessions, length=0):
    length = max(length, *map(len, sessions))
    return tf.constant([session + [""] * (length - len(session)) for session in sessions])


def as_texts(items):
    return [[item.decode() for item in line] for line in items.numpy()]


def assert_answers(answer, oracle, states, excluded=None):
    """Checks items and scores of each request against the oracle's."""
    items = as_texts(answer["items"])
    for line, (state, left_out) in enumerate(
        zip(states, excluded or [()] * len(states), strict=True)
    ):
        expected_items, expected_scores = oracle.answer(state, K, left_out)
        assert items[line] == expected_items
        np.testing.assert_allclose(answer["scores"][line], expected_scores, rtol=1e-4, atol=1e-5)


def test_recommend(network):
    signatures, oracle = network
    sessions = draw_sessions(oracle, [1, 4, 9, 2])
    answer = signatures["recommend"](session_items=pad(sessions))
    assert_answers(answer, oracle, [oracle.play(session) for session in sessions])


def test_unknown_items_and_padding_anywhere_change_nothing(network):
    signatures, oracle = network
    sessions = draw_sessions(oracle, [3, 5])
    plain = signatures["recommend"](session_items=pad(sessions))
    holes = [["", UNKNOWN, *sessions[0][:1], "", *sessions[0][1:], UNKNOWN, ""], sessions[1]]
    answer = signatures["recommend"](session_items=pad(holes, length=12))
    assert as_texts(answer["items"]) == as_texts(plain["items"])
    np.testing.assert_allclose(answer["scores"], plain["scores"], rtol=1e-5)


@pytest.mark.parametrize("session", [[], [""], [UNKNOWN, "", UNKNOWN]])
def test_a_session_without_known_items_gets_the_popular_ones(network, session):
    signatures, oracle = network
    known = draw_sessions(oracle, [3])
    empty_alone = tf.zeros([1, 0], tf.string) if not session else tf.constant([session])
    popular = np.argsort(-oracle.counts, kind="stable")[:K]
    for answer, line in [
        (signatures["recommend"](session_items=empty_alone), 0),
        (signatures["recommend"](session_items=pad([*known, session])), 1),
    ]:
        assert as_texts(answer["items"])[line] == [oracle.ids[row] for row in popular]
        shares = oracle.counts[popular] / oracle.counts.sum()
        np.testing.assert_allclose(answer["scores"][line], shares, rtol=1e-6)


def test_excluded_items_never_come_back(network):
    signatures, oracle = network
    sessions = [*draw_sessions(oracle, [3, 2]), [], ["item-7"]]
    best = [oracle.answer(oracle.play(session), K)[0] for session in sessions]
    excluded = [best[0][:3] + ["", UNKNOWN], best[1][4:9], best[2][:5], [""] * 5]
    answer = signatures["recommend_excluding"](
        session_items=pad(sessions), exclude_items=tf.constant(excluded)
    )
    assert_answers(answer, oracle, [oracle.play(session) for session in sessions], excluded)


def test_fewer_candidates_than_k_give_a_shorter_answer(tied):
    signatures, oracle = tied
    sessions = [*draw_sessions(oracle, [3]), []]
    left = {"item-0", "item-7", "é/ü 1"}
    excluded = [[item for item in oracle.ids if item not in left]] * 2
    answer = signatures["recommend_excluding"](
        session_items=pad(sessions), exclude_items=tf.constant(excluded)
    )
    assert_answers(answer, oracle, [oracle.play(session) for session in sessions], excluded)
    assert [line[3:] for line in as_texts(answer["items"])] == [[""] * (K - 3)] * 2


def test_more_items_asked_for_than_there_are(make_restored, make_oracle, tmp_path):
    restored = make_restored(num_items=4)
    _module, signatures = make_signatures(restored, tmp_path)
    oracle = make_oracle(restored)
    answer = signatures["recommend"](session_items=tf.constant([["item-7", "item-0"]]))
    assert_answers(answer, oracle, [oracle.play(["item-7", "item-0"])])


def test_steps_from_click_to_click(network):
    signatures, oracle = network
    sessions = draw_sessions(oracle, [4, 4])
    sessions[1][2] = UNKNOWN
    sessions[1][0] = ""
    states = [np.zeros((2, width), np.float32) for width in oracle.config.hidden_dims]
    for click in range(4):
        inputs = {f"state_{layer}": tf.constant(state) for layer, state in enumerate(states)}
        clicked = tf.constant([session[click] for session in sessions])
        answer = signatures["step"](item=clicked, **inputs)
        states = [answer[f"next_state_{layer}"].numpy() for layer in range(len(states))]
        played = [oracle.play(session[: click + 1]) for session in sessions]
        assert_answers(answer, oracle, played)
    for layer, state in enumerate(states):
        expected = [player[layer] for player in played]
        np.testing.assert_allclose(state, expected, rtol=1e-4, atol=1e-5)


def test_rows_answer_as_items_do(network):
    signatures, oracle = network
    sessions = [*draw_sessions(oracle, [5, 2]), []]
    items = pad(sessions)
    rows = np.array([[oracle.ids.index(item) for item in line] for line in as_texts(items)])
    rows[1, 3], rows[2, 0] = len(oracle.ids), -1
    by_items = signatures["recommend"](session_items=items)
    by_rows = signatures["recommend_rows"](session_rows=tf.constant(rows, tf.int32))
    answered = [[oracle.ids[row] for row in line] for line in by_rows["rows"].numpy()]
    assert answered == as_texts(by_items["items"])
    np.testing.assert_allclose(by_rows["scores"], by_items["scores"], rtol=1e-5)


def test_another_network_is_played_click_by_click(make_restored, tmp_path):
    class Mean(tf_keras.layers.Layer):
        """The state is half of the old one and half of the item's vector."""

        state_dims = (6,)

        def call(self, inputs, states, seed=None):
            return (0.5 * states[0] + 0.5 * inputs,)

    class MeanRecommender(GRU4Rec):
        def make_network(self):
            return Mean()

    restored = make_restored()
    model = MeanRecommender(restored.model.config, restored.model.num_rows, seed=1)
    path = tmp_path / "vocabulary.tsv"
    restored.vocabulary.save(path)
    module = GRU4RecModule(model, restored.vocabulary, path, K)
    answer = module.trace_signatures()["recommend_rows"](
        session_rows=tf.constant([[3, 0, 5], [0, 0, 0]])
    )
    table = model.item_table.numpy()
    vector = 0.25 * table[3, :6] + 0.5 * table[5, :6]
    scores = table[1:] @ np.append(vector, 1)
    best = np.argsort(-scores)[:K]
    assert answer["rows"][0].numpy().tolist() == (best + 1).tolist()
    np.testing.assert_allclose(answer["scores"][0], scores[best], rtol=1e-5)


@pytest.mark.parametrize(("k", "num_items", "words"), [(0, 40, "k must"), (3, 39, "41 rows")])
def test_refusals(restored, make_restored, tmp_path, k, num_items, words):
    vocabulary = make_restored(num_items=num_items).vocabulary
    path = tmp_path / "vocabulary.tsv"
    with pytest.raises(ValueError, match=words):
        GRU4RecModule(restored.model, vocabulary, path, k)
