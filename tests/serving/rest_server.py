"""A server that speaks TensorFlow Serving's REST interface, for the tests of clients.

By g3doc/api_rest.md of https://github.com/tensorflow/serving and, where that leaves something
open, by what util/json_tensor.cc and model_servers/http_server.cc write. It shares no code with the
client.
"""

import base64
import contextlib
import json
import re
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import tensorflow as tf
from serving.model_server import Fault, ModelServer, list_inputs, split_path
from tensorflow.core.framework import types_pb2

_MODEL = r"/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
_PREDICT = _MODEL + r":(classify|regress|predict)"
_METADATA = _MODEL + r"(/metadata)"
_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}


@contextlib.contextmanager
def serve_rest(
    server: ModelServer, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serves on a port of this machine; yields the address."""
    handler = type("Handler", (_Handler,), {"server_of_models": server})
    http = ThreadingHTTPServer(("127.0.0.1", port), handler)
    http.daemon_threads = True
    if tls:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}"
    finally:
        server.stopped.set()
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_models: ModelServer

    def log_message(self, *arguments) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._reply(lambda: self._predict(body))

    def do_GET(self) -> None:
        self._reply(self._describe)

    def _reply(self, answer) -> None:
        try:
            self.server_of_models.begin(dict(self.headers))
            code, content = 200, answer()
        except Fault as fault:
            if fault.status == ModelServer.DROP:
                self.close_connection = True
                return
            code = _CODES[fault.status]
            content = json.dumps({"error": fault.message}).encode()
        except LookupError:
            code, content = 404, b"<HTML><TITLE>404 Not Found</TITLE></HTML>"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _predict(self, body: bytes) -> bytes:
        place = split_path(unquote(self.path), _PREDICT)
        if place is None or place[3] != "predict":
            raise LookupError
        models, (name, version, label, _) = self.server_of_models, place
        try:
            request = json.loads(body)
        except ValueError as error:
            raise Fault("INVALID_ARGUMENT", f"JSON Parse error: {error}") from None
        if not isinstance(request, dict):
            raise Fault("INVALID_ARGUMENT", f"JSON Value: {request} Is not object")
        signature = request.get("signature_name", "")
        specs = list_inputs(models.find_signature(models.find(name, version, label)[1], signature))
        if ("instances" in request) == ("inputs" in request):
            message = "Missing 'inputs' or 'instances' key, or both are there"
            raise Fault("INVALID_ARGUMENT", message)
        by_rows = "instances" in request
        given = join_rows(request["instances"], specs) if by_rows else request["inputs"]
        if not isinstance(given, dict) or set(given) == {"b64"}:
            if len(specs) > 1:
                raise Fault("INVALID_ARGUMENT", "inputs is a plain value/list, expecting an object")
            given = {next(iter(specs)): given}
        if missing := set(specs) - set(given):
            raise Fault("INVALID_ARGUMENT", f"Missing named input: {missing} in 'inputs' object.")
        inputs = {key: parse_tensor(given[key], spec) for key, spec in specs.items()}
        outputs = models.predict(name, version, label, signature, inputs)
        return write_rows(outputs) if by_rows else write_columns(outputs)

    def _describe(self) -> bytes:
        place = split_path(unquote(self.path), _METADATA)
        if place is None:
            raise LookupError
        _, model = self.server_of_models.find(*place[:3])
        signatures = {
            name: {
                "inputs": describe(list_inputs(function)),
                "outputs": describe(function.structured_outputs),
                "method_name": "tensorflow/serving/predict",
            }
            for name, function in model.signatures.items()
        }
        signatures["__saved_model_init_op"] = {"inputs": {}, "outputs": {}, "method_name": ""}
        metadata = {"signature_def": {"signature_def": signatures}}
        return json.dumps({"model_spec": {"name": place[0]}, "metadata": metadata}).encode()


def join_rows(instances: list, specs: dict) -> dict:
    """Returns `instances` as `inputs` would be."""
    if not isinstance(instances, list) or not instances:
        raise Fault("INVALID_ARGUMENT", "No values in 'instances' array")
    if not isinstance(instances[0], dict) or set(instances[0]) == {"b64"}:
        if len(specs) > 1:
            raise Fault("INVALID_ARGUMENT", "instances is a plain list, but expecting objects")
        return {next(iter(specs)): instances}
    for number, row in enumerate(instances):
        if not isinstance(row, dict) or set(row) != set(specs):
            message = f"Failed to process element: {number}, keys must be equal to: {list(specs)}"
            raise Fault("INVALID_ARGUMENT", message)
    return {name: [row[name] for row in instances] for name in specs}


def parse_tensor(value, spec: tf.TensorSpec) -> np.ndarray:
    """Returns the array of a value in JSON, of the type that the signature has."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    flat = list(flatten(value, shape, spec.dtype))
    array = np.empty(len(flat), spec.dtype.as_numpy_dtype)
    array[:] = flat
    return array.reshape(shape)


def flatten(value, shape: list[int], dtype: tf.DType):
    if not shape:
        yield parse_value(value, dtype)
    elif not isinstance(value, list) or len(value) != shape[0]:
        raise Fault("INVALID_ARGUMENT", "Encountered list at unexpected size")
    else:
        for part in value:
            yield from flatten(part, shape[1:], dtype)


def parse_value(value, dtype: tf.DType):
    if dtype == tf.string and isinstance(value, str):
        return value.encode()
    if dtype == tf.string and isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    types = {tf.float32: (int, float), tf.int32: (int,)}
    if not isinstance(value, types.get(dtype, ())):
        message = f"JSON Value: {value} is not of expected type: {dtype.name}"
        raise Fault("INVALID_ARGUMENT", message)
    return value


def write_columns(outputs: dict[str, np.ndarray]) -> bytes:
    written = {name: write_tensor(array, name) for name, array in outputs.items()}
    return b'{"outputs": ' + name_outputs(written) + b"}"


def write_rows(outputs: dict[str, np.ndarray]) -> bytes:
    size = len(next(iter(outputs.values())))
    rows = [
        name_outputs({name: write_tensor(array[row], name) for name, array in outputs.items()})
        for row in range(size)
    ]
    return b'{"predictions": [' + b", ".join(rows) + b"]}"


def name_outputs(written: dict[str, bytes]) -> bytes:
    """Returns an object, or the value itself where there is only one."""
    if len(written) == 1:
        return next(iter(written.values()))
    return b"{" + b", ".join(f'"{name}": '.encode() + t for name, t in written.items()) + b"}"


def write_tensor(array, name: str) -> bytes:
    if isinstance(array, np.ndarray) and array.ndim:
        return b"[" + b", ".join(write_tensor(part, name) for part in array) + b"]"
    value = array[()] if isinstance(array, np.ndarray) else array
    if isinstance(value, np.bool_):
        return b"true" if value else b"false"
    if isinstance(value, bytes):
        if name.endswith("_bytes"):
            return b'{"b64": "' + base64.b64encode(value) + b'"}'
        # As the bytes that it has, whether they are UTF-8 or not; only JSON's own are escaped.
        special = rb'["\\\x00-\x1f]'
        return b'"' + re.sub(special, lambda found: b"\\u%04x" % ord(found[0]), value) + b'"'
    if np.isfinite(value):
        return str(value).encode()
    return b"NaN" if np.isnan(value) else b"Infinity" if value > 0 else b"-Infinity"


def describe(specs: dict) -> dict:
    return {
        name: {
            "dtype": types_pb2.DataType.Name(spec.dtype.as_datatype_enum),
            "tensor_shape": {
                "dim": [
                    {"size": str(-1 if size is None else size), "name": ""}
                    for size in spec.shape.as_list()
                ],
                "unknown_rank": False,
            },
            "name": f"{name}:0",
        }
        for name, spec in specs.items()
    }
