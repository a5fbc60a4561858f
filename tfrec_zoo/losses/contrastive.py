"""Losses of retrieval by similarity: one value an event.

The softmax with temperature is `tfrec_zoo.losses.ranking.cross_entropy` of scores divided by it,
with the candidates, the logQ correction and the accidental hits of `tfrec_zoo.losses.candidates`.
"""

import tensorflow as tf

from tfrec_zoo.losses.ranking import LOG_ZERO, Candidates, pick_target


def hinge(scores: tf.Tensor, candidates: Candidates, margin: float) -> tf.Tensor:
    """Returns `sum_j m_j max(0, margin - s_t + s_j) / sum_j m_j` of each event, float [R].

    With one negative and margin 0.8 that is PaddlePaddle's SSR: max(0, 0.8 - cos+ + cos-).

    Args:
        scores: float [C, R].
        candidates: m counts how many of an event's negatives a candidate stands for.
        margin: by how much a target should be above a negative.
    """
    behind = tf.nn.relu(margin - pick_target(scores, candidates)[None] + scores)
    counts = tf.broadcast_to(candidates.counts, tf.shape(scores))
    total = tf.maximum(tf.reduce_sum(counts, axis=0), 1.0)
    return tf.reduce_sum(counts * behind, axis=0) / total


def keep_hardest(candidates: Candidates, scores: tf.Tensor, num_kept: int) -> Candidates:
    """Returns the candidates without all but the `num_kept` negatives that score best.

    No gradient flows through the choice. Ties are kept, so there may be more. It is meant for
    candidates whose accidental hits are removed: a target that is a negative, too, counts as the
    target alone.

    Args:
        candidates: C of each event.
        scores: float [C, R].
        num_kept: h, negatives of each event that stay.
    """
    counts = tf.broadcast_to(candidates.counts, tf.shape(scores))
    of_negatives = tf.where(counts > 0, tf.stop_gradient(scores), -tf.float32.max)
    num_kept = min(num_kept, scores.shape[0])
    best = tf.math.top_k(tf.transpose(of_negatives), num_kept).values[:, -1]
    is_kept = (of_negatives >= best[None]) & (counts > 0)
    log_weights = tf.broadcast_to(candidates.log_weights, tf.shape(scores))
    return candidates._replace(
        counts=tf.where(is_kept, counts, 0.0),
        log_weights=tf.where(is_kept | candidates.is_target, log_weights, LOG_ZERO),
    )
