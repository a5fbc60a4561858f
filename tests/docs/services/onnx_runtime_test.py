"""The service on ONNX Runtime in a process that has neither the zoo nor TensorFlow."""

import pytest
from docs.services.numeric_services import REQUESTS, run_service
from docs.services.service_requests import require_answer

pytest.importorskip("onnxruntime")

FOLDER, FORMAT = "onnx_runtime", "onnx"


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_those_of_python(answer, name):
    require_answer(*answer(name))


@pytest.mark.parametrize(
    ("model", "requests", "signature", "words"),
    [
        ("gru4rec", "[[]", None, "Expecting"),
        ("gru4rec", "[]", None, "expected sessions"),
        ("gru4rec", "[[]]", "recommend", "there is no signature recommend, only"),
        ("dlrm", '[{"device": "d"}]', None, "device is hashed: send its row in place of 'd'"),
        ("dlrm", "[[]]", None, "expected examples"),
    ],
)
def test_wrong_requests_are_one_sentence(service, versions, model, requests, signature, words):
    run = run_service(service, versions[model], requests, signature)
    assert (run.returncode, run.stdout) == (1, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith("service.py: ") and words in line


def test_a_missing_export_is_one_sentence(service, tmp_path):
    run = run_service(service, tmp_path, "[[]]")
    assert (run.returncode, run.stdout) == (1, "")
    (line,) = run.stderr.splitlines()
    assert "interface.json" in line
