"""What of DLRM's training is matrix products: those of a step, and nothing else.

    python benchmarks/dlrm_products.py

The layers of dlrm.py, forward and backward, with what stands between two products (the activation,
and the weights' own step), in one loop that XLA compiles, as the zoo compiles its steps. There are
no tables, no interaction, no loss and no input, so that what is left out is what a step costs
beyond its arithmetic. The zoo's own steps take some of the products in faster ways
(`tfrec_zoo/layers/xla_product.py`).
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import flags
from dlrm_settings import BOTTOM_MLP, EMBEDDING_DIM, TOP_MLP

from tfrec_zoo.program import run_program

FLAGS = flags.FLAGS
# Criteo's numbers, and its vectors: of 26 features, and the bottom MLP's.
NUM_DENSE, NUM_VECTORS = 13, 27
EXAMPLES_OF_A_CALL = 16_384
RATE = 1e-6


def define_flags() -> None:
    """Defines the benchmark's flags."""
    flags.DEFINE_multi_integer("batch_size", [128, 2048], "Examples of a step.")
    flags.DEFINE_integer("threads", 2, "Threads of a product.", lower_bound=1)
    flags.DEFINE_integer("calls", 30, "Timed calls of each size.", lower_bound=1)


def run() -> None:
    """Prints the time of a step for each batch size."""
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    print(f"{'batch':>8}{'median ms':>12}{'least ms':>12}{'median ex/s':>14}{'most ex/s':>14}")
    for batch_size in FLAGS.batch_size:
        seconds = time_steps(batch_size)
        median, least = statistics.median(seconds), min(seconds)
        print(
            f"{batch_size:8}{1e3 * median:12.3f}{1e3 * least:12.3f}"
            f"{batch_size / median:14,.0f}{batch_size / least:14,.0f}",
            flush=True,
        )


def time_steps(batch_size: int) -> list[float]:
    """Returns the seconds of a step, in each of the calls."""
    num_steps = max(1, EXAMPLES_OF_A_CALL // batch_size)
    run_steps = make_steps(batch_size, num_steps)
    run_steps().numpy()
    seconds = []
    for _ in range(FLAGS.calls):
        start = time.perf_counter()
        run_steps().numpy()
        seconds.append((time.perf_counter() - start) / num_steps)
    return seconds


def make_steps(batch_size: int, num_steps: int) -> Callable[[], tf.Tensor]:
    """Returns a call of `num_steps` steps, each of which depends on the one before."""
    rng = np.random.default_rng(1)
    num_pairs = NUM_VECTORS * (NUM_VECTORS - 1) // 2
    bottom, bottom_inputs = make_mlp(rng, batch_size, NUM_DENSE, BOTTOM_MLP)
    top, top_inputs = make_mlp(rng, batch_size, EMBEDDING_DIM + num_pairs, TOP_MLP)

    def step(index: tf.Tensor, loss: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first = train_mlp(bottom, bottom_inputs + RATE * loss, needs_input_gradient=False)
        second = train_mlp(top, top_inputs + RATE * loss, needs_input_gradient=True)
        return index + 1, first[0, 0] + second[0, 0]

    @tf.function(jit_compile=True, autograph=False)
    def run_steps() -> tf.Tensor:
        return tf.while_loop(lambda index, _: index < num_steps, step, (0, 0.0))[1]

    return run_steps


def make_mlp(
    rng: np.random.Generator, batch_size: int, input_dim: int, units: tuple[int, ...]
) -> tuple[list[tf.Variable], tf.Tensor]:
    """Returns the kernels of layers and inputs for the first."""
    kernels = [
        tf.Variable(rng.normal(0, fan_in**-0.5, (fan_in, fan_out)).astype(np.float32))
        for fan_in, fan_out in zip((input_dim, *units), units, strict=False)
    ]
    return kernels, tf.constant(rng.normal(size=(batch_size, input_dim)).astype(np.float32))


def train_mlp(
    kernels: list[tf.Variable], inputs: tf.Tensor, needs_input_gradient: bool
) -> tf.Tensor:
    """Takes all products of a step, and returns the gradient that was found last."""
    outputs = [inputs]
    for kernel in kernels:
        outputs.append(tf.nn.relu(tf.matmul(outputs[-1], kernel)))
    gradient = outputs[-1]
    for number in reversed(range(len(kernels))):
        kernel, before = kernels[number], outputs[number]
        gradient = tf.where(outputs[number + 1] > 0, gradient, 0.0)
        of_kernel = tf.matmul(before, gradient, transpose_a=True)
        if number or needs_input_gradient:
            gradient = tf.matmul(gradient, kernel, transpose_b=True)
        kernel.assign_sub(RATE * of_kernel)
    return gradient


def main() -> None:
    """Entry of the benchmark."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
