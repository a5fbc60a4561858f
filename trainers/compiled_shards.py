"""Parts of a step that XLA compiles, where the step as a whole is not."""

import os
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

# From what all examples share, and arrays of them, [B, ...], to other arrays of them.
OfExamples = Callable[[Sequence[tf.Tensor], Mapping[str, tf.Tensor]], list[tf.Tensor]]

# Examples whose work is worth the call.
_SMALLEST_SHARD = 64


def compile_in_shards(function: OfExamples, num_shards: int = os.cpu_count() or 1) -> OfExamples:
    """Returns `function(shared, examples)` as one that XLA compiles, gradients included.

    XLA takes products within single examples on one thread. So the examples are cut into equal
    shards, which TensorFlow runs side by side.

    Args:
        function: what it returns for an example does not depend on the others.
        num_shards: at most; fewer where they do not divide B, which is static, or were too small.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)

    def run(shared: Sequence[tf.Tensor], examples: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        size = next(iter(examples.values())).shape[0]
        limit = min(num_shards, max(1, size // _SMALLEST_SHARD))
        count = max(number for number in range(1, limit + 1) if size % number == 0)
        cuts = {name: tf.split(array, count) for name, array in examples.items()}
        shards = [
            compiled(shared, {name: cut[number] for name, cut in cuts.items()})
            for number in range(count)
        ]
        return [tf.concat(outputs, axis=0) for outputs in zip(*shards, strict=True)]

    return run
