"""The service on OpenVINO in a process that has neither the zoo nor TensorFlow."""

import pytest
from docs.services.numeric_services import REQUESTS
from docs.services.service_requests import require_answer

pytest.importorskip("openvino")

FOLDER, FORMAT = "openvino", "openvino"


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_those_of_python(answer, name):
    require_answer(*answer(name))
