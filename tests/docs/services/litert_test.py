"""The service on LiteRT in a process that has neither the zoo nor TensorFlow."""

import pytest
from docs.services.numeric_services import REQUESTS, ask
from docs.services.service_requests import require_answer

pytest.importorskip("ai_edge_litert")

FOLDER, FORMAT = "litert", "tflite"
# Three at once: the four sessions take two rounds, the second of which is not full.
SIZES = {"batch_size": 3, "session_length": 6}


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_those_of_python(answer, name):
    require_answer(*answer(name))


def test_of_longer_sessions_the_last_clicks_count(service, versions, ask_python):
    long = [f"item-{number}" for number in range(1, 10)]
    found = ask(service, versions["gru4rec"], [long, ["item-3"]])
    expected = ask_python("gru4rec", "recommend", {"session_items": [long[-6:], ["item-3"]]})
    require_answer(found, expected)
