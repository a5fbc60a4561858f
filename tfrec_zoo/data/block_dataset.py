"""Blocks of training steps as a `tf.data` pipeline: made on another core while the model trains."""

import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf


def block_dataset(
    blocks: Iterator[dict[str, np.ndarray]], num_prefetched: int = 4
) -> tf.data.Dataset:
    """Returns a dataset of the blocks, to be iterated once; empty where there are none.

    Args:
        blocks: dictionaries of arrays; names, dtypes and ranks are those of the first, sizes may
            change.
        num_prefetched: blocks that are made ahead.
    """
    first = next(blocks, None)
    if first is None:
        return tf.data.Dataset.range(0)
    signature = {
        name: tf.TensorSpec([None] * value.ndim, value.dtype) for name, value in first.items()
    }
    dataset = tf.data.Dataset.from_generator(
        lambda: itertools.chain([first], blocks), output_signature=signature
    )
    options = tf.data.Options()
    # Nothing here is tuned, and the tuner may sleep for seconds before it lets an iterator end.
    options.autotune.enabled = False
    return dataset.prefetch(num_prefetched).with_options(options)
