"""The learning rate over the steps."""

import math

import tensorflow as tf

from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig


def learning_rate_scale(config: OptimizerConfig, step: tf.Tensor) -> tf.Tensor:
    """Returns the share of the learning rate that holds at a step, float [].

    Warm-up: `step / warmup_steps`, at most 1. Decay, with `x` the share of `decay_steps` gone since
    `decay_start_step`, held in [0, 1]: linear 1 - x, polynomial (1 - x)^2 (DLRM's), cosine
    (1 + cos(pi x)) / 2, exponential 2^-x (x unbounded); never below `decay_floor`.

    Args:
        config: warm-up and decay.
        step: int [], counted from 1.
    """
    position = tf.cast(step, tf.float32)
    scale = tf.constant(1.0)
    if config.decay != "constant":
        gone = tf.maximum(position - config.decay_start_step, 0.0) / config.decay_steps
        share = tf.minimum(gone, 1.0)
        if config.decay == "exponential":
            scale = tf.pow(2.0, -gone)
        elif config.decay == "cosine":
            scale = 0.5 * (1.0 + tf.cos(math.pi * share))
        else:
            scale = tf.pow(1.0 - share, 2.0 if config.decay == "polynomial" else 1.0)
        scale = tf.maximum(scale, config.decay_floor)
    if config.warmup_steps:
        scale *= tf.minimum(position / config.warmup_steps, 1.0)
    return scale
