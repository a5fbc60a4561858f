import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from serving.served_models import IDS, K, make_gru4rec

from tfrec_zoo.export.saved_model import export_gru4rec
from tfrec_zoo.serving import Client, ServingError
from tfrec_zoo.serving.rest import RestConnection
from tfrec_zoo.serving.rpc import RpcConnection

SESSIONS = [["item-3", "é/ü 1"], ["item-7", "unknown", "item-1", "item-28"], []]


def ask(server, model, signature, **inputs):
    """Returns what the SavedModel itself answers."""
    function = server.find(model, None, None)[1].signatures[signature]
    answer = function(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in answer.items()}


def decode(items):
    return [[item.decode() for item in line] for line in items]


def require_answer(found, expected):
    """Requires the items and scores that a SavedModel has answered by itself."""
    assert found.items.tolist() == decode(expected["items"])
    assert found.items.dtype == object
    assert found.scores.dtype == np.float32
    np.testing.assert_array_equal(np.isinf(found.scores), np.isinf(expected["scores"]))
    np.testing.assert_allclose(found.scores, expected["scores"], rtol=1e-6)


def test_recommends_for_sessions_of_several_lengths(client, server):
    padded = [[*session, *[""] * (4 - len(session))] for session in SESSIONS]
    expected = ask(server, "gru4rec", "recommend", session_items=padded)
    found = client.recommend("gru4rec", SESSIONS)
    assert found.items.shape == (3, K)
    require_answer(found, expected)
    assert found.items[2].tolist() == IDS[: -K - 1 : -1]  # the most popular items
    ((_, version, signature, _),) = server.requests
    assert (version, signature) == (2, "recommend")


def test_excludes_items_and_pads_what_is_left_over(client, server):
    kept = {"item-3", "item-4"}
    exclude = [["item-3"], [id_ for id_ in IDS if id_ not in kept]]
    found = client.recommend("gru4rec", SESSIONS[:2], exclude=exclude)
    assert "item-3" not in found.items[0]
    assert set(found.items[1]) == {*kept, ""}
    assert np.isneginf(found.scores[1]).tolist() == [False, False, True, True, True]


def test_includes_items(client):
    found = client.recommend("ssr", [["N1"], ["N2", "N3"]], include=[["N4", "N9"], ["N5"]])
    assert set(found.items[0]) == {"N4", "N9", ""}
    assert found.items[1].tolist() == ["N5", "", "", "", ""]
    found = client.recommend("ssr", [["N1"]], exclude=[["N4"]])
    assert "N4" not in found.items[0]


def test_ids_may_be_integers_and_bytes(client, server):
    expected = client.recommend("gru4rec", [["é/ü 1", "7"]])
    found = client.recommend("gru4rec", [["é/ü 1".encode(), np.int64(7)]])
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert server.requests[0][3]["session_items"].tolist() == [[b"", "é/ü 1".encode(), b"7"]]
    assert server.requests[1][3]["session_items"].tolist() == [[b"", "é/ü 1".encode(), b"7"]]


def test_a_server_that_fills_up_batches_changes_no_answer(client, server):
    plain = client.recommend("gru4rec", SESSIONS, exclude=[["item-2"], ["item-5"], []])
    chosen = client.recommend("ssr", [["N1", "N2"]], include=[["N4", "N9"]])
    server.padded_length = 19
    found = client.recommend("gru4rec", SESSIONS, exclude=[["item-2"], ["item-5"], []])
    np.testing.assert_array_equal(found.items, plain.items)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-5)
    found = client.recommend("ssr", [["N1", "N2"]], include=[["N4", "N9"]])
    np.testing.assert_array_equal(found.items, chosen.items)


def test_steps_with_states_answer_what_the_whole_session_is_answered(client):
    first = client.step("gru4rec", ["item-3", "item-7"])
    assert [state.shape for state in first.states] == [(2, 6), (2, 4)]
    second = client.step("gru4rec", ["é/ü 1", "item-1"], first.states)
    whole = client.recommend("gru4rec", [["item-3", "é/ü 1"], ["item-7", "item-1"]])
    assert second.items.tolist() == whole.items.tolist()
    np.testing.assert_allclose(second.scores, whole.scores, rtol=1e-4, atol=1e-5)
    assert {state.dtype for state in second.states} == {np.dtype(np.float32)}


def test_how_wide_states_are_is_asked_once_and_again_for_a_new_version(client, server, tmp_path):
    client.step("gru4rec", ["item-3"])
    asked = server.num_asked
    client.step("gru4rec", ["item-3"])
    assert server.num_asked == asked + 1
    server.load("gru4rec", export_gru4rec(make_gru4rec(hidden_dims=(3,)), tmp_path, version=9))
    try:
        assert client.step("gru4rec", ["item-3"]).states[0].shape == (1, 3)
    finally:
        del server._models["gru4rec"][9]
    with pytest.raises(ServingError, match="no signature step"):
        client.step("dlrm", ["item-3"])


def test_predicts_clicks(client, server):
    schema = server.find("dlrm", None, None)[1].signatures["predict"].structured_input_signature[1]
    num_texts = schema["sparse"].shape[1]
    sparse = [["u3", "red|green", *[""] * (num_texts - 2)], ["é/ü 1", *[None] * (num_texts - 1)]]
    blank = [["" if text is None else text for text in line] for line in sparse]
    dense = [[1.5, None, 0.25], [float("nan"), -2, 7]]
    numbers = np.array(dense, np.float32)
    expected = ask(server, "dlrm", "predict", dense=numbers, sparse=blank)["click_probability"]
    found = client.click_probabilities("dlrm", dense=dense, sparse=sparse)
    assert (found.shape, found.dtype) == ((2,), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    texts = [["1.5", None, "0.25"], ["", "-2", "7"]]
    found = client.click_probabilities("dlrm", dense=texts, sparse=sparse)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert server.requests[-1][2] == "predict_text"


def test_embeds_sessions_and_items(client, server):
    sessions = client.embed_sessions("ssr", [["N1", "N2"], ["N3"]])
    expected = ask(server, "ssr", "embed_session", session_items=[["N1", "N2"], ["N3", ""]])
    np.testing.assert_allclose(sessions, expected["session_vector"], rtol=1e-5, atol=1e-6)
    inputs = client.signatures("ssr")["embed_items"].inputs
    dense = np.full((2, inputs["dense"].sizes[1]), 3.0)
    vectors = np.ones((2, inputs["vectors"].sizes[1]))
    sparse = [["news"] + [""] * (inputs["sparse"].sizes[1] - 1)] * 2
    items = client.embed_items("ssr", dense=dense, sparse=sparse, vectors=vectors, ages=[9, None])
    assert items.shape == sessions.shape == (2, 5)
    ages = np.array([9, np.nan], np.float32)
    given = {"dense": dense.astype(np.float32), "vectors": vectors.astype(np.float32)}
    expected = ask(server, "ssr", "embed_items", sparse=sparse, ages=ages, **given)
    np.testing.assert_allclose(items, expected["item_vector"], rtol=1e-5, atol=1e-6)


def test_a_version_or_a_label_is_asked(client, server):
    first, second = (client.recommend("gru4rec", SESSIONS, version=v).scores for v in (1, 2))
    assert not np.allclose(first, second)
    stable = client.recommend("gru4rec", SESSIONS, label="stable")
    canary = client.recommend("gru4rec", SESSIONS, label="canary")
    np.testing.assert_array_equal(stable.scores, first)
    np.testing.assert_array_equal(canary.scores, second)
    assert [request[1] for request in server.requests] == [1, 2, 1, 2]
    with pytest.raises(ValueError, match="version=1 and label='stable'"):
        client.recommend("gru4rec", SESSIONS, version=1, label="stable")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"model": "nobody"}, "NOT_FOUND", "Servable not found for request: Latest(nobody)"),
        ({"version": 7}, "NOT_FOUND", "Servable not found for request: Specific(gru4rec, 7)"),
        ({"label": "old"}, "INVALID_ARGUMENT", "Unrecognized servable version label: old"),
        ({"signature_name": "x"}, "INVALID_ARGUMENT", '"x" not found in signature def'),
        ({"inputs": {"clicks": [["a"]]}}, "INVALID_ARGUMENT", "session_items"),
        ({"inputs": {"session_items": [1, 2]}}, "INVALID_ARGUMENT", ""),
    ],
)
def test_what_the_server_says_is_raised_at_once(client, server, options, status, message):
    options = {"model": "gru4rec", "inputs": {"session_items": [["a"]]}, **options}
    with pytest.raises(ServingError) as raised:
        client.predict(**options)
    assert raised.value.status == status
    assert message in raised.value.message
    assert f"model {options['model']}" in str(raised.value) and status in str(raised.value)
    assert "127.0.0.1" in str(raised.value)
    assert server.num_asked == 1


def test_any_model_is_asked_with_every_type(client):
    inputs = {"numbers": [[0.1, -3], [float("inf"), 1e30]], "counts": [0, 7]}
    texts = [["é", b"\xff\x00"], ["", 'a"\\']]
    found = client.predict("echo", {**inputs, "texts": texts})
    assert set(found) == {"doubled", "next_counts", "are_zero", "joined", "joined_bytes"}
    assert found["doubled"].dtype == np.float32
    doubled = 2 * np.array(inputs["numbers"], np.float32)
    np.testing.assert_array_equal(found["doubled"], doubled)
    assert found["next_counts"].tolist() == [1, 8]
    assert found["next_counts"].dtype.kind == "i"
    assert found["are_zero"].tolist() == [True, False]
    joined = ["é|".encode() + b"\xff\x00", b'|a"\\']
    assert found["joined_bytes"].tolist() == found["joined"].tolist() == joined


def test_an_only_output_has_its_name(client, server):
    texts = np.array([["é", b"\xfe"], ["", "b"]], dtype=object)
    for _ in range(2):
        found = client.predict("echo", {"texts": texts}, "only_texts")
        assert found.keys() == {"kept"}
        assert found["kept"].tolist() == [["é".encode(), b"\xfe"], [b"", b"b"]]
    assert server.num_asked <= 3  # by REST, its name is asked for once


def test_signatures_are_described(client):
    signatures = client.signatures("gru4rec", label="stable")
    assert sorted(signatures) == [
        *("recommend", "recommend_excluding", "recommend_rows", "serving_default", "step")
    ]
    step = signatures["step"]
    assert step.inputs["state_1"] == (np.dtype(np.float32), (None, 4))
    assert step.inputs["item"] == (np.dtype(object), (None,))
    assert step.outputs["scores"].sizes[1:] in ((K,), (None,))


def test_headers_are_sent(server, urls):
    for url in urls.values():
        with Client(url, headers={"Authorization": "Bearer x"}) as client:
            client.signatures("echo")
        sent = {name.lower(): value for name, value in server.headers.items()}
        assert sent["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://host:8501", RestConnection),
        ("https://host/some/path/", RestConnection),
        ("grpc://host:8500", RpcConnection),
        ("grpcs://host:443", RpcConnection),
        ("host:8500", RpcConnection),
        ("[::1]:8500", RpcConnection),
    ],
)
def test_the_address_says_how_to_ask(url, kind):
    with Client(url) as client:
        assert type(client._server._connection) is kind


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"url": "host"}, "expected http://host:8501"),
        ({"url": "ftp://host:21"}, "expected http://host:8501"),
        ({"url": "grpc://host:8500/path"}, "expected http://host:8501"),
        ({"url": "host:8500", "row_format": True}, "row_format is of REST"),
        ({"url": "host:8500", "timeout": 0}, "timeout must be positive"),
        ({"url": "host:8500", "retries": -1}, "retries not negative"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Client(**arguments)


def test_what_cannot_be_asked_is_refused(client):
    with pytest.raises(ServingError, match="not found in signature def"):
        client.recommend("dlrm", [["a"]])
    with pytest.raises(ValueError, match="not both"):
        client.recommend("gru4rec", [["a"]], exclude=[[]], include=[[]])
    with pytest.raises(ValueError, match="exclude has 2 lists for 1 sessions"):
        client.recommend("gru4rec", [["a"]], exclude=[[], []])
    with pytest.raises(ValueError, match="nothing to ask about"):
        client.click_probabilities("dlrm")


def test_a_service_needs_no_tensorflow(urls):
    code = f"""
import sys
for name in ("tensorflow", "tf_keras", "pandas", "pyarrow", "absl", "tensorflow_serving"):
    sys.modules[name] = None
from tfrec_zoo.serving import Client
for url in {list(urls.values())}:
    print(Client(url, timeout=20).recommend("gru4rec", [["item-1"]], label="stable").items.shape)
"""
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("(1, 5)\n(1, 5)\n", "")
