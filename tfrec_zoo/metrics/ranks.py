"""Counting the items that score above the target, and exactly as it: the work in a rank."""

import tensorflow as tf

# Below this many rows a matrix product may go another way for its last columns, and then equal item
# vectors do not get equal scores: XLA does so for one row (TensorFlow 2.21 on x86).
MIN_EXACT_EVENTS = 8


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
        scores: float32 [B, C], C columns of which each is an item's.
        target_rows: int32 [B], the column of each target; it need not be a candidate.
        is_candidate: bool [C], the columns that compete.

    Returns:
        num_greater, num_equal and num_nan int32 [B]. The last is how many candidates' scores are no
        number or cannot be compared with the target's since that is none; counts are valid where
        it is 0.
    """
    target_scores = tf.gather(scores, target_rows, batch_dims=1)[:, None]

    def count(holds: tf.Tensor) -> tf.Tensor:
        return tf.math.count_nonzero(holds & is_candidate, axis=1, dtype=tf.int32)

    num_greater = count(scores > target_scores)
    num_equal = count(scores == target_scores)
    num_less = count(scores < target_scores)
    num_candidates = tf.math.count_nonzero(is_candidate, dtype=tf.int32)
    num_nan = num_candidates - num_greater - num_equal - num_less
    is_own_candidate = tf.cast(tf.gather(is_candidate, target_rows), tf.int32)
    # A target that is no number is not even equal to itself.
    return num_greater, tf.maximum(num_equal - is_own_candidate, 0), num_nan
