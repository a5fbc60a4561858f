"""Runs a service that answers by HTTP in a process of its own, and what each of them is held to."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import requests
from docs.services.service_requests import REQUESTS, require_answer

# Seconds for TensorFlow to be loaded, on a machine that is busy with other tests.
START_TIMEOUT = 180
ADDRESS = re.compile(r"listening on (http://127\.0\.0\.1:\d+)\n")

# Path, body, code, and words of the error.
BAD_REQUESTS = [
    ("gru4rec/best", "{}", 404, "best"),
    ("nobody/recommend", "{}", 404, "nobody"),
    ("gru4rec", "{}", 404, ""),
    ("gru4rec/recommend", '{"session_items": ', 400, ""),
    ("gru4rec/recommend", "[" * 100_000, 400, ""),
    ("gru4rec/recommend", "[]", 400, "session_items"),
    ("gru4rec/recommend", '{"items": [["a"]]}', 400, "session_items"),
    ("gru4rec/recommend", '{"session_items": []}', 400, "session_items"),
    ("gru4rec/recommend", '{"session_items": "abc"}', 400, "session_items"),
    ("gru4rec/recommend", '{"session_items": [["a"], "b"]}', 400, "session_items"),
    ("gru4rec/recommend", '{"session_items": [[7]]}', 400, "session_items"),
    ("gru4rec/recommend_rows", '{"session_rows": [[1.5]]}', 400, "session_rows"),
    ("gru4rec/recommend_rows", '{"session_rows": [[4294967297]]}', 400, "session_rows"),
    (
        "gru4rec/recommend_excluding",
        '{"session_items": [["a"], ["b"]], "exclude_items": [["c"]]}',
        400,
        "as many rows",
    ),
    ("dlrm/predict", '{"dense": [[1, 2]], "sparse": [["a"]]}', 400, ""),
    (
        "dlrm/predict",
        '{"dense": [[1, 2, "3"]], "sparse": [["", "", "", "", "", "", "", ""]]}',
        400,
        "",
    ),
]


@contextlib.contextmanager
def serve(command: Sequence[str], log: Path) -> Iterator[str]:
    """Starts a service; yields its address once it has printed it, and ends it afterwards."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True
        )
    timer = threading.Timer(START_TIMEOUT, process.kill)
    timer.start()
    try:
        address = ADDRESS.fullmatch(process.stdout.readline())
        timer.cancel()
        assert address, log.read_text(encoding="utf-8")
        yield address[1]
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def ask(url: str, path: str, body: str | dict) -> tuple[int, dict]:
    """Returns the code and the content of an answer."""
    text = body if isinstance(body, str) else json.dumps(body)
    response = requests.post(f"{url}/{path}", data=text.encode(), timeout=60)
    assert response.headers["Content-Type"].startswith("application/json")
    return response.status_code, json.loads(response.text, parse_constant=refuse)


def announce(url: str, path: str, size: int) -> tuple[int, dict]:
    """Returns the code and the content of an answer to a request of which only the head comes."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest("POST", f"/{path}")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


class HttpServiceTests:
    """The tests of a service, whose module has its address as the fixture `url`."""

    @pytest.mark.parametrize("name", REQUESTS)
    def test_answers_like_python(self, url: str, ask_python: Callable, name: str) -> None:
        model, signature, inputs = REQUESTS[name]
        code, found = ask(url, f"{model}/{signature}", inputs)
        assert code == 200, found
        require_answer(found, ask_python(model, signature, inputs))

    @pytest.mark.parametrize(("path", "body", "code", "words"), BAD_REQUESTS)
    def test_wrong_requests_are_told_what_is_wrong(
        self, url: str, path: str, body: str, code: int, words: str
    ) -> None:
        found, content = ask(url, path, body)
        assert found == code
        assert list(content) == ["error"] and words in content["error"]

    def test_a_body_that_is_too_large_is_not_read(self, url: str) -> None:
        code, content = announce(url, "gru4rec/recommend", 2**21)
        assert code == 413 and "1048576" in content["error"]
