"""The items that answer a request: the best of all scores, exactly.

Rows are those of a vocabulary: row 0 is padding and no answer.
"""

import math

import numpy as np
import tensorflow as tf


def top_items(
    scores: tf.Tensor,
    k: int,
    excluded_rows: tf.Tensor | None = None,
    num_rows: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the k best items of each request, by falling score, then by rising row.

    Args:
        scores: float [B, W], the scores of all rows; their number is static.
        k: answers of each request.
        excluded_rows: int32 [B, E], items that must not be among the answers; 0: none.
        num_rows: V + 1 where W is more (see `fill_up`): what stands behind is never answered.

    Returns:
        The rows, int32 [B, k], and their scores, float [B, k]. Where fewer than k items remain the
        rest are rows 0 with scores -inf.
    """
    batch_size, num_columns = tf.shape(scores)[0], scores.shape[1]
    no_items = np.r_[0, num_columns if num_rows is None else num_rows : num_columns]
    masked_rows = tf.broadcast_to(np.int32(no_items), tf.stack([batch_size, len(no_items)]))
    if excluded_rows is not None:
        masked_rows = tf.concat([masked_rows, excluded_rows], axis=1)
    requests = tf.broadcast_to(tf.range(batch_size)[:, None], tf.shape(masked_rows))
    places = tf.stack([requests, masked_rows], axis=2)
    lowest = tf.fill(tf.shape(masked_rows), -math.inf)
    scores = tf.tensor_scatter_nd_update(scores, places, lowest)

    best, rows = best_columns(scores, min(k, num_columns))
    if k > num_columns:
        missing = [[0, 0], [0, k - num_columns]]
        best = tf.pad(best, missing, constant_values=-math.inf)
        rows = tf.pad(rows, missing)
    return tf.where(best == -math.inf, 0, rows), best


def fill_up(num_rows: int, k: int) -> int:
    """Returns the next number of columns, from `num_rows` on, of which `top_items` is fast.

    There the scores need not be copied. To compute a few more is less.
    """
    block_size = _choose_block_size(num_rows, k)
    num_blocks = -(-num_rows // block_size)
    return num_rows if num_blocks < 4 * k else num_blocks * block_size


def best_columns(scores: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what `tf.math.top_k` does, for many columns several times faster.

    An element of the k best lies in one of the k blocks with the greatest maxima: otherwise each of
    those would hold an element before it. Ties go to the lower block and so to the lower column.
    """
    num_columns = scores.shape[1]
    block_size = _choose_block_size(num_columns, k)
    num_blocks = -(-num_columns // block_size)
    if num_blocks < 4 * k:
        return tf.math.top_k(scores, k)
    missing = num_blocks * block_size - num_columns
    if missing:
        scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=-math.inf)
    blocks = tf.reshape(scores, [-1, num_blocks, block_size])
    chosen = tf.math.top_k(tf.reduce_max(blocks, axis=2), k).indices
    # In rising order: what `tf.sort` does, in fewer operations.
    chosen = -tf.math.top_k(-chosen, k).values
    candidates = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [-1, k * block_size])
    best, places = tf.math.top_k(candidates, k)
    block = tf.gather(chosen, places // block_size, batch_dims=1)
    return best, block * block_size + places % block_size


def _choose_block_size(num_columns: int, k: int) -> int:
    """Returns a size of which there are about as many blocks as elements in the k best of them.

    One that divides the columns is better, since the scores are not copied to be padded.
    """
    balanced = math.sqrt(num_columns / k)
    sizes = range(math.ceil(balanced / 2), math.floor(balanced * 2) + 1)
    fitting = [size for size in sizes if num_columns % size == 0]
    if fitting:
        return min(fitting, key=lambda size: abs(math.log(size / balanced)))
    return max(1, round(balanced))
