"""Blocks through `tf.data`: as they were, one after the other, made only a little ahead."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from waiting import wait_until

from tfrec_zoo.data.block_dataset import BlockFeed


def make_block(number):
    return {
        "num_steps": np.array(number, np.int32),
        "columns": np.arange(6 + 2 * number, dtype=np.int32).reshape(2, -1),
        "is_valid": np.ones((2, 1, number), bool),
        "counts": np.full((2, 3), number, np.float32),
    }


def make_feed(*epochs, **options):
    """Returns a feed of epochs, each the numbers of its blocks, and the list of what is made."""
    made = []

    def make_blocks(epoch, first_block):
        for index, number in enumerate(epochs[epoch]):
            if index >= first_block:
                made.append((epoch, index))
                yield make_block(number)

    return BlockFeed(make_blocks, len(epochs), **options), made


def numbers_of(blocks):
    return [int(block["num_steps"]) for block in blocks]


def test_blocks_of_changing_sizes_come_through_unchanged():
    feed, _ = make_feed((3, 1, 2))
    for block, number in zip(feed(0), (3, 1, 2), strict=True):
        wanted = make_block(number)
        assert block.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(block[name].numpy(), value)
            assert block[name].dtype.as_numpy_dtype == value.dtype.type


def test_a_feed_serves_one_epoch_after_the_other():
    epochs = ((3, 1), (2,), (), (1, 2))
    feed, made = make_feed(*epochs)
    assert [tuple(numbers_of(feed(epoch))) for epoch in range(4)] == list(epochs)
    assert len(made) == 5


def test_the_next_epoch_is_made_while_one_is_trained_on():
    feed, made = make_feed((1, 2), (3, 4), (5,), num_prefetched=3)
    blocks = feed(0)
    next(blocks)
    # The second block, the mark of the epoch's end and the first block of the next.
    wait_until(lambda: made[-1] == (1, 0), seconds=20)


def test_a_feed_that_was_stopped_starts_anew():
    feed, made = make_feed((1,), (2, 3))
    assert numbers_of(feed(0)) == [1]
    wait_until(lambda: made[-1] == (1, 1), seconds=20)
    feed.stop()
    assert numbers_of(feed(1)) == [2, 3]
    assert made == [(0, 0), (1, 0), (1, 1), (1, 0), (1, 1)]


def test_nothing_is_made_behind_the_last_epoch():
    feed, made = make_feed((1, 2), (3,))
    assert numbers_of(feed(1)) == [3]
    assert made == [(1, 0)]


@pytest.mark.parametrize(("epoch", "first_block"), [(0, 0), (0, 2), (1, 0), (1, 1)])
def test_an_epoch_that_is_left_early_takes_nothing_from_the_next(epoch, first_block):
    epochs = ((1, 2, 3), (4, 5))
    feed, _ = make_feed(*epochs)
    next(feed(0))
    assert numbers_of(feed(epoch, first_block)) == list(epochs[epoch][first_block:])


def test_an_epoch_may_begin_at_any_block_and_behind_its_last():
    feed, _ = make_feed((1, 2, 3), (4, 5))
    assert numbers_of(feed(0, 1)) == [2, 3]
    assert numbers_of(feed(1)) == [4, 5]
    assert numbers_of(feed(0, 3)) == []
    assert numbers_of(feed(1, 1)) == [5]


def test_an_error_of_the_blocks_is_raised_where_they_are_used():
    def make_blocks(epoch, first_block):
        yield make_block(1)
        raise ValueError("a broken file")

    blocks = BlockFeed(make_blocks, 1)(0)
    next(blocks)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a broken file"):
        next(blocks)


def test_few_blocks_are_made_ahead():
    feed, made = make_feed(itertools.count(1), num_prefetched=2)
    next(feed(0))
    assert len(made) <= 5


def test_the_tuner_that_holds_up_the_end_of_an_epoch_is_off():
    feed, _ = make_feed((1,))
    dataset = feed._make_dataset(make_block(1), [])
    assert dataset.options().autotune.enabled is False
