"""Readers that share a split of a TensorFlow Datasets builder between them."""

from typing import Any

import tensorflow_datasets as tfds


def read_share(source: Any, split: str, num_shards: int, shard: int) -> Any:
    """Returns one of `num_shards` shares of a split as a `tf.data.Dataset`, in its stored order.

    Args:
        source: a prepared builder, or a `tf.data.Dataset`.
        split: the split to read from a builder, in TFDS' language (`"train[:10%]"`).
        num_shards: the number of readers that share the split.
        shard: which of the shares to read, 0 to `num_shards - 1`. The shares are consecutive and of
            equal size, give or take one example (of a `tf.data.Dataset`: every n-th example).

    Raises:
        ValueError: the share does not exist.
    """
    if not 0 <= shard < num_shards:
        raise ValueError(
            f"Received shard={shard} of num_shards={num_shards}, expected 0 to one less."
        )
    if isinstance(source, tfds.core.DatasetBuilder):
        part = tfds.even_splits(split, num_shards)[shard]
        return source.as_dataset(split=part, shuffle_files=False)
    return source.shard(num_shards, shard)
