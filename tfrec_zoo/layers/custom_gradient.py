"""Gradients other than TensorFlow's own, which exports are without."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import tensorflow as tf

_are_left_out = ContextVar("are_left_out", default=False)


def custom_gradient(function: Callable) -> Callable:
    """Decorates as `tf.custom_gradient` does: `function` returns outputs and their gradient.

    In what is traced within `leave_out_gradients` the gradient is not mentioned.
    """
    differentiable = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*args):
        return function(*args)[0] if _are_left_out.get() else differentiable(*args)

    return call


@contextlib.contextmanager
def leave_out_gradients() -> Iterator[None]:
    """Traces for answers alone.

    A graph that says whose gradients are others has to bring them along, or TensorFlow warns
    everybody who loads it.
    """
    token = _are_left_out.set(True)
    try:
        yield
    finally:
        _are_left_out.reset(token)
