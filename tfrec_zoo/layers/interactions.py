"""How DLRM's features meet: `dot`, all pairs of feature vectors (Naumov et al. 2019)."""

import numpy as np
import tensorflow as tf

from tfrec_zoo.layers.custom_gradient import custom_gradient

# Vectors of zeros fill their number up to a multiple of this: XLA takes 0.7 times as long for the
# gradient's sums over 28 of them as for sums over 27.
_GROUP = 4


def dot_interaction(vectors: tf.Tensor, self_interaction: bool = False) -> tf.Tensor:
    """Returns the dot products of all pairs of feature vectors, float [B, P].

    With Z = X X^T the lower triangle row by row, Z_10, Z_20, Z_21, ..., P = F (F - 1) / 2; with
    `self_interaction` the diagonal belongs to it, Z_00, Z_10, Z_11, ..., P = F (F + 1) / 2.

    TFRS's `DotInteraction` computes the same, but picks the triangle by `boolean_mask`: under XLA
    that fails at a batch of 2048 and took 1.4 times as long at 128. Here both ways are gathers, and
    the gradient is one product with the symmetric matrix of the pairs' gradients.

    Args:
        vectors: float [B, F, D], F static.
        self_interaction: whether a vector meets itself.
    """
    rows, columns = np.tril_indices(vectors.shape[1], 0 if self_interaction else -1)
    num_pairs = len(rows)
    vectors = tf.pad(vectors, [[0, 0], [0, -vectors.shape[1] % _GROUP], [0, 0]])
    num_features = vectors.shape[1]
    # Where each (i, j) of the square finds its pair; the others a column of zeros behind them.
    pair_of = np.full((num_features, num_features), num_pairs)
    pair_of[rows, columns] = pair_of[columns, rows] = np.arange(num_pairs)
    square_of = rows * num_features + columns

    @custom_gradient
    def interact(vectors: tf.Tensor):
        products = tf.matmul(vectors, vectors, transpose_b=True)
        products = tf.reshape(products, [-1, num_features**2])

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            square = tf.gather(tf.pad(upstream, [[0, 0], [0, 1]]), pair_of.ravel(), axis=1)
            square = tf.reshape(square, [-1, num_features, num_features])
            if self_interaction:
                # d(x . x) = 2 x dx: the diagonal counts twice.
                square += tf.linalg.diag(tf.linalg.diag_part(square))
            return tf.matmul(square, vectors)

        return tf.gather(products, square_of, axis=1), gradient

    return interact(vectors)
