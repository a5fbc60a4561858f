"""A function of a model that takes and answers numbers alone, as runtimes without texts need it."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

# Of what an input has any number, in a trial of a converted function.
_TRIAL_SIZES = (3, 4)
_TRIAL_ROWS = 30

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class NumericSignature:
    """A method of a module.

    Attributes:
        module: the model, whose variables the method reads.
        name: of the method: `recommend_rows`.
        inputs: the method's arguments by name, in the order of the converted function's; the
            dimensions without a size are the number of requests and the length of sessions.
    """

    module: tf.Module
    name: str
    inputs: Mapping[str, tf.TensorSpec]

    @property
    def function(self) -> Callable[..., dict[str, tf.Tensor]]:
        """The method: tensors by name in, tensors by name out."""
        return getattr(self.module, self.name)

    def fix_shapes(self, batch_size: int, session_length: int) -> "NumericSignature":
        """Returns the signature for that many requests at once, of sessions of that length."""
        sizes = (batch_size, session_length)
        return replace(
            self,
            inputs={
                name: tf.TensorSpec(
                    [sizes[axis] if size is None else size for axis, size in enumerate(spec.shape)],
                    spec.dtype,
                    name,
                )
                for name, spec in self.inputs.items()
            },
        )

    @functools.cached_property
    def traced(self) -> Callable[..., dict[str, tf.Tensor]]:
        """TensorFlow's function for these inputs."""
        return tf.function(self.function, autograph=False).get_concrete_function(**self.inputs)

    def save(self, folder: Path, key: str) -> None:
        """Writes a SavedModel with this one signature, under the name `key`."""
        tf.saved_model.save(self.module, str(folder), signatures={key: self.traced})

    def draw_inputs(self) -> dict[str, np.ndarray]:
        """Returns inputs for a trial: rows that exist and rows that do not, and a first of none."""
        rng = np.random.default_rng(0)
        drawn = {}
        for name, spec in self.inputs.items():
            shape = [_TRIAL_SIZES[axis] if n is None else n for axis, n in enumerate(spec.shape)]
            is_row = spec.dtype == tf.int32
            values = rng.integers(-1, _TRIAL_ROWS, shape) if is_row else rng.normal(size=shape)
            if shape[0] > 1:
                values[0] = 0
            drawn[name] = values.astype(spec.dtype.as_numpy_dtype)
        return drawn

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Returns TensorFlow's own answers."""
        tensors = {name: tf.constant(values) for name, values in inputs.items()}
        return {name: tensor.numpy() for name, tensor in self.traced(**tensors).items()}
