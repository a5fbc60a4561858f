"""Tasks on other threads: their order, what is begun, and how errors come out."""

import threading
import time
from functools import partial

import pytest

from tfrec_zoo.data.run_ahead import run_ahead


@pytest.mark.parametrize("num_threads", [1, 3])
def test_results_come_in_order(num_threads):
    def work(number):
        time.sleep(0.002 * (number % 3))
        return number

    assert list(run_ahead((partial(work, n) for n in range(20)), num_threads)) == list(range(20))
    assert list(run_ahead([], num_threads)) == []


def test_only_a_few_are_begun_ahead():
    begun, lock = [], threading.Lock()

    def work(number):
        with lock:
            begun.append(number)
        return number

    results = run_ahead((partial(work, n) for n in range(100)), 2)
    assert next(results) == 0
    time.sleep(0.05)
    assert max(begun) <= 3
    results.close()
    time.sleep(0.05)
    assert max(begun) <= 3


def test_an_error_comes_when_its_turn_comes():
    def work(number):
        if number == 5:
            raise ValueError("five")
        return number

    results = run_ahead((partial(work, n) for n in range(9)), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
