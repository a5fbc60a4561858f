"""Which batches are cut into shards, and how."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.trainers import batch_shards
from tfrec_zoo.trainers.batch_shards import (
    choose_num_shards,
    cut_into_shards,
    divide_among_threads,
    leave_threads_to_shards,
)
from tfrec_zoo.trainers.processor import count_threads


@pytest.fixture
def processor(monkeypatch):
    """A processor of four threads that can do everything; what it is told about its threads."""
    monkeypatch.setattr(batch_shards, "count_threads", lambda: 4)
    monkeypatch.setattr(batch_shards, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(batch_shards, "has_wide_vectors", lambda: True)
    told = []
    for name in ("intra", "inter"):
        monkeypatch.setattr(
            tf.config.threading,
            f"set_{name}_op_parallelism_threads",
            lambda number, name=name: told.append((name, number)),
        )
    return told


def choose(precision: str, batch_size: int, **groups) -> int:
    values = {"model": {"precision": precision}, "batches": {"batch_size": batch_size}}
    return choose_num_shards(DLRMExperiment.from_dict(values | groups))


@pytest.mark.parametrize(
    ("precision", "batch_size", "expected"),
    [
        ("mixed_bfloat16", 2048, 4),
        ("mixed_bfloat16", 128, 2),
        ("mixed_bfloat16", 63, 1),
        ("float32", 2048, 4),
        ("float32", 2044, 0),
        ("float32", 2050, 0),
    ],
)
def test_shards_are_chosen_where_they_are_faster(precision, batch_size, expected, processor):
    assert choose(precision, batch_size) == expected


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_replicas_and_who_has_chosen_about_xla_get_no_shards(precision, processor):
    assert choose(precision, 2048, training={"jit_compile": True}) == 0
    assert choose(precision, 2048, training={"jit_compile": False}) == 0
    assert choose(precision, 2048, distribution={"strategy": "mirrored"}) == 0


@pytest.mark.parametrize(
    ("lacking", "expected"), [("multiplies_bfloat16", [4, 0]), ("has_wide_vectors", [0, 4])]
)
def test_shards_need_a_processor_for_them(lacking, expected, processor, monkeypatch):
    monkeypatch.setattr(batch_shards, lacking, lambda: False)
    assert [choose("float32", 2048), choose("mixed_bfloat16", 2048)] == expected


@pytest.mark.parametrize(
    ("batch_size", "num_threads", "expected"),
    [(256, 4, 4), (256, 3, 2), (192, 8, 3), (100, 2, 1), (254, 3, 2), (7, 2, 1), (2048, 1, 1)],
)
def test_shards_are_equal_and_not_too_small(batch_size, num_threads, expected):
    assert divide_among_threads(batch_size, num_threads) == expected


def test_shards_are_the_batch_in_its_order():
    arrays = {"labels": np.arange(6.0), "columns": np.arange(12).reshape(6, 2)}
    shards = cut_into_shards({name: tf.constant(a) for name, a in arrays.items()}, 3)
    assert [shard["labels"].shape for shard in shards] == [[2]] * 3
    for name, array in arrays.items():
        np.testing.assert_array_equal(tf.concat([shard[name] for shard in shards], 0), array)


@pytest.mark.parametrize(
    ("num_shards", "expected"),
    [(4, [("intra", 1), ("inter", 4)]), (3, [("intra", 1), ("inter", 3)]), (2, []), (0, [])],
)
def test_operations_have_a_thread_each_where_shards_occupy_most(num_shards, expected, processor):
    leave_threads_to_shards(num_shards)
    assert processor == expected


def test_threads_that_run_already_stay_as_they_are():
    assert tf.constant(1.0) + 1.0 == 2.0
    before = tf.config.threading.get_intra_op_parallelism_threads()
    leave_threads_to_shards(count_threads())
    assert tf.config.threading.get_intra_op_parallelism_threads() == before
