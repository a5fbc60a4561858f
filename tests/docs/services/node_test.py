"""The service on Node: where it is installed, or where TFREC_NODE=1 lets npm install it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from docs.services.http_service import BAD_REQUESTS, announce, ask, serve
from docs.services.service_requests import REQUESTS, require_answer

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "services" / "node"
ADDON = "node_modules/@tensorflow/tfjs-node/lib"
# Seconds for npm and the compiler.
INSTALL_TIMEOUT = 600

pytestmark = [
    pytest.mark.skipif(not shutil.which("node"), reason="needs node"),
    pytest.mark.skipif(
        not (FOLDER / ADDON).is_dir() and os.environ.get("TFREC_NODE") != "1",
        reason="needs tfjs-node: run `npm ci && npm run build` in docs/services/node, or set "
        "TFREC_NODE=1 to let the test do so in a copy",
    ),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The path of index.js, ready to be run."""
    if (FOLDER / ADDON).is_dir():
        return str(FOLDER / "index.js")
    ignored = shutil.ignore_patterns("node_modules")
    folder = shutil.copytree(FOLDER, tmp_path_factory.mktemp("node") / "node", ignore=ignored)
    install(folder)
    return str(folder / "index.js")


def install(folder):
    environment = {**os.environ, "PYTHON": sys.executable}
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        run = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
        )
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def url(script, exports, tmp_path_factory):
    models = [f"{name}={path}" for name, path in exports.items()]
    with serve(
        ["node", script, "--port=0", *models], tmp_path_factory.mktemp("log") / "log"
    ) as url:
        yield url


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_like_python(url, ask_python, name):
    model, signature, inputs = REQUESTS[name]
    code, found = ask(url, f"{model}/{signature}", inputs)
    assert code == 200, found
    require_answer(found, ask_python(model, signature, inputs))


@pytest.mark.parametrize(("path", "body", "code", "words"), BAD_REQUESTS)
def test_wrong_requests_are_told_what_is_wrong(url, path, body, code, words):
    found, content = ask(url, path, body)
    assert found == code
    assert list(content) == ["error"] and words in content["error"]


def test_a_body_that_is_too_large_is_not_read(url):
    code, content = announce(url, "gru4rec/recommend", 2**21)
    assert code == 413 and "1048576" in content["error"]


def test_says_what_there_is(url):
    content = requests.get(url, timeout=60).json()
    assert sorted(content) == ["cascade", "dlrm", "gru4rec", "ssr"]
    assert content["dlrm"]["predict"]["dense"] == {"type": "DT_FLOAT", "sizes": [None, 3]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gru4rec=nowhere"], "no saved_model.pb file in the directory: nowhere"),
        ([], "which models?"),
        (["--prt=1"], "--prt"),
    ],
)
def test_wrong_usage_is_a_sentence(script, arguments, words):
    run = subprocess.run(["node", script, *arguments], capture_output=True, text=True, timeout=180)
    assert (run.returncode, run.stdout) == (1, "")
    line = run.stderr.splitlines()[-1]
    assert line.startswith("index.js: ") and words in line
