"""Blocks through `tf.data`: as they were, one after the other, made only a little ahead."""

import itertools

import numpy as np

from tfrec_zoo.data.block_dataset import block_dataset


def make_block(number):
    return {
        "num_steps": np.array(number, np.int32),
        "columns": np.arange(6 + 2 * number, dtype=np.int32).reshape(2, -1),
        "is_valid": np.ones((2, 1, number), bool),
        "counts": np.full((2, 3), number, np.float32),
    }


def test_blocks_of_changing_sizes_come_through_unchanged():
    blocks = [make_block(number) for number in (3, 1, 2)]
    for block, wanted in zip(block_dataset(iter(blocks)), blocks, strict=True):
        assert block.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(block[name].numpy(), value)
            assert block[name].dtype.as_numpy_dtype == value.dtype.type


def test_no_block_is_an_empty_dataset():
    assert list(block_dataset(iter([]))) == []


def test_few_blocks_are_made_ahead():
    made = []

    def blocks():
        for number in itertools.count(1):
            made.append(number)
            yield make_block(number)

    dataset = iter(block_dataset(blocks(), num_prefetched=2))
    next(dataset)
    assert len(made) <= 5


def test_the_tuner_that_holds_up_the_end_of_an_epoch_is_off():
    dataset = block_dataset(iter([make_block(1)]))
    assert dataset.options().autotune.enabled is False
