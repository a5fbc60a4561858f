"""The binary cross-entropy against its definition in float64."""

import numpy as np
import pytest

from tfrec_zoo.losses.click import binary_cross_entropy

LABELS = np.array([0, 1, 1, 0, 1], np.float32)
LOGITS = np.array([-1.3, 0.4, -2.0, 3.1, 0.0], np.float32)


@pytest.mark.parametrize("positive_weight", [1.0, 2.5, 0.3])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_losses_follow_the_formula(positive_weight, label_smoothing):
    probabilities = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    labels = LABELS * (1 - label_smoothing) + label_smoothing / 2
    expected = -positive_weight * labels * np.log(probabilities)
    expected -= (1 - labels) * np.log(1 - probabilities)
    losses = binary_cross_entropy(LABELS, LOGITS, positive_weight, label_smoothing)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_losses_of_certain_predictions_are_finite():
    losses = binary_cross_entropy(np.float32([0, 1, 0, 1]), np.float32([200, 200, -200, -200]))
    np.testing.assert_allclose(losses, [200, 0, 0, 200], atol=1e-6)
