"""Blocks of training steps as a `tf.data` pipeline: made on another core while the model trains."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

Block = dict[str, np.ndarray]
# From an epoch and the number of a block, counted from 0, to the epoch's blocks from there on.
MakeBlocks = Callable[[int, int], Iterator[Block]]

# What marks an empty block that stands behind the last one of an epoch.
_IS_END = "is_end"


class BlockFeed:
    """Feeds the blocks of one epoch after the other through one iterator of `tf.data`.

        feed = BlockFeed(make_blocks, num_epochs)
        for epoch in range(num_epochs):
            for block in feed(epoch):
                ...

    So the first blocks of an epoch are made while the model trains on the last ones of the epoch
    before, or is validated, and what `tf.data` builds for an iterator, which takes it as long as
    some steps, is built once.
    """

    def __init__(self, make_blocks: MakeBlocks, num_epochs: int, num_prefetched: int = 4) -> None:
        """Makes a feed; nothing is read yet.

        Args:
            make_blocks: returns dictionaries of arrays; names, dtypes and ranks are always the
                same, sizes may change.
            num_epochs: nothing is made of later ones before it is asked for.
            num_prefetched: blocks that are kept ready.
        """
        self._make_blocks = make_blocks
        self._num_epochs = num_epochs
        self._num_prefetched = num_prefetched
        self.stop()

    def __call__(self, epoch: int, first_block: int = 0) -> Iterator[dict[str, tf.Tensor]]:
        """Yields the blocks of an epoch from `first_block` on."""
        if self._position != (epoch, first_block):
            self._iterator = self._start(epoch, first_block)
        self._position = None
        for block in self._iterator:
            if block.pop(_IS_END):
                self._position = (epoch + 1, 0)
                return
            yield block

    def stop(self) -> None:
        """Lets go of what was made ahead."""
        self._iterator: Iterator[dict[str, tf.Tensor]] = iter(())
        # Where the iterator stands; nowhere, once an epoch is left before its end.
        self._position: tuple[int, int] | None = None

    def _start(self, epoch: int, first_block: int) -> Iterator[dict[str, tf.Tensor]]:
        blocks = self._make_blocks(epoch, first_block)
        first = next(blocks, None)
        if first is None:
            return iter(())
        later = (self._make_blocks(number, 0) for number in range(epoch + 1, self._num_epochs))
        epochs = itertools.chain([itertools.chain([first], blocks)], later)
        return iter(self._make_dataset(first, epochs))

    def _make_dataset(self, first: Block, epochs: Iterable[Iterator[Block]]) -> tf.data.Dataset:
        """Returns the blocks of epochs, all of the kind of `first`, with a mark behind each."""
        end = {name: np.zeros([0] * array.ndim, array.dtype) for name, array in first.items()}
        signature = {
            name: tf.TensorSpec([None] * array.ndim, array.dtype) for name, array in first.items()
        }

        def run_through() -> Iterator[dict]:
            for blocks in epochs:
                for block in blocks:
                    yield {**block, _IS_END: False}
                yield {**end, _IS_END: True}

        dataset = tf.data.Dataset.from_generator(
            run_through, output_signature={**signature, _IS_END: tf.TensorSpec([], tf.bool)}
        )
        options = tf.data.Options()
        # Nothing here is tuned, and the tuner may sleep for seconds before it lets an iterator end.
        options.autotune.enabled = False
        return dataset.prefetch(self._num_prefetched).with_options(options)
