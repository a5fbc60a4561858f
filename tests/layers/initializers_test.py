"""Initial weights: every block within the bounds of its own shape."""

import math

import numpy as np
import pytest
import tf_keras

from tfrec_zoo.layers.initializers import BlockInitializer, RowTableInitializer


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_uniform_blocks_fill_their_own_range(scale, num_blocks):
    weights = BlockInitializer((1, 2), num_blocks, scale)((60, 40 * num_blocks)).numpy()
    bound = scale or math.sqrt(6 / (60 + 40))
    for block in np.split(weights, num_blocks, axis=1):
        assert 0.99 * bound < np.abs(block).max() <= bound
        assert block.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert abs(block.mean()) < 0.05 * bound


@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_normal_blocks_have_the_same_number_as_deviation(scale):
    weights = BlockInitializer((1, 2), 2, scale, "normal")((100, 160)).numpy()
    assert weights.std() == pytest.approx(scale or math.sqrt(6 / 180), rel=0.03)
    assert np.abs(weights).max() > 3 * weights.std()


def test_a_table_has_a_padding_row_and_columns_of_zeros():
    table = RowTableInitializer((1, 2), num_zero_columns=1)((301, 21)).numpy()
    assert not table[0].any() and not table[:, 20].any()
    bound = math.sqrt(6 / 320)
    assert 0.99 * bound < np.abs(table[1:, :20]).max() <= bound


def test_a_one_hot_table_is_scaled_by_block():
    table = RowTableInitializer((1, 2), num_blocks=3)((301, 60)).numpy()
    bound = math.sqrt(6 / 320)
    assert 0.99 * bound < np.abs(table).max() <= bound and not table[0].any()


def test_numbers_are_those_of_the_seed():
    first, second, other = (BlockInitializer(seed)((5, 5)) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, second)
    assert not np.isclose(first, other).any()


@pytest.mark.parametrize(
    "initializer",
    [
        BlockInitializer((1, 2), 2, 0.3, "normal"),
        RowTableInitializer((1, 2), num_zero_columns=1, scale=0.3, num_blocks=2),
    ],
)
def test_initializers_are_rebuilt_from_their_configuration(initializer):
    config = tf_keras.initializers.serialize(initializer)
    rebuilt = tf_keras.initializers.deserialize(config)
    np.testing.assert_array_equal(rebuilt((7, 5)), initializer((7, 5)))
