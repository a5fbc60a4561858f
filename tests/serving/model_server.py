"""What TensorFlow Serving does between its interfaces and its models, for the tests of clients.

Models are loaded by TensorFlow and asked in this process; which version a request is to, and what
is wrong with one, is as in model_servers/server_core.cc and servables/tensorflow/predict_util.cc
of https://github.com/tensorflow/serving.
"""

import collections
import re
import threading
from pathlib import Path

import numpy as np
import tensorflow as tf


class Fault(Exception):
    """A request that is not answered: a status in gRPC's words, and what is said."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message


class ModelServer:
    """Loaded models by name and version, and what befalls the next requests.

    Attributes:
        labels: model -> label -> version.
        faults: of the next requests, each of which takes one; DROP breaks the connection off.
        delay: seconds before each answer.
        padded_length: as batching does, fill up rows of texts to it with their tensor's first
            element; 0: do not.
        requests: (model, version, signature, inputs) of what was asked, headers apart.
        headers: of the last request.
    """

    DROP = "DROP"

    def __init__(self) -> None:
        self._models: dict[str, dict[int, object]] = collections.defaultdict(dict)
        self.labels: dict[str, dict[str, int]] = collections.defaultdict(dict)
        self.reset()

    def reset(self) -> None:
        """Ends what befalls requests, and forgets those there were."""
        self.faults: collections.deque[Fault] = collections.deque()
        self.delay, self.padded_length = 0.0, 0
        self.requests, self.headers, self.num_asked = [], {}, 0
        self.stopped = threading.Event()

    def load(self, name: str, version: Path) -> None:
        self._models[name][int(version.name)] = tf.saved_model.load(str(version))

    def unload(self, name: str, version: int) -> None:
        del self._models[name][version]

    def begin(self, headers: dict[str, str]) -> None:
        """Does to a request what was asked for."""
        self.num_asked += 1
        self.headers = headers
        if self.delay:
            self.stopped.wait(self.delay)
        if self.faults:
            raise self.faults.popleft()

    def find(self, name: str, version: int | None, label: str | None) -> tuple[int, object]:
        """Returns the version that is asked, and its model."""
        versions = self._models.get(name, {})
        if label:
            if label not in self.labels[name]:
                raise Fault("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
            version = self.labels[name][label]
        if version is None:
            if not versions:
                raise Fault("NOT_FOUND", f"Servable not found for request: Latest({name})")
            version = max(versions)
        if version not in versions:
            what = f"Specific({name}, {version})"
            raise Fault("NOT_FOUND", f"Servable not found for request: {what}")
        return version, versions[version]

    def find_signature(self, model, name: str):
        name = name or "serving_default"
        if name not in model.signatures:
            what = f'Serving signature name: "{name}" not found in signature def'
            raise Fault("INVALID_ARGUMENT", what)
        return model.signatures[name]

    def predict(
        self, name: str, version: int | None, label: str | None, signature: str, inputs: dict
    ) -> dict[str, np.ndarray]:
        """Answers a request as the C++ would, for inputs that are arrays by name."""
        version, model = self.find(name, version, label)
        self.requests.append((name, version, signature, inputs))
        function = self.find_signature(model, signature)
        specs = list_inputs(function)
        if set(inputs) != set(specs):
            message = f"input keys must be {sorted(specs)}, got {sorted(inputs)}"
            raise Fault("INVALID_ARGUMENT", message)
        for key, spec in specs.items():
            dtype, shape = tf.as_dtype(inputs[key].dtype), inputs[key].shape
            if dtype != spec.dtype or not spec.shape.is_compatible_with(shape):
                message = f"Tensor {key} is {dtype.name} {list(shape)}, expected {spec}"
                raise Fault("INVALID_ARGUMENT", message)
        if self.padded_length:
            inputs = {key: fill_up(array, self.padded_length) for key, array in inputs.items()}
        tensors = {key: tf.constant(array, specs[key].dtype) for key, array in inputs.items()}
        try:
            return {key: value.numpy() for key, value in function(**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            raise Fault("INVALID_ARGUMENT", error.message) from None


def list_inputs(function) -> dict[str, tf.TensorSpec]:
    return function.structured_input_signature[1]


def fill_up(array: np.ndarray, length: int) -> np.ndarray:
    """Pads rows of texts as batching/batching_util.cc pads those of a shorter request."""
    if array.dtype != object or array.ndim != 2 or array.shape[1] >= length:
        return array
    padding = [(0, 0), (0, length - array.shape[1])]
    return np.pad(array, padding, constant_values=array.ravel()[0])


def split_path(path: str, pattern: str) -> tuple | None:
    """Returns model, version, label and the rest of a path of the REST interface."""
    found = re.fullmatch(pattern, path)
    if not found:
        return None
    name, version, label, rest = found.groups()
    return name, int(version) if version else None, label, rest
