"""The steps of a block one by one, for tests that take them without the engine."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

Arrays = dict[str, np.ndarray]


def unstack(block: Arrays) -> Iterator[Arrays]:
    """Yields the steps of a block that are real."""
    for k in range(block["num_steps"]):
        yield {name: value[k] for name, value in block.items() if name != "num_steps"}


def to_tensors(arrays: Arrays) -> dict[str, tf.Tensor]:
    """Returns a block or a step as the compiled functions get it."""
    return {name: tf.constant(value) for name, value in arrays.items()}
