"""The learning rate over the steps, at points worked by hand."""

import math

import pytest
import tensorflow as tf

from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig
from tfrec_zoo.optimizers.schedules import learning_rate_scale

DECAYING = {"decay_start_step": 10, "decay_steps": 20}


def scale_at(step, **options):
    config = OptimizerConfig(**options)
    return float(learning_rate_scale(config, tf.constant(step, tf.int64)))


@pytest.mark.parametrize(
    ("options", "points"),
    [
        ({}, {1: 1.0, 10**6: 1.0}),
        ({"warmup_steps": 4}, {1: 0.25, 2: 0.5, 4: 1.0, 5: 1.0, 1000: 1.0}),
        ({"decay": "linear", **DECAYING}, {1: 1.0, 10: 1.0, 15: 0.75, 20: 0.5, 30: 0.0, 31: 0.0}),
        ({"decay": "polynomial", **DECAYING}, {10: 1.0, 20: 0.25, 25: 0.0625, 30: 0.0, 99: 0.0}),
        (
            {"decay": "cosine", **DECAYING},
            {10: 1.0, 15: (1 + math.sqrt(0.5)) / 2, 20: 0.5, 30: 0.0, 50: 0.0},
        ),
        ({"decay": "exponential", **DECAYING}, {10: 1.0, 20: math.sqrt(0.5), 30: 0.5, 70: 0.125}),
        ({"decay": "linear", "decay_floor": 0.3, **DECAYING}, {20: 0.5, 26: 0.3, 10**6: 0.3}),
        ({"decay": "exponential", "decay_floor": 0.2, **DECAYING}, {30: 0.5, 10**6: 0.2}),
        (
            {"warmup_steps": 20, "decay": "linear", **DECAYING},
            {5: 0.25, 10: 0.5, 15: 0.75 * 0.75, 20: 0.5, 25: 0.25},
        ),
    ],
)
def test_the_scale_at_a_step(options, points):
    for step, wanted in points.items():
        assert scale_at(step, **options) == pytest.approx(wanted, abs=1e-6), step
