"""Counting the items that score above the target, and exactly as it: the work in a rank."""

import tensorflow as tf

# Below this many rows a matrix product may go another way for its last columns, and then equal item
# vectors do not get equal scores: XLA does so for one row (TensorFlow 2.21 on x86).
MIN_EXACT_EVENTS = 8

# Three counts in one int64, so that the scores are read once: twice as fast as three sums.
_COUNT_BITS = 21
_MAX_COUNTED = 2**_COUNT_BITS - 1


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
        num_greater, num_equal and num_nan, int64 [B]. The last is how many candidates cannot
        be compared with the target, since a score of both is no number; the counts are valid where
        it is 0.
    """
    target_scores = tf.gather(scores, target_rows, batch_dims=1)[:, None]
    num_greater, num_equal, num_less = 0, 0, 0
    for first in range(0, scores.shape[1], _MAX_COUNTED):
        columns = slice(first, first + _MAX_COUNTED)
        greater, equal, less = _count_block(
            scores[:, columns], target_scores, is_candidate[columns]
        )
        num_greater, num_equal, num_less = num_greater + greater, num_equal + equal, num_less + less
    num_candidates = tf.math.count_nonzero(is_candidate)
    num_nan = num_candidates - num_greater - num_equal - num_less
    is_own_candidate = tf.cast(tf.gather(is_candidate, target_rows), tf.int64)
    # A target that is no number is not even equal to itself.
    return num_greater, tf.maximum(num_equal - is_own_candidate, 0), num_nan


def _count_block(
    scores: tf.Tensor, target_scores: tf.Tensor, is_candidate: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Counts greater, equal and smaller scores of at most `_MAX_COUNTED` columns."""
    one = tf.cast(is_candidate, tf.int64)
    ones = (
        tf.where(scores > target_scores, one, 0)
        + tf.where(scores == target_scores, one * 2**_COUNT_BITS, 0)
        + tf.where(scores < target_scores, one * 4**_COUNT_BITS, 0)
    )
    counts = tf.reduce_sum(ones, axis=1)
    return (
        counts % 2**_COUNT_BITS,
        counts // 2**_COUNT_BITS % 2**_COUNT_BITS,
        counts // 4**_COUNT_BITS,
    )
