"""What XLA compiles in shards, against the whole batch without XLA."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.trainers.compiled_shards import compile_in_shards
from tfrec_zoo.trainers.row_step import gather_columns

RNG = np.random.default_rng(0)
VALUES = tf.constant(RNG.normal(size=(5, 3)), tf.float32)


def look_up(shared, examples):
    found = gather_columns(shared[0], examples["columns"])
    return [found * examples["factors"][:, None], tf.reduce_sum(found, axis=1)]


def make_examples(size: int) -> dict[str, tf.Tensor]:
    return {
        "columns": tf.constant(RNG.integers(0, 5, size), tf.int32),
        "factors": tf.constant(RNG.normal(size=size), tf.float32),
    }


def differentiate(function, examples: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    sources = [VALUES, examples["factors"]]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        outputs = function([VALUES], examples)
        loss = tf.add_n([tf.reduce_sum(tf.square(output)) for output in outputs])
    return [*outputs, *tape.gradient(loss, sources)]


@pytest.mark.parametrize(("size", "num_shards"), [(128, 2), (192, 4), (7, 2)])
def test_outputs_and_gradients_are_those_of_the_whole_batch(size, num_shards):
    examples = make_examples(size)
    found = differentiate(compile_in_shards(look_up, num_shards), examples)
    for array, expected in zip(found, differentiate(look_up, examples), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "num_shards", "expected"),
    [(256, 4, 64), (256, 3, 128), (192, 8, 64), (100, 2, 100)],
)
def test_shards_are_equal_and_as_many_as_are_worth_it(size, num_shards, expected):
    sizes = []

    def note(shared, examples):
        sizes.append(examples["columns"].shape[0])
        return look_up(shared, examples)

    compile_in_shards(note, num_shards)([VALUES], make_examples(size))
    assert sizes == [expected]


def test_columns_that_are_gathered_twice_get_the_sum_of_their_gradients():
    columns = tf.constant([[1, 3], [3, 3]])
    upstream = RNG.normal(size=(2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(VALUES)
        loss = tf.reduce_sum(gather_columns(VALUES, columns) * upstream)
    expected = np.zeros((5, 3))
    np.add.at(expected, columns.numpy(), upstream)
    np.testing.assert_allclose(tape.gradient(loss, VALUES), expected, rtol=1e-5)
