"""Measures one side of the serving benchmark, in a process of its own that knows no model.

It takes `Settings` as JSON on its command line: a file or folder, the consumer that loads it, and
the file of requests, and prints the milliseconds of each as the last line of its output.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WARM_UP_CALLS = 20
MIN_CALLS, MAX_CALLS = 50, 5000

# Inputs by name to outputs.
Ask = Callable[[dict[str, np.ndarray]], object]


@dataclass(frozen=True)
class Settings:
    """One measurement.

    Attributes:
        consumer: key of `CONSUMERS`.
        path: of the version's folder, or of the file of one function.
        signature: of the requests.
        requests: file of `numpy.savez`: `<request>/<input>` -> array.
        threads: of the consumer.
        seconds: for each request.
    """

    consumer: str
    path: str
    signature: str
    requests: str
    threads: int = 1
    seconds: float = 2.0


def load_tensorflow(settings: Settings) -> Ask:
    """Returns a signature of a SavedModel, in plain TensorFlow."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    model = tf.saved_model.load(settings.path)

    def ask(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        # By way of the model, for a signature does not keep its variables.
        signature = model.signatures[settings.signature]
        answer = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return [value.numpy() for value in answer.values()]

    return ask


def load_session(settings: Settings) -> Ask:
    """Returns a signature in a session, as TensorFlow Serving and programs in C run it."""
    import tensorflow as tf

    v1 = tf.compat.v1
    options = v1.ConfigProto(
        intra_op_parallelism_threads=settings.threads,
        inter_op_parallelism_threads=settings.threads,
    )
    session = v1.Session(graph=tf.Graph(), config=options)
    with session.graph.as_default():
        loaded = v1.saved_model.load(session, ["serve"], settings.path)
    signature = loaded.signature_def[settings.signature]
    fetched = [output.name for output in signature.outputs.values()]
    call = session.make_callable(fetched, [given.name for given in signature.inputs.values()])
    return lambda inputs: call(*(inputs[name] for name in signature.inputs))


def load_onnx(settings: Settings) -> Ask:
    """Returns the function of a file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = settings.threads
    session = onnxruntime.InferenceSession(
        settings.path, options, providers=["CPUExecutionProvider"]
    )
    return lambda inputs: session.run(None, inputs)


def load_openvino(settings: Settings) -> Ask:
    """Returns the function of a file in OpenVINO."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": settings.threads}
    return openvino.Core().compile_model(settings.path, "CPU", options)


def load_litert(settings: Settings) -> Ask:
    """Returns the function of a file in LiteRT; its shapes are fixed."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=settings.path, num_threads=settings.threads)
    runner = interpreter.get_signature_runner()
    return lambda inputs: runner(**inputs)


CONSUMERS: dict[str, Callable[[Settings], Ask]] = {
    "tensorflow": load_tensorflow,
    "session": load_session,
    "onnx": load_onnx,
    "openvino": load_openvino,
    "tflite": load_litert,
}


def read_requests(path: str) -> dict[str, dict[str, np.ndarray]]:
    """Returns the inputs of each request; texts as objects of bytes."""
    requests: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            request, name = key.rsplit("/", 1)
            values = arrays[key]
            requests.setdefault(request, {})[name] = (
                values.astype(object) if values.dtype.kind == "S" else values
            )
    return requests


def write_requests(path: Path, requests: dict[str, dict[str, np.ndarray]]) -> None:
    """Writes what `read_requests` reads."""
    arrays = {
        f"{request}/{name}": values.astype("S") if values.dtype.kind in "OU" else values
        for request, inputs in requests.items()
        for name, values in inputs.items()
    }
    np.savez(path, **arrays)


def measure(ask: Ask, inputs: dict[str, np.ndarray], seconds: float) -> dict[str, list[float]]:
    """Returns the milliseconds of each call."""
    for _ in range(WARM_UP_CALLS):
        ask(inputs)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < MAX_CALLS:
        start = time.perf_counter()
        if len(times) >= MIN_CALLS and start - begin > seconds:
            break
        ask(inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return {"milliseconds": times}


def main() -> None:
    """Measures as the command line says and prints the result as JSON."""
    settings = Settings(**json.loads(sys.argv[1]))
    ask = CONSUMERS[settings.consumer](settings)
    results = {
        name: measure(ask, inputs, settings.seconds)
        for name, inputs in read_requests(settings.requests).items()
    }
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
