"""The service in a process that has neither the zoo nor Keras."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import requests
from docs.services.http_service import HttpServiceTests, ask, serve
from docs.services.service_requests import REQUESTS, require_answer

BLOCKED = ("tfrec_zoo", "tf_keras", "keras", "tensorflow_recommenders", "tensorflow_serving")
RUN = f"""
import runpy, sys
for name in {BLOCKED}:
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def script(repository):
    return str(repository / "docs" / "services" / "plain_python" / "service.py")


@pytest.fixture(scope="module")
def url(script, exports, tmp_path_factory):
    models = [f"{name}={path}" for name, path in exports.items()]
    command = [sys.executable, "-c", RUN, script, "--port=0", *models]
    with serve(command, tmp_path_factory.mktemp("plain") / "log") as url:
        yield url


class TestPlainPython(HttpServiceTests):
    """The service in plain Python."""


@pytest.mark.parametrize("name", REQUESTS)
def test_numbers_are_those_of_python_bit_by_bit(url, ask_python, name):
    model, signature, inputs = REQUESTS[name]
    _, found = ask(url, f"{model}/{signature}", inputs)
    for output, array in ask_python(model, signature, inputs).items():
        if array.dtype == np.float32:
            numbers = np.array(found[output], np.float32)
            numbers[np.isnan(numbers)] = -np.inf
            np.testing.assert_array_equal(numbers, array)


def test_says_what_there_is(url):
    content = requests.get(url, timeout=60).json()
    assert sorted(content) == ["cascade", "dlrm", "gru4rec", "ssr"]
    assert content["dlrm"]["predict"] == {
        "dense": ["float32", None, 3],
        "sparse": ["string", None, 8],
    }
    assert requests.get(f"{url}/else", timeout=60).status_code == 404


def test_threads_are_answered_at_once(url, ask_python):
    model, signature, inputs = REQUESTS["gru4rec"]
    expected, found = ask_python(model, signature, inputs), []
    threads = [
        threading.Thread(target=lambda: found.append(ask(url, f"{model}/{signature}", inputs)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [code for code, _ in found] == [200] * 8
    for _, content in found:
        require_answer(content, expected)


def test_a_missing_export_is_a_sentence(script):
    command = [sys.executable, script, "gru4rec=nowhere"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines()[-1].startswith("service.py: SavedModel file does not exist")
