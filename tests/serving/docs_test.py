"""The examples of the serving guide are answered, and print what stands below them."""

import json
import re
import shutil
import subprocess

import pytest
from docs.python_api_test import find_examples, run_example
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

COMMAND = re.compile(r"^```bash\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


@pytest.fixture
def guide(repository, urls, server):
    """The text, with the addresses of the tests' servers."""
    text = (repository / "docs" / "serving.md").read_text(encoding="utf-8")
    for place, kind in (("localhost:8501", "rest"), ("localhost:8500", "rpc")):
        text = text.replace(place, urls[kind].split("://")[1])
    # They may be busy with the tests.
    return text.replace("timeout=2.0", "timeout=20").replace("timeout=2)", "timeout=20)")


def test_python_examples_are_answered(guide, server):
    examples = find_examples(guide)
    assert len(examples) >= 10
    variables = {"__name__": "example"}
    for number, (source, shown) in enumerate(examples):
        printed = run_example(source, f"serving.md, example {number}", variables)
        assert shown is None or printed == shown
    assert {request[0] for request in server.requests} == {"gru4rec", "ssr", "dlrm"}


def test_the_labels_of_the_guide_are_those_of_the_server(guide):
    (text,) = re.findall(r"^   ```text\n(.*?)^   ```\n", guide, re.DOTALL | re.MULTILINE)
    config = text_format.Parse(text, model_server_config_pb2.ModelConfig())
    assert list(config.model_version_policy.specific.versions) == [1, 2]
    assert dict(config.version_labels) == {"stable": 1, "canary": 2}


def test_curl_is_answered(guide):
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    commands = COMMAND.findall(guide)
    answers = []
    for command in commands:
        run = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=30)
        answers.append(json.loads(run.stdout))
    assert [sorted(answer) for answer in answers] == [
        ["predictions"],
        ["outputs"],
        ["predictions"],
        ["metadata", "model_spec"],
    ]
    assert answers[0]["predictions"][0].keys() == {"items", "scores"}
    assert len(answers[1]["outputs"]["items"]) == 2
