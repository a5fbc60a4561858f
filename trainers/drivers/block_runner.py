"""Runs a block of training steps in one compiled call."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Block = dict[str, tf.Tensor]
Step = Callable[[Block, Any], tuple[tf.Tensor, Any]]


def make_block_runner(step: Step, jit_compile: bool) -> Callable[[Block, Any], tuple]:
    """Returns `run(block, states) -> losses, events, states`.

    The steps run in one loop inside one function: what is not arithmetic (calls, transfers, and
    with XLA most memory traffic) is paid once a block. Functions are compiled once for each block
    shape.

    Args:
        step: `step(batch, states) -> loss_sum, states`, updates the weights.
        jit_compile: whether XLA compiles the loop.
    """

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(block: Block, states: Any) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Returns losses float [K] (sums over a step's events), events int [], new states."""
        arrays = {name: value for name, value in block.items() if name != "num_steps"}
        capacity = arrays["is_valid"].shape[0]

        def body(index: tf.Tensor, losses: tf.Tensor, states: Any) -> tuple:
            batch = {name: value[index] for name, value in arrays.items()}
            loss, states = step(batch, states)
            losses = tf.tensor_scatter_nd_update(losses, [[index]], [loss])
            return index + 1, losses, states

        _, losses, states = tf.while_loop(
            lambda index, *_: index < block["num_steps"],
            body,
            (tf.constant(0), tf.zeros([capacity]), states),
            parallel_iterations=1,
        )
        return losses, tf.math.count_nonzero(block["is_valid"]), states

    return run
