"""Blocks of training steps as a `tf.data` pipeline: made on another core while the model trains."""

import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

Block = dict[str, np.ndarray]


class BlockFeed:
    """Makes a dataset of each epoch's blocks.

        feed = BlockFeed()
        for epoch in range(epochs):
            for block in feed(blocks(epoch)):
                ...

    What `tf.data` builds of functions is the same for every epoch, and takes it as long as some
    steps, so it is kept.
    """

    def __init__(self, num_prefetched: int = 4) -> None:
        """Makes a feed that keeps `num_prefetched` blocks ready."""
        self._num_prefetched = num_prefetched
        self._blocks: Iterator[Block] = iter(())
        self._signature, self._dataset = None, None

    def __call__(self, blocks: Iterator[Block]) -> tf.data.Dataset:
        """Returns a dataset of the blocks, to be iterated once; empty where there are none.

        Args:
            blocks: dictionaries of arrays; names, dtypes and ranks are those of the first, sizes
                may change.
        """
        first = next(blocks, None)
        if first is None:
            return tf.data.Dataset.range(0)
        self._blocks = itertools.chain([first], blocks)
        signature = {
            name: tf.TensorSpec([None] * value.ndim, value.dtype) for name, value in first.items()
        }
        if signature != self._signature:
            self._signature, self._dataset = signature, self._build(signature)
        return self._dataset

    def _build(self, signature: dict[str, tf.TensorSpec]) -> tf.data.Dataset:
        dataset = tf.data.Dataset.from_generator(lambda: self._blocks, output_signature=signature)
        options = tf.data.Options()
        # Nothing here is tuned, and the tuner may sleep for seconds before it lets an iterator end.
        options.autotune.enabled = False
        return dataset.prefetch(self._num_prefetched).with_options(options)
