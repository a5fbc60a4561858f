"""Counting the items that score above the target, and exactly as it: the work in a rank."""

import tensorflow as tf

# A matrix product may go another way for its last columns, and then equal item vectors do not get
# equal scores. XLA does so below this many rows alone (TensorFlow 2.21 on x86); outside of XLA it
# depends on the processor (oneDNN's kernels for AVX2 do so for any number of rows).
MIN_EXACT_EVENTS = 8

# Three counts, of as many columns at most, share an int32, so that the scores are read once: three
# times as fast as three sums.
_COUNT_BITS = 10
_BLOCK_COLUMNS = 2**_COUNT_BITS - 1


def count_competitors(
    scores: tf.Tensor, target_rows: tf.Tensor, is_candidate: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Counts the candidates above and level with each event's target.

    For the scores `s` of an event with the target `t` and the candidates `C`:

        num_greater = #{j in C, j != t: s_j > s_t}    num_equal = #{j in C, j != t: s_j = s_t}

    Two scores are equal if all their bits are (0 and -0 are, too), so `scores` must hold the
    target's score and the others' out of one and the same product. `tfrec_zoo.metrics.ranking`
    makes ranks of the counts.

    Args:
        scores: float32 [B, V + 1], a column for each row of the vocabulary; their number is static.
        target_rows: int32 [B], the row of each target; it need not be a candidate.
        is_candidate: bool [V + 1], the rows that compete.

    Returns:
        num_greater, num_equal and num_nan, int32 [B]. The last is how many candidates cannot
        be compared with the target, since a score of both is no number; the counts are valid where
        it is 0.
    """
    target_scores = tf.gather(scores, target_rows, batch_dims=1)[:, None]
    one = tf.cast(is_candidate, tf.int32)
    ones = (
        tf.where(scores > target_scores, one, 0)
        + tf.where(scores == target_scores, one * 2**_COUNT_BITS, 0)
        + tf.where(scores < target_scores, one * 4**_COUNT_BITS, 0)
    )
    num_greater, num_equal, num_less = _unpack_sums(ones)
    num_nan = tf.math.count_nonzero(is_candidate, dtype=tf.int32) - (
        num_greater + num_equal + num_less
    )
    is_own_candidate = tf.cast(tf.gather(is_candidate, target_rows), tf.int32)
    # A target that is no number is not even equal to itself.
    return num_greater, tf.maximum(num_equal - is_own_candidate, 0), num_nan


def _unpack_sums(ones: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Sums the three counts in int32 [B, C], packed by `_COUNT_BITS`, over the columns."""
    num_blocks = ones.shape[1] // _BLOCK_COLUMNS
    end = num_blocks * _BLOCK_COLUMNS
    blocks = tf.reshape(ones[:, :end], [tf.shape(ones)[0], num_blocks, _BLOCK_COLUMNS])
    rest = tf.reduce_sum(ones[:, end:], axis=1, keepdims=True)
    sums = tf.concat([tf.reduce_sum(blocks, axis=2), rest], axis=1)
    counts = (sums // 2 ** (place * _COUNT_BITS) for place in range(3))
    return tuple(tf.reduce_sum(count % 2**_COUNT_BITS, axis=1) for count in counts)
