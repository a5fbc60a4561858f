"""The service on Node: where it is installed, or where TFREC_NODE=1 lets npm install it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from docs.services.http_service import HttpServiceTests, serve

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


class TestNode(HttpServiceTests):
    """The service on Node."""


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
