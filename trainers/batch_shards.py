"""Batches in shards, each of which one of the processor's cores computes by itself.

A core that computes a shard from its lookups to its gradients waits for the others once a step.
Where they share each product instead, they wait for each other in each, and for a thread to wake.
"""

import contextlib
from collections.abc import Mapping

import tensorflow as tf

from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.trainers.processor import count_threads, has_wide_vectors, multiplies_bfloat16

# Examples whose work is worth the calls.
_SMALLEST_SHARD = 64
# And of float32, to be faster than in steps that XLA compiles whole.
_SMALLEST_FLOAT32_SHARD = 512


def choose_num_shards(experiment: DLRMExperiment) -> int:
    """Returns in how many shards a batch is trained; 0: not in shards.

    In shards products are TensorFlow's own (oneDNN), which use the processor's instructions for
    bfloat16 and, in large products, its wide vectors better than XLA does. Replicas are parts of a
    batch already, and would share what is compiled.
    """
    is_one_device = experiment.distribution.strategy == "default"
    if not is_one_device or experiment.training.jit_compile is not None:
        return 0
    batch_size, num_threads = experiment.batches.batch_size, count_threads()
    num_shards = divide_among_threads(batch_size, num_threads)
    if experiment.model.precision == "mixed_bfloat16":
        is_faster = multiplies_bfloat16()
    else:
        are_large = batch_size >= _SMALLEST_FLOAT32_SHARD * num_threads
        is_faster = are_large and num_shards == num_threads and has_wide_vectors()
    return num_shards if is_faster else 0


def divide_among_threads(batch_size: int, num_threads: int) -> int:
    """Returns how many equal shards of a useful size there are: one a thread, or less."""
    limit = min(num_threads, max(1, batch_size // _SMALLEST_SHARD))
    return max(count for count in range(1, limit + 1) if batch_size % count == 0)


def cut_into_shards(
    examples: Mapping[str, tf.Tensor], num_shards: int
) -> list[dict[str, tf.Tensor]]:
    """Returns equal parts of arrays [B, ...]."""
    cuts = {name: tf.split(array, num_shards) for name, array in examples.items()}
    return [{name: cut[number] for name, cut in cuts.items()} for number in range(num_shards)]


def leave_threads_to_shards(num_shards: int) -> None:
    """Lets each operation run on one thread, if the shards occupy most of the threads.

    With few shards an operation needs several. Where TensorFlow has started its threads already,
    for something else that this process does, the shards run on these.
    """
    if 2 * num_shards <= count_threads():
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(num_shards)
