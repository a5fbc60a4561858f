"""The arithmetic of what goes over the network, on numbers that can be done by hand."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# Two tables: 10 rows of width 3 and 5 of width 2 make 40 numbers, 160 bytes; 20 dense make 80.
SHAPE = {
    "workload": "a model",
    "replicas": 4,
    "examples": 2,
    "columns": (10, 5),
    "widths": (3, 2),
    "table_rows": (100, 50),
    "dense": 20,
    "block_bytes": 1000.0,
    "make_seconds": 0.5,
    "step_seconds": 2.0,
    "fullest": {1: 1.0, 2: 0.75},
}


@pytest.fixture(scope="module")
def program():
    """The module of the program, which stands in no package."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("distribution_bytes")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def shape(program):
    """A step of four replicas."""
    return program.Shape(**SHAPE)


def test_counts_what_replicas_exchange(program, shape):
    # 2 * 3/4 * (80 + 160)
    assert program.count_shared(shape, 4) == (360.0, 6)
    # 2 * 3/4 * 80, and of three others 160 bytes and 15 numbers of rows; two arrays a table
    assert program.count_own(shape, 4) == (120.0 + 3 * (160 + 60), 6 + 2 * 2 * 3)
    # 2 * 3/4 * (80 + 4 * (300 + 100))
    assert program.count_whole(shape, 4) == (2520.0, 6)
    assert program.count_shared(shape, 1) == (0.0, 0)


def test_counts_what_a_worker_and_servers_exchange(program, shape):
    assert program.count_served(shape) == (240, 240 + 2 * 60)


def test_adds_up_bytes_and_turns(program):
    link = program.Link(bytes_per_second=100.0, latency=0.25)
    assert program.Traffic(360.0, 6).seconds(link) == 3.6 + 1.5


def test_finds_the_replicas_that_are_too_many(program, shape):
    # Of n replicas, 480 (n - 1) / n bytes: 240, 320 and 360 for 2, 3 and 4.
    def find(rate, faster=1.0):
        return program.find_saturation({1: shape, 4: shape}, program.Link(rate, 0.0), faster)

    assert find(119.0) == "2"
    assert find(121.0) == find(159.0) == "3"
    assert find(161.0) == "4"
    assert find(181.0) == "> 4"
    assert find(181.0, faster=1.1) == "4"


def test_counts_the_workers_of_the_busiest_server(program, shape):
    # It receives 3/4 of 160 + 120 bytes, and half of 80, a step of 2 seconds.
    workers = program.count_workers(shape, 2, program.Link(1000.0, 0.0), faster=1.0)
    assert workers == pytest.approx(1000.0 / 250.0 * 2.0)


def test_adds_up_the_speed_of_replicas(program, shape):
    # 4 * 2 seconds in 2 + 360 / 180; with steps 20 times as fast making blocks is what takes long.
    link = program.Link(180.0, 0.0)
    assert program.count_speed({1: shape, 4: shape}, 4, link, 1.0) == pytest.approx(2.0)
    assert program.count_speed({1: shape, 4: shape}, 4, program.Link(1e9, 0), 20.0) == 4.0


def test_finds_the_fullest_part_of_a_table(program):
    shapes = sys.modules["distribution_shapes"]
    fullest = shapes.find_fullest(np.array([0, 1, 2, 3, 40, 63]), 64)
    assert fullest[1] == 1.0
    assert fullest[2] == pytest.approx(4 / 6)
    assert fullest[64] == pytest.approx(1 / 6)


def test_counts_the_bytes_of_a_block(program):
    shapes = sys.modules["distribution_shapes"]
    block = {"is_valid": np.ones((5, 8), bool), "columns": np.zeros((5, 6), np.int32)}
    assert shapes.count_step_bytes(block) == 8 + 24
