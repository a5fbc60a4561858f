"""The service on OpenVINO in a process that has neither the zoo nor TensorFlow."""

import pytest
from docs.services.numeric_services import REQUESTS, make_answer
from docs.services.service_requests import require_answer

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def versions(export_numeric):
    return export_numeric("openvino")


@pytest.fixture(scope="module")
def service(repository):
    return repository / "docs" / "services" / "openvino" / "service.py"


@pytest.fixture(scope="module")
def answer(service, versions, ask_python):
    return make_answer(service, versions, ask_python)


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_those_of_python(answer, name):
    require_answer(*answer(name))
