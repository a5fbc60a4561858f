"""What waits for something in XLA's eyes, and is nothing."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.layers.xla_order import zero_after


@pytest.mark.parametrize("values", [[], [[3.0, 1.0]], [[[-2.0]], []], [[np.inf]]])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_it_is_zero(values, jit_compile):
    tensors = [tf.constant(value, tf.float32) for value in values]
    assert tf.function(zero_after, jit_compile=jit_compile)(tensors).numpy() == 0


def test_xla_does_not_know_it_beforehand():
    @tf.function(jit_compile=True)
    def wait(values, weight):
        return weight + zero_after([values])

    args = tf.constant([3.0, 1.0]), tf.constant(2.0)
    program = wait.experimental_get_compiler_ir(*args)("optimized_hlo")
    entry = program[program.index("ENTRY") :]
    (name,) = re.findall(r"(%\S+) = \S+ parameter\(0\)", entry)
    # What it waits for is not only handed over, but read.
    assert entry.count(name) > 1 and "minimum" in program
