"""A layer's product, with the gradient that XLA computes fast on processors."""

import tensorflow as tf

# Floats of the widths at which the rows of a matrix meet in a few sets of a core's cache, and of
# the columns that bring them apart: a line of it.
_COLLIDING_WIDTH, _EXTRA_COLUMNS = 256, 16


@tf.custom_gradient
def multiply(inputs: tf.Tensor, kernel: tf.Tensor):
    """Returns `inputs @ kernel`, float [B, N], of float [B, M] and [M, N].

    The kernel's gradient `inputs^T @ upstream` is found from wider inputs where their rows would
    collide in the cache (a sixth less time for 512 columns), and for one output as a sum, for which
    XLA's product takes six times as long.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_inputs = tf.matmul(upstream, kernel, transpose_b=True)
        width, units = kernel.shape
        if units == 1:
            of_kernel = tf.reduce_sum(inputs * upstream, axis=0)[:, None]
        elif width % _COLLIDING_WIDTH:
            of_kernel = tf.matmul(inputs, upstream, transpose_a=True)
        else:
            wider = tf.pad(inputs, [[0, 0], [0, _EXTRA_COLUMNS]])
            of_kernel = tf.matmul(wider, upstream, transpose_a=True)[:width]
        return of_inputs, of_kernel

    return tf.matmul(inputs, kernel), gradient
