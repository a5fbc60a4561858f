"""The loss of click predictions: one value an example."""

import tensorflow as tf


def binary_cross_entropy(
    labels: tf.Tensor,
    logits: tf.Tensor,
    positive_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> tf.Tensor:
    """Returns `-w y log sigma(z) - (1 - y) log(1 - sigma(z))` of each example, float [B].

    It is computed from the logits, so it is finite for every finite z: no probability has to be
    clamped. Labels y are smoothed first, `y (1 - e) + e / 2`; w is `positive_weight`.

    Args:
        labels: float [B], 0 or 1.
        logits: float [B], z.
        positive_weight: w, 1 for the plain loss.
        label_smoothing: e in [0, 1).
    """
    if label_smoothing:
        labels = labels * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if positive_weight == 1.0:
        return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
    return tf.nn.weighted_cross_entropy_with_logits(labels, logits, positive_weight)
