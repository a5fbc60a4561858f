"""What replicas exchange, against NumPy, and the parts that blocks are cut into."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.trainers.drivers.local import slice_block
from tfrec_zoo.trainers.drivers.replicas import ReplicaDriver, merge_rows


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_merged_rows_are_distinct_and_their_gradients_summed(seed, jit_compile):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 9, 24).astype(np.int32)
    gradient = rng.normal(size=(24, 3)).astype(np.float32)
    gradient[rows == 0] = 0
    expected = np.zeros((9, 3))
    np.add.at(expected, rows, gradient.astype(np.float64))
    merge = tf.function(merge_rows, jit_compile=jit_compile)
    found_rows, found = (value.numpy() for value in merge(rows, gradient))
    assert found.shape == gradient.shape
    real = found_rows[found_rows > 0]
    assert sorted(real) == sorted(set(rows) - {0})
    for row, value in zip(found_rows, found, strict=True):
        np.testing.assert_allclose(value, expected[row], rtol=1e-5, atol=1e-6)


def test_rows_that_are_distinct_stay_with_their_gradients():
    rows, gradient = merge_rows(tf.constant([5, 2]), tf.constant([[1.0], [2.0]]))
    assert dict(zip(rows.numpy().tolist(), gradient.numpy()[:, 0].tolist(), strict=True)) == {
        5: 1.0,
        2: 2.0,
    }


def test_the_parts_of_a_block_are_the_block():
    block = {"lanes": tf.reshape(tf.range(24), [2, 1, 12]), "columns": tf.range(5)}
    parts = [slice_block(block, {"lanes": 2}, part, 3) for part in range(3)]
    np.testing.assert_array_equal(tf.concat([p["lanes"] for p in parts], 2), block["lanes"])
    assert all(part["columns"] is block["columns"] for part in parts)


@pytest.mark.parametrize(("shares", "size"), [(True, 6), (False, 6)])
def test_a_batch_is_divided_among_the_replicas(shares, size):
    driver = ReplicaDriver(tf.distribute.MirroredStrategy(["CPU:0"]), share_negatives=shares)
    assert driver.divide(size, "num_lanes") == 6
    assert driver.num_streams == 1
    assert driver.decide(lambda: {"auc": 0.5}) == {"auc": 0.5}


def test_a_batch_that_cannot_be_divided_is_named():
    driver = ReplicaDriver(tf.distribute.MirroredStrategy(["CPU:0"]), share_negatives=True)
    driver._num_replicas = 4
    with pytest.raises(ValueError, match="num_lanes=6 cannot be divided among 4 replicas"):
        driver.divide(6, "num_lanes")


def test_fewer_blocks_than_replicas_are_refused():
    driver = ReplicaDriver(tf.distribute.MirroredStrategy(["CPU:0"]), share_negatives=False)
    driver._task = SimpleNamespace(blocks=lambda epoch, first, stream: iter(()))
    with pytest.raises(ValueError, match="fewer blocks of steps than there are replicas"):
        driver._empty(0, 0, None)
    ended = driver._empty(0, 0, {"is_valid": tf.constant([True])})
    assert ended["is_valid"].numpy().tolist() == [False]
