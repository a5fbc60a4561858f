import contextlib
import socket
import threading
import time

import pytest
from serving.model_server import Fault, ModelServer
from serving.rest_server import serve_rest
from serving.rpc_server import serve_rpc

from tfrec_zoo.serving import Client, ServingError, retries
from tfrec_zoo.serving.retries import ask_again

BUSY = Fault("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full")
SERVE = {"rest": serve_rest, "rpc": serve_rpc}
ADDRESS = {"rest": "http://127.0.0.1:{}", "rpc": "grpc://127.0.0.1:{}"}


@pytest.fixture(params=["rest", "rpc"])
def kind(request):
    return request.param


def find_free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("fault", [BUSY, Fault(ModelServer.DROP, "")])
def test_a_server_that_is_unavailable_is_asked_again(server, urls, kind, fault):
    server.faults.extend([fault, fault])
    with Client(urls[kind], timeout=20) as client:
        assert client.recommend("gru4rec", [["item-1"]]).items.shape == (1, 5)
    assert server.num_asked == 3


def test_it_is_not_asked_more_often_than_allowed(server, urls, kind):
    server.faults.extend([BUSY] * 5)
    with Client(urls[kind], timeout=20, retries=2) as client:
        with pytest.raises(ServingError, match="queue to which") as raised:
            client.recommend("gru4rec", [["item-1"]])
    assert (raised.value.status, server.num_asked) == ("UNAVAILABLE", 3)


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"])
def test_other_errors_are_not_asked_again(server, urls, kind, status):
    server.faults.append(Fault(status, "no way"))
    with Client(urls[kind], timeout=20) as client:
        with pytest.raises(ServingError) as raised:
            client.recommend("gru4rec", [["item-1"]])
    assert (raised.value.status, raised.value.message) == (status, "no way")
    assert server.num_asked == 1


def test_an_answer_that_comes_too_late_is_not_waited_for(server, urls, kind):
    server.delay = 30
    start = time.monotonic()
    with Client(urls[kind], timeout=0.3) as client:
        with pytest.raises(ServingError) as raised:
            client.recommend("gru4rec", [["item-1"]])
    assert raised.value.status == "DEADLINE_EXCEEDED"
    assert 0.25 < time.monotonic() - start < 5
    server.stopped.set()


def test_nobody_there_is_said_within_the_time(kind):
    url = ADDRESS[kind].format(find_free_port())
    start = time.monotonic()
    with Client(url, timeout=0.5, retries=100) as client:
        with pytest.raises(ServingError, match="(?i)connection refused|connect") as raised:
            client.recommend("gru4rec", [["item-1"]])
    assert raised.value.status == "UNAVAILABLE"
    assert time.monotonic() - start < 3


def test_a_server_that_comes_up_late_or_is_restarted_is_found(server, kind):
    port = find_free_port()
    with contextlib.ExitStack() as stack, Client(ADDRESS[kind].format(port), timeout=20) as client:
        late = threading.Timer(0.3, lambda: stack.enter_context(SERVE[kind](server, port)))
        late.start()
        assert client.recommend("gru4rec", [["item-1"]]).items.shape == (1, 5)
        late.join()
        # The connection that is kept open is one to nobody now.
        stack.pop_all().close()
        with SERVE[kind](server, port):
            assert client.recommend("gru4rec", [["item-1"]]).items.shape == (1, 5)


class Clock:
    """Time that passes by waiting alone."""

    def __init__(self, monkeypatch):
        self.now, self.waits = 100.0, []
        monkeypatch.setattr(retries.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(retries.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def test_waits_double_up_to_two_seconds(monkeypatch):
    clock, left = Clock(monkeypatch), []

    def ask(seconds):
        left.append(seconds)
        raise ServingError("UNAVAILABLE", "not yet")

    with pytest.raises(ServingError):
        ask_again(ask, timeout=60, num_retries=7)
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 2, 2]
    assert len(clock.waits) == 7
    assert all(top / 2 <= wait <= top for wait, top in zip(clock.waits, longest, strict=True))
    assert left == pytest.approx([60 - sum(clock.waits[:n]) for n in range(8)])


def test_it_does_not_wait_beyond_the_time(monkeypatch):
    clock = Clock(monkeypatch)

    def ask(seconds):
        clock.now += 0.4
        raise ServingError("UNAVAILABLE", "not yet")

    with pytest.raises(ServingError, match="not yet"):
        ask_again(ask, timeout=1, num_retries=50)
    assert clock.now <= 100 + 1 + 0.4
