"""Blocks through `tf.data`: as they were, one after the other, made only a little ahead."""

import itertools

import numpy as np

from tfrec_zoo.data.block_dataset import BlockFeed


def make_block(number):
    return {
        "num_steps": np.array(number, np.int32),
        "columns": np.arange(6 + 2 * number, dtype=np.int32).reshape(2, -1),
        "is_valid": np.ones((2, 1, number), bool),
        "counts": np.full((2, 3), number, np.float32),
    }


def test_blocks_of_changing_sizes_come_through_unchanged():
    blocks = [make_block(number) for number in (3, 1, 2)]
    for block, wanted in zip(BlockFeed()(iter(blocks)), blocks, strict=True):
        assert block.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(block[name].numpy(), value)
            assert block[name].dtype.as_numpy_dtype == value.dtype.type


def test_a_feed_serves_one_epoch_after_the_other():
    feed = BlockFeed()
    for numbers in ((3, 1), (2,), (), (1, 2)):
        found = [int(block["num_steps"]) for block in feed(iter(map(make_block, numbers)))]
        assert found == list(numbers)
    renamed = {"other": np.zeros(2, np.float32)}
    assert [set(block) for block in feed(iter([renamed]))] == [{"other"}]


def test_an_epoch_that_is_left_early_takes_nothing_from_the_next():
    feed = BlockFeed()
    next(iter(feed(iter(map(make_block, (1, 2, 3))))))
    assert [int(block["num_steps"]) for block in feed(iter([make_block(4)]))] == [4]


def test_no_block_is_an_empty_dataset():
    assert list(BlockFeed()(iter([]))) == []


def test_few_blocks_are_made_ahead():
    made = []

    def blocks():
        for number in itertools.count(1):
            made.append(number)
            yield make_block(number)

    dataset = iter(BlockFeed(num_prefetched=2)(blocks()))
    next(dataset)
    assert len(made) <= 5


def test_the_tuner_that_holds_up_the_end_of_an_epoch_is_off():
    dataset = BlockFeed()(iter([make_block(1)]))
    assert dataset.options().autotune.enabled is False
