"""Ranking losses of session models: one value an event, for every kind of negatives.

Conventions: `scores` float [C, R] are those of C candidates for R events, after the score
activation. An event's own target is one of the candidates; a candidate may stand for several equal
negatives. `Candidates` says so. In the formulas, t is event i's target, m_ij how many of its
negatives candidate j stands for (its own target occurrence not counted), sigma the logistic
function. The formulas are those of Hidasi and Karatzoglou 2018 and of the official implementations.

Candidates come first in the arrays, since then the gradient of their vectors is a product without a
transposition, which XLA multiplies twice as fast on a CPU.
"""

from typing import NamedTuple

import tensorflow as tf


class Candidates(NamedTuple):
    """What the candidates of a score matrix are to its events.

    `is_target` bool [C, R]: the event's own target; `counts` float [C, R]: m_ij. The rest is for
    cross-entropy, whose occurrences may have sampling corrections c (logQ): `log_weights` float
    [C, R], or [C, 1] where the events agree, is log w_ij, w_ij = sum of exp(c) over the occurrences
    that j stands for, the own target's included; `target_correction` float [R] is c of the own
    target, `other_corrections` float [R] the sum of c over the event's negatives.
    """

    is_target: tf.Tensor
    counts: tf.Tensor
    log_weights: tf.Tensor
    target_correction: tf.Tensor
    other_corrections: tf.Tensor


# Stands for log(0): far below every score, and without the NaN of infinity minus infinity.
LOG_ZERO = -1e30
# Added inside the logarithm of BPR-max, as the original does.
_EPSILON = 1e-24


def cross_entropy(
    scores: tf.Tensor, candidates: Candidates, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Softmax cross-entropy, `L_i = logsumexp_j(s_ij + log w_ij) - (s_it + c_it)`.

    With smoothing eps, the target has the mass 1 - eps and each other of M occurrences has eps / M.

    Returns:
        float [R].
    """
    normalizer = tf.reduce_logsumexp(scores + candidates.log_weights, axis=0)
    loss = normalizer - pick_target(scores, candidates) - candidates.target_correction
    if not label_smoothing:
        return loss
    num_others = tf.reduce_sum(candidates.counts, axis=0)
    other_logits = tf.reduce_sum(candidates.counts * scores, axis=0) + candidates.other_corrections
    mean_other = normalizer - other_logits / tf.maximum(num_others, 1.0)
    # Without any other candidate the target keeps its whole mass.
    mean_other = tf.where(num_others > 0, mean_other, loss)
    return (1 - label_smoothing) * loss + label_smoothing * mean_other


def bpr(scores: tf.Tensor, candidates: Candidates) -> tf.Tensor:
    """BPR summed over all candidates, `L_i = log 2 - sum_j m_ij log sigma(r_it - r_ij)`.

    The constant is the original's term of the target against itself. Returns float [R].
    """
    margin = pick_target(scores, candidates)[None] - scores
    losses = candidates.counts * tf.nn.softplus(-margin)
    return tf.reduce_sum(losses, axis=0) + tf.math.log(2.0)


def bpr_mean(scores: tf.Tensor, candidates: Candidates) -> tf.Tensor:
    """PaddlePaddle's BPR, a mean over negatives, `-mean_j log sigma(r_it - r_ij)`; float [R]."""
    total = bpr(scores, candidates) - tf.math.log(2.0)
    return total / tf.maximum(tf.reduce_sum(candidates.counts, axis=0), 1.0)


def top1(scores: tf.Tensor, candidates: Candidates) -> tf.Tensor:
    """TOP1, `L_i = (1/C) (1/2 + sum_j m_ij [sigma(r_ij - r_it) + sigma(r_ij^2)])`.

    C counts all candidates of the event, its target included; the 1/2 is the target's own
    comparison, whose regulariser the original takes back. Returns float [R].
    """
    terms = candidates.counts * _top1_terms(scores, candidates)
    num_candidates = tf.reduce_sum(candidates.counts, axis=0) + 1
    return (tf.reduce_sum(terms, axis=0) + 0.5) / num_candidates


def top1_max(scores: tf.Tensor, candidates: Candidates) -> tf.Tensor:
    """TOP1-max, `L_i = sum_j p_ij [sigma(r_ij - r_it) + sigma(r_ij^2)]`.

    p is the softmax of the scores over the negatives, each occurrence counted. Returns float [R].
    """
    terms = _top1_terms(scores, candidates)
    return tf.reduce_sum(softmax_over_negatives(scores, candidates) * terms, axis=0)


def bpr_max(scores: tf.Tensor, candidates: Candidates, score_penalty: float = 1.0) -> tf.Tensor:
    """BPR-max, `L_i = -log(sum_j p_ij sigma(r_it - r_ij) + 1e-24) + penalty sum_j p_ij r_ij^2`.

    p is the softmax of the scores over the negatives, each occurrence counted. Returns float [R].
    """
    softmax = softmax_over_negatives(scores, candidates)
    margin = pick_target(scores, candidates)[None] - scores
    won = tf.reduce_sum(softmax * tf.sigmoid(margin), axis=0)
    penalty = tf.reduce_sum(softmax * tf.square(scores), axis=0)
    return -tf.math.log(won + _EPSILON) + score_penalty * penalty


def pick_target(scores: tf.Tensor, candidates: Candidates) -> tf.Tensor:
    """Returns each event's score of its own target, float [R]."""
    # A masked sum, since XLA fuses it into its neighbours and a gather it does not.
    return tf.reduce_sum(tf.where(candidates.is_target, scores, 0.0), axis=0)


def softmax_over_negatives(scores: tf.Tensor, candidates: Candidates) -> tf.Tensor:
    """Returns the softmax of the scores over each event's negatives, float [C, R]; else 0."""
    has_negative = candidates.counts > 0
    masked = tf.where(has_negative, scores, LOG_ZERO)
    top = tf.stop_gradient(tf.reduce_max(masked, axis=0, keepdims=True))
    # Capped at the maximum before the exponential: a masked score above it would overflow to NaN.
    weights = candidates.counts * tf.exp(tf.minimum(scores - top, 0.0))
    total = tf.reduce_sum(weights, axis=0, keepdims=True)
    return tf.math.divide_no_nan(weights, total)


def _top1_terms(scores: tf.Tensor, candidates: Candidates) -> tf.Tensor:
    target_score = pick_target(scores, candidates)[None]
    return tf.sigmoid(scores - target_score) + tf.sigmoid(tf.square(scores))
