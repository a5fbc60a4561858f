"""The steps of a block one by one, for tests that take them without the engine."""

import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrec_zoo.trainers.drivers.block_runner import make_block_runner
from tfrec_zoo.trainers.row_step import RowStep

Arrays = dict[str, np.ndarray]


def unstack(block: Arrays) -> Iterator[Arrays]:
    """Yields the steps of a block that are real."""
    for k in range(block["num_steps"]):
        yield {name: value[k] for name, value in block.items() if name != "num_steps"}


def to_tensors(arrays: Arrays) -> dict[str, tf.Tensor]:
    """Returns a block or a step as the compiled functions get it."""
    return {name: tf.constant(value) for name, value in arrays.items()}


def assert_no_kernel_is_copied(step: RowStep, block: Arrays, states: tuple) -> None:
    """Looks into what XLA makes of a block's steps for copies of matrices among the weights."""
    run = make_block_runner(step, jit_compile=True)
    program = run.experimental_get_compiler_ir(to_tensors(block), states)("optimized_hlo")
    copied = set(re.findall(r"f32\[([0-9,]+)\]\S* copy\(", program))
    kernels = {
        ",".join(map(str, weights.shape)) for weights in step.dense if weights.shape.rank > 1
    }
    assert kernels and not copied & kernels, copied
