"""Gradients that are others than TensorFlow's, where they are asked for."""

import numpy as np
import tensorflow as tf

from tfrec_zoo.layers.custom_gradient import custom_gradient, leave_out_gradients


@custom_gradient
def double(values):
    """Returns 2 x, and says that its gradient is 5."""
    return 2.0 * values, lambda upstream: 5.0 * upstream


def list_marked(function) -> list[str]:
    nodes = function.get_concrete_function(tf.constant([3.0])).graph.as_graph_def().node
    return [node.name for node in nodes if "_gradient_op_type" in node.attr]


def test_the_gradient_is_the_functions():
    values = tf.constant([1.0, 4.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        doubled = double(values)
    np.testing.assert_array_equal(doubled, [2.0, 8.0])
    np.testing.assert_array_equal(tape.gradient(doubled, values), [5.0, 5.0])


def test_without_gradients_a_graph_does_not_mention_it():
    assert list_marked(tf.function(double))
    with leave_out_gradients():
        traced = tf.function(double)
        assert not list_marked(traced)
    np.testing.assert_array_equal(traced(tf.constant([3.0])), [6.0])
    assert list_marked(tf.function(double))
