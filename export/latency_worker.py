"""Measures a SavedModel in a process of its own, as a service has it that knows TensorFlow alone.

It is run as text (`python -c`), so that its folder is not among those of modules, and imports
nothing of the zoo. On stdin it takes a JSON object with

    path      of the version
    warm_up   requests that are replayed first
    requests  what is measured
    limits    num_calls and seconds, see `measure_calls`

where a request has `signature` and `inputs`, TensorProtos in base64 by name. On stdout it writes
the seconds that loading and warming up took, and of each request those of its first call and of
the calls after it.
"""

import base64
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow.core.framework import tensor_pb2


def main() -> None:
    """Loads the model, warms it up, and measures each request."""
    order = json.load(sys.stdin)
    start = time.perf_counter()
    model = tf.saved_model.load(order["path"])
    load = time.perf_counter() - start
    start = time.perf_counter()
    for request in order["warm_up"]:
        call(model.signatures[request["signature"]], read_inputs(request))
    warm_up = time.perf_counter() - start
    measured = []
    for request in order["requests"]:
        signature, inputs = model.signatures[request["signature"]], read_inputs(request)
        first = call(signature, inputs)
        measured.append(
            {"first": first, "times": measure_calls(signature, inputs, **order["limits"])}
        )
    json.dump({"load": load, "warm_up": warm_up, "requests": measured}, sys.stdout)


def read_inputs(request: dict) -> dict[str, tf.Tensor]:
    """Returns the inputs of a request by name."""
    protos = {
        name: tensor_pb2.TensorProto.FromString(base64.b64decode(text))
        for name, text in request["inputs"].items()
    }
    return {name: tf.constant(tf.make_ndarray(proto)) for name, proto in protos.items()}


def call(signature: tf.types.experimental.ConcreteFunction, inputs: dict) -> float:
    """Returns the seconds until the numbers of an answer are there."""
    start = time.perf_counter()
    for value in signature(**inputs).values():
        value.numpy()
    return time.perf_counter() - start


def measure_calls(
    signature: tf.types.experimental.ConcreteFunction, inputs: dict, num_calls: int, seconds: float
) -> list[float]:
    """Returns the seconds of each call: of at least `num_calls`, and of more within `seconds`."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < num_calls or time.perf_counter() < end:
        times.append(call(signature, inputs))
    return times


if __name__ == "__main__":
    main()
