"""An HTTP service that answers from exports with TensorFlow alone: no zoo, no Keras.

    python service.py --port=8080 gru4rec=served/1 dlrm=served_clicks/1

    POST /<model>/<signature>    inputs by name -> outputs by name, in JSON
    GET  /                       the models, their signatures and inputs

An input is a list of rows: of sessions, which may be of several lengths, or of examples. null is a
missing value; in an answer it is what is no number, the score -inf of a place without an item.
"""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import tensorflow as tf

MAX_BYTES = 2**20
TYPES = {tf.string: (str,), tf.float32: (int, float), tf.int32: (int,)}
MISSING = {tf.string: "", tf.float32: float("nan"), tf.int32: 0}


class Model:
    """An export that has been loaded; threads may share it."""

    def __init__(self, path: str) -> None:
        """Loads a version's folder, and asks each signature once: the first time takes longest.

        Raises:
            OSError: there is no export.
        """
        # What the signatures read belongs to the whole of it, so it is kept.
        self._loaded = tf.saved_model.load(path)
        for name in self._loaded.signatures:
            nothing = {
                key: [None] if spec.shape.rank == 1 else [[None] * (spec.shape[1] or 1)]
                for key, spec in self.inputs(name).items()
            }
            self.answer(name, nothing)

    def signatures(self) -> list[str]:
        """Returns the names of the signatures."""
        return sorted(self._loaded.signatures)

    def inputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """Returns the inputs of a signature by name."""
        return self._loaded.signatures[signature].structured_input_signature[1]

    def answer(self, signature: str, inputs: dict[str, list]) -> dict[str, list]:
        """Returns the outputs by name, as JSON has them.

        Raises:
            LookupError: there is no such signature.
            ValueError: it takes other inputs.
        """
        if signature not in self._loaded.signatures:
            raise LookupError(f"there is no signature {signature}, only {self.signatures()}")
        specs = self.inputs(signature)
        if not isinstance(inputs, dict) or inputs.keys() != specs.keys():
            raise ValueError(f"{signature} takes an object with the inputs {sorted(specs)}")
        tensors = {name: make_tensor(name, inputs[name], spec) for name, spec in specs.items()}
        if len({tensor.shape[0] for tensor in tensors.values()}) > 1:
            raise ValueError(f"all inputs of {signature} must have as many rows")
        outputs = self._loaded.signatures[signature](**tensors)
        return {name: to_json(tensor.numpy()) for name, tensor in outputs.items()}


def make_tensor(name: str, rows: list, spec: tf.TensorSpec) -> tf.Tensor:
    """Returns the tensor of an input; sessions are filled up to the length of the longest one.

    Raises:
        ValueError: the rows are not what the input takes.
    """
    try:
        if spec.shape.rank == 1:
            values = [as_value(value, spec.dtype) for value in rows]
        else:
            # A session without an item is one of a missing item.
            width = max(1, *map(len, rows)) if spec.shape[1] is None else 0
            values = [
                [as_value(value, spec.dtype) for value in row + [None] * (width - len(row))]
                for row in rows
            ]
        tensor = tf.constant(values, spec.dtype)
        is_right = spec.shape.is_compatible_with(tensor.shape) and bool(rows)
    except (TypeError, ValueError):
        is_right = False
    if not is_right:
        what = f"{spec.dtype.name} {[size or 'any' for size in spec.shape]}"
        raise ValueError(f"input {name} takes rows of {what}, got {str(rows)[:200]}")
    return tensor


def as_value(value: str | float | None, dtype: tf.DType) -> str | float:
    """Returns a value of JSON as one of this type.

    Raises:
        TypeError: it is of another one.
    """
    if value is None:
        return MISSING[dtype]
    if type(value) not in TYPES[dtype] or (dtype == tf.int32 and abs(value) >= 2**31):
        raise TypeError
    return value


def to_json(array: np.ndarray) -> list:
    """Returns the values: texts, numbers, or None for what is no number."""
    values = array.astype(object)
    if array.dtype == object:
        return np.vectorize(lambda text: text.decode(errors="replace"), [object])(values).tolist()
    values[~np.isfinite(array)] = None
    return values.tolist()


class Handler(BaseHTTPRequestHandler):
    """Answers requests out of the server's `models`."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Says what there is."""
        if self.path != "/":
            return self._send(404, {"error": f"there is no {self.path}: ask for /"})
        return self._send(
            200, {name: describe(model) for name, model in self.server.models.items()}
        )

    def do_POST(self) -> None:
        """Answers by a model."""
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > MAX_BYTES:
            self.close_connection = True  # the body is left unread
            return self._send(413, {"error": f"a request has a Content-Length up to {MAX_BYTES}"})
        body = self.rfile.read(int(size))
        try:
            name, _, signature = self.path.strip("/").partition("/")
            if name not in self.server.models:
                raise LookupError(f"there is no model {name}, only {sorted(self.server.models)}")
            return self._send(200, self.server.models[name].answer(signature, json.loads(body)))
        except LookupError as error:
            return self._send(404, {"error": str(error)})
        except (ValueError, RecursionError, tf.errors.InvalidArgumentError) as error:
            return self._send(400, {"error": str(error)})

    def _send(self, code: int, content: dict) -> None:
        body = json.dumps(content, allow_nan=False).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def describe(model: Model) -> dict[str, dict[str, list]]:
    """Returns the type and the shape of each input of each signature; None is any size."""
    return {
        name: {key: [spec.dtype.name, *spec.shape] for key, spec in model.inputs(name).items()}
        for name in model.signatures()
    }


def main() -> None:
    """Loads the models, and serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="NAME=EXPORT", help="a version's folder")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", default=8080, type=int, help="0: any that is free")
    arguments = parser.parse_args()
    paths = dict(text.partition("=")[::2] for text in arguments.models)
    try:
        models = {name: Model(path) for name, path in paths.items()}
        server = ThreadingHTTPServer((arguments.host, arguments.port), Handler)
    except OSError as error:
        sys.exit(f"service.py: {error}")
    server.models = models
    print(f"listening on http://{arguments.host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
