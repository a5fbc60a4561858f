import http.server
import json
import threading

import numpy as np
import pytest

from tfrec_zoo.serving import Client, ServingError
from tfrec_zoo.serving.rest import make_body, read_answer, to_array


class Canned(http.server.BaseHTTPRequestHandler):
    """Answers what the class says, and keeps what it was sent."""

    code, body, sent = 200, b"", []

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.sent.append((self.path, content))
        self.send_response(self.code)
        if self.code == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def canned():
    """A server whose answers a test writes by hand; its `url` is the address."""
    handler = type("Handler", (Canned,), {"sent": []})
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_answers_of_the_documentation_are_read(canned):
    canned.body = b"""{
    "outputs": {
        "items": [["a", "\xff"], ["\\u00e9", ""]],
        "scores": [[1.5, 9e+06], [0.1, -Infinity]]
    }
}"""
    with Client(f"{canned.url}/base/") as client:
        found = client.recommend("gru4rec", [["x"], ["y"]], version=3)
    assert found.items.tolist() == [["a", "\udcff"], ["é", ""]]
    assert found.scores.tolist() == [[1.5, 9e6], [np.float32(0.1), -np.inf]]
    path, content = canned.sent[0]
    assert path == "/base/v1/models/gru4rec/versions/3:predict"
    assert json.loads(content) == {
        "signature_name": "recommend",
        "inputs": {"session_items": [["", "x"], ["", "y"]]},
    }


def test_an_id_that_is_no_text_goes_back_as_the_bytes_it_was(canned):
    canned.body = b'{"outputs": {"items": [["\xfe"]], "scores": [[1.0]]}}'
    with Client(canned.url) as client:
        items = client.recommend("gru4rec", [["x"]]).items
        client.recommend("gru4rec", items)
    assert json.loads(canned.sent[1][1])["inputs"] == {"session_items": [["", {"b64": "/g=="}]]}


def test_names_are_quoted(canned):
    canned.body = b'{"outputs": {"a": [1], "b": [2]}}'
    with Client(canned.url) as client:
        client.predict("a/b c", {"x": [1]}, label="l/1")
    assert canned.sent[0][0] == "/v1/models/a%2Fb%20c/labels/l%2F1:predict"


@pytest.mark.parametrize(
    ("code", "body", "status", "message"),
    [
        (400, b'{ "error": "JSON Parse error" }', "INVALID_ARGUMENT", "JSON Parse error"),
        (404, b"<html>no such page</html>", "NOT_FOUND", "<html>no such page</html>"),
        (502, b"", "UNAVAILABLE", "Bad Gateway"),
        (504, b"", "DEADLINE_EXCEEDED", "Gateway Timeout"),
        (418, b"[1]", "UNKNOWN", "[1]"),
        (302, b"", "UNKNOWN", "Found"),
        (200, b"<html>log in</html>", "UNKNOWN", "got no JSON: <html>log in</html>"),
        (200, b"[]", "UNKNOWN", "no answer of TensorFlow Serving"),
        (200, b'{"predict": 1}', "UNKNOWN", "no answer of TensorFlow Serving"),
        (200, b'{"outputs": {"items": [["a"], []], "scores": 1}}', "UNKNOWN", "no answer of"),
        (200, b'{"outputs": {"items": [["a"]]}}', "UNKNOWN", "answers ['items'], not scores"),
    ],
)
def test_what_is_no_answer_says_why(canned, code, body, status, message):
    canned.code, canned.body = code, body
    with Client(canned.url, retries=0) as client, pytest.raises(ServingError) as raised:
        client.recommend("gru4rec", [["x"]])
    assert raised.value.status == status
    assert message in raised.value.message


def test_rows_and_columns_are_what_the_documentation_shows():
    inputs = {"tag": np.array(["foo", b"\xff"], object), "signal": np.array([[1, 2], [3, 4]])}
    assert make_body(inputs, by_rows=False) == {
        "inputs": {"tag": ["foo", {"b64": "/w=="}], "signal": [[1, 2], [3, 4]]}
    }
    assert make_body(inputs, by_rows=True) == {
        "instances": [
            {"tag": "foo", "signal": [1, 2]},
            {"tag": {"b64": "/w=="}, "signal": [3, 4]},
        ]
    }
    with pytest.raises(ValueError, match="one batch size"):
        make_body({**inputs, "one": np.zeros(1)}, by_rows=True)


@pytest.mark.parametrize(
    ("answer", "values"),
    [
        ({"outputs": {"a": [1], "b": [2]}}, {"a": [1], "b": [2]}),
        ({"outputs": [1.5]}, [1.5]),
        ({"predictions": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}, {"a": [1, 3], "b": [2, 4]}),
        ({"predictions": [[1, 2]]}, [[1, 2]]),
        ({"predictions": [{"b64": "/w=="}]}, [{"b64": "/w=="}]),
    ],
)
def test_answers_of_both_formats_are_read(answer, values):
    assert read_answer(answer) == values


def test_values_become_arrays():
    assert to_array([{"b64": "/w=="}, {"b64": ""}]).tolist() == [b"\xff", b""]
    assert to_array([[1, 2]]).dtype == np.int64
    assert to_array([True]).dtype == bool
    assert np.isnan(to_array([float("nan"), 0.5])).tolist() == [True, False]
    for value in ([[1], [1, 2]], [None], [["a"], "b"], [{"c": 1}]):
        with pytest.raises((ValueError, KeyError)):
            to_array(value)
