"""What the services without TensorFlow are asked, and how they are run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from click_models import KINDS
from docs.services.service_requests import CLICKS, NEWS, SESSIONS

from tfrec_zoo.data.clicks.farm_hash import fingerprint64

BLOCKED = ("tensorflow", "tfrec_zoo", "tf_keras", "keras", "tf2onnx", "onnx", "pandas")
RUN = f"""
import runpy, sys
for name in {BLOCKED}:
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def find_row(feature: str, text: str) -> int:
    """Returns the row of a text of a hashed feature."""
    return 1 + int(fingerprint64([text])[0]) % (KINDS[feature]["num_rows"] - 1)


# The examples of CLICKS.
EXAMPLES = [
    {
        "a": 1.5,
        "price": 0.25,
        "user": "u3",
        "tags": {"red": 2, "green": 1},
        "device": find_row("device", "d"),
        "words": ["on", "up"],
        "genres": ["Drama", "War"],
        "first": ["x", "y"],
        "urls": [find_row("urls", "p"), find_row("urls", "q")],
        "C.1": "v2",
    },
    {
        "a": None,
        "b": -2,
        "price": 7,
        "user": "é/ü 1",
        "tags": [],
        "device": find_row("device", "<missing>"),
        "words": ["never", "seen"],
        "genres": "",
        "first": "",
    },
]
# Name -> model, the signature of the service and its requests, Python's signature and its inputs.
REQUESTS = {
    "gru4rec": ("gru4rec", None, SESSIONS, "recommend", {"session_items": SESSIONS}),
    "gru4rec by steps": (
        *("gru4rec", "step_rows", SESSIONS),
        *("recommend", {"session_items": SESSIONS}),
    ),
    "ssr": ("ssr", None, NEWS, "recommend", {"session_items": NEWS}),
    "ssr vectors": (
        *("ssr", "embed_session_rows", NEWS),
        *("embed_session", {"session_items": NEWS}),
    ),
    "dlrm": ("dlrm", None, EXAMPLES, "predict", CLICKS),
}


def ask(service: Path, export: Path, requests: list, signature: str | None = None) -> dict:
    """Returns what the program prints, in a process that has neither the zoo nor TensorFlow."""
    run = run_service(service, export, json.dumps(requests), signature)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def run_service(
    service: Path, export: Path, requests: str, signature: str | None = None
) -> subprocess.CompletedProcess:
    """Runs the program."""
    flags = [] if signature is None else [f"--signature={signature}"]
    command = [sys.executable, "-c", RUN, str(service), str(export), requests, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


Answer = Callable[[str], tuple[dict, dict]]


def make_answer(service: Path, exports: dict[str, Path], ask_python: Callable) -> Answer:
    """Returns the function from the name of a request to the service's answer and Python's."""

    def answer(name: str) -> tuple[dict, dict]:
        model, signature, requests, python_signature, inputs = REQUESTS[name]
        found = ask(service, exports[model], requests, signature)
        return found, ask_python(model, python_signature, inputs)

    return answer
