"""Rows of tables that lie in one variable or in parts, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.distribute.sharded_variable import ShardedVariable

from tfrec_zoo.distributed_variables import (
    copy_weights,
    list_parts,
    locate_rows,
    own_copy,
    read_rows,
    write_rows,
)

VALUES = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def whole():
    return tf.Variable(VALUES)


def in_parts():
    # As TensorFlow deals rows to parts: the first ones take what is left over.
    return ShardedVariable(
        [tf.Variable(VALUES[:3]), tf.Variable(VALUES[3:5]), tf.Variable(VALUES[5:])]
    )


def to_numpy(table):
    return np.concatenate([part.numpy() for part in list_parts(table)])


@pytest.mark.parametrize("make", [whole, in_parts])
def test_rows_are_read_wherever_they_lie(make):
    rows = tf.constant([6, 0, 3, 2, 3])
    np.testing.assert_array_equal(read_rows(make(), rows), VALUES[rows.numpy()])


@pytest.mark.parametrize("make", [whole, in_parts])
def test_rows_are_written_wherever_they_lie(make):
    table, rows = make(), np.array([6, 1, 4])
    write_rows(table, rows, tf.ones([3, 3]))
    expected = VALUES.copy()
    expected[rows] = 1
    np.testing.assert_array_equal(to_numpy(table), expected)


@pytest.mark.parametrize("make", [whole, in_parts])
def test_each_row_lies_in_one_part(make):
    table, rows = make(), tf.constant([5, 0, 2, 3, 6])
    masks = []
    for part, local, is_inside in locate_rows(table, rows):
        found = part.numpy()[local.numpy()[is_inside]]
        np.testing.assert_array_equal(found, VALUES[rows.numpy()[is_inside]])
        masks.append(is_inside.numpy())
    assert np.sum(masks, axis=0).tolist() == [1] * 5


@pytest.mark.parametrize("make", [whole, in_parts])
def test_weights_are_copied_to_a_model_in_one_piece(make):
    sources = [tf.Variable([1.0, 2.0]), *list_parts(make()), tf.Variable(3.0)]
    targets = [tf.Variable([0.0, 0.0]), tf.Variable(tf.zeros([7, 3])), tf.Variable(0.0)]
    copy_weights(sources, targets)
    np.testing.assert_array_equal(targets[0], [1, 2])
    np.testing.assert_array_equal(targets[1], VALUES)
    assert targets[2].numpy() == 3


def test_without_replicas_a_variable_is_its_own_copy():
    variable = whole()
    assert own_copy(variable) is variable
