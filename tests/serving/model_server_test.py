"""A real tensorflow_model_server, run by what `tfrec-export --deploy` writes, answers the client.

    TF_MODEL_SERVER=/usr/bin/tensorflow_model_server pytest tests/serving/model_server_test.py
    TF_MODEL_SERVER=docker:tensorflow/serving:2.19.0 pytest tests/serving/model_server_test.py

(pull the image first). The same tests are run against a fake of the program, with the servers of
these tests behind it, so that they are known to work where there is neither.
"""

import contextlib
import functools
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_click_runs
from serving.model_server import ModelServer

from tfrec_zoo.export import main
from tfrec_zoo.export.warmup import read_warmup_requests
from tfrec_zoo.serving import Client, ServingError

pytest.importorskip("tensorflow_serving")

REAL = "TF_MODEL_SERVER"
MODELS = ["gru4rec", "ssr", "dlrm", "cascade"]
SESSIONS = [["item-3", "é/ü 1"], ["item-7", "unknown", "item-1", "item-28"], [], ["item-9"] * 7]


@pytest.fixture(scope="module")
def root(exports, tmp_path_factory):
    """The folders of the versions, with their deployments."""
    root = tmp_path_factory.mktemp("deployed")
    for name, (first, *_) in exports.items():
        shutil.copytree(first.parent, root / name)
        arguments = [f"--export_dir={root / name}", "--version=1", "--deploy"]
        assert tiny_click_runs.run(main.export, main.define_flags, "tfrec-export", *arguments) == 0
    return root


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    """A folder with programs that stand for tensorflow_model_server and docker."""
    folder, tests = tmp_path_factory.mktemp("fakes"), Path(__file__).parents[1]
    for name, script in {
        "tensorflow_model_server": "fake_model_server.py",
        "docker": "fake_docker.py",
    }.items():
        command = f'"{sys.executable}" "{tests / "serving" / script}"'
        (folder / name).write_text(f'#!/bin/sh\nPYTHONPATH="{tests}" exec {command} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            "real",
            marks=pytest.mark.skipif(
                not os.environ.get(REAL),
                reason=f"needs TensorFlow Serving: set {REAL} to the path of "
                "tensorflow_model_server, or to docker:<image>",
            ),
        ),
        "fake",
    ],
)
def program(request, fakes):
    """A path of tensorflow_model_server, or docker:<image>."""
    return os.environ[REAL] if request.param == "real" else str(fakes / "tensorflow_model_server")


@contextlib.contextmanager
def run(program, root, folder, models):
    """Starts the server on copies of models; yields it with all of them loaded."""
    from serving.server_process import run_model_server

    with run_model_server(program, shutil.copytree(root, folder / "models"), models) as running:
        for url in running.urls.values():
            with Client(url, timeout=20) as client:
                for name in models:
                    running.wait_for(functools.partial(client.signatures, name, label="stable"))
        yield running


@pytest.fixture(scope="module")
def running(program, root, tmp_path_factory):
    with run(program, root, tmp_path_factory.mktemp("running"), MODELS) as running:
        yield running


@pytest.fixture(params=["columns", "rows", "rpc"])
def client(request, running):
    """A client of either kind."""
    url = running.urls["rpc" if request.param == "rpc" else "rest"]
    with Client(url, timeout=60, row_format=request.param == "rows") as client:
        yield client


@pytest.fixture(scope="module")
def python(exports):
    """The same versions in this process."""
    python = ModelServer()
    for name, versions in exports.items():
        for version in versions:
            python.load(name, version)
    return python


def require_same(found, expected):
    """Requires the outputs of a server to be those of Python."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if array.dtype == np.float32:
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)
        else:
            assert found[name].tolist() == array.tolist()


@pytest.mark.parametrize("model", MODELS)
def test_every_signature_answers_like_python(client, python, exports, model):
    asked = read_warmup_requests(exports[model][0])
    signatures = client.signatures(model, label="stable")
    assert {request.signature for request in asked} == set(signatures)
    for request in asked:
        expected = python.predict(model, 1, None, request.signature, request.inputs)
        found = client.predict(model, request.inputs, request.signature, label="stable")
        require_same(found, expected)


def recommend(python, version, sessions):
    """Returns Python's items and scores of sessions."""
    length = max(map(len, sessions))
    padded = [[*session, *[""] * (length - len(session))] for session in sessions]
    inputs = {"session_items": np.array(padded, dtype=object)}
    outputs = python.predict("gru4rec", version, None, "recommend", inputs)
    return np.vectorize(bytes.decode, otypes=[object])(outputs["items"]), outputs["scores"]


def require_version(answer, expected):
    """Requires the answer of one version of the model."""
    items, scores = expected
    assert answer.items.tolist() == items.tolist()
    np.testing.assert_allclose(answer.scores, scores, rtol=1e-4, atol=1e-5)


def test_requests_that_are_put_together_answer_as_alone(client, python):
    def ask(number):
        # Of each length, so that the server fills up the shorter ones.
        session = SESSIONS[number % len(SESSIONS)][: 1 + number // len(SESSIONS)]
        return session, client.recommend("gru4rec", [session, SESSIONS[1]], label="stable")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(32)))
    for session, answer in answers:
        require_version(answer, recommend(python, 1, [session, SESSIONS[1]]))


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"model": "nobody"}, "NOT_FOUND", "nobody"),
        ({"version": 7}, "NOT_FOUND", "7"),
        ({"version": 2}, "NOT_FOUND", "2"),
        ({"label": "canary"}, "INVALID_ARGUMENT", "canary"),
        ({"signature_name": "best"}, "INVALID_ARGUMENT", "best"),
        ({"inputs": {"clicks": [["a"]]}}, "INVALID_ARGUMENT", ""),
    ],
)
def test_what_is_not_served_is_refused(client, options, status, words):
    with pytest.raises(ServingError) as raised:
        client.predict(**{"model": "gru4rec", "inputs": {"session_items": [["a"]]}, **options})
    assert raised.value.status == status
    assert words in raised.value.message


def test_canary_promotion_and_rollback(running, python):
    """Step by step what the guide says of versions and labels."""
    first, second = (recommend(python, version, SESSIONS) for version in (1, 2))
    assert first[0].tolist() != second[0].tolist()
    with Client(running.urls["rpc"], timeout=60) as client:

        def ask(label):
            return client.recommend("gru4rec", SESSIONS, label=label)

        def is_of(expected):
            return lambda answer: answer.items.tolist() == expected[0].tolist()

        def say(versions, **labels):
            running.edit("gru4rec", versions, labels)

        # Not in one step: a label does not move to a version that is not loaded.
        say([1, 2], stable=2)
        running.wait_for(running.read_log, lambda log: "Request to assign label" in log)
        require_version(ask("stable"), first)
        # Canary.
        say([1, 2], stable=1, canary=2)
        require_version(running.wait_for(lambda: ask("canary"), is_of(second)), second)
        require_version(ask("stable"), first)
        # Promotion.
        say([1, 2], stable=2, canary=2)
        require_version(running.wait_for(lambda: ask("stable"), is_of(second)), second)
        # Rollback.
        say([1, 2], stable=1, canary=2)
        require_version(running.wait_for(lambda: ask("stable"), is_of(first)), first)
        # The new version is taken away.
        say([1], stable=1)
        running.wait_for(lambda: find_status(lambda: ask("canary")), lambda s: s is not None)
        require_version(ask("stable"), first)


def find_status(ask):
    """Returns the status of a request that is not answered, None of one that is."""
    try:
        ask()
    except ServingError as error:
        return error.status
    return None


def test_a_container_is_run_by_the_same_files(fakes, root, python, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{fakes}{os.pathsep}{os.environ['PATH']}")
    with run("docker:tensorflow/serving:2.19.0", root, tmp_path, ["gru4rec"]) as running:
        for url in running.urls.values():
            with Client(url, timeout=60) as client:
                answer = client.recommend("gru4rec", SESSIONS, label="stable")
                require_version(answer, recommend(python, 1, SESSIONS))
    with pytest.raises(ServingError), Client(url, retries=0) as client:
        client.recommend("gru4rec", SESSIONS)


def test_a_server_that_does_not_start_is_told_with_its_log(root, tmp_path):
    from serving.server_process import run_model_server

    copy = shutil.copytree(root, tmp_path / "models")
    script = tmp_path / "broken"
    script.write_text("#!/bin/sh\necho no such flag >&2\nexit 1\n")
    script.chmod(0o755)
    with run_model_server(str(script), copy, MODELS) as running:
        running.process.wait(20)
        with pytest.raises(AssertionError, match="the server has ended: no such flag"):
            running.wait_for(lambda: None)
