"""TensorFlow Serving's REST interface.

https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/api_rest.md
"""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import requests

from tfrec_zoo.serving.answers import Call, Signature, Target, TensorShape
from tfrec_zoo.serving.errors import (
    DEADLINE_EXCEEDED,
    UNAVAILABLE,
    UNKNOWN,
    ServingError,
    name_status,
)
from tfrec_zoo.serving.tensors import encode_text, name_dtype

_BASE64 = "b64"
# Of a message in an error that is no JSON.
_MAX_TEXT = 300
# Connections that are kept open for further requests, so many threads can ask at once.
_NUM_CONNECTIONS = 64
# The names of types in JSON, by their numbers in TensorFlow's types.proto.
_TYPE_NUMBERS = {
    **{"DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_INT32": 3, "DT_UINT8": 4, "DT_INT16": 5, "DT_INT8": 6},
    **{"DT_STRING": 7, "DT_INT64": 9, "DT_BOOL": 10, "DT_UINT16": 17, "DT_HALF": 19},
    **{"DT_UINT32": 22, "DT_UINT64": 23},
}


class RestConnection:
    """Asks by REST, over connections that are kept open."""

    def __init__(self, url: str, headers: Mapping[str, str], by_rows: bool) -> None:
        """Takes the server's address, as http://host:8501.

        Args:
            url: what comes before /v1/models.
            headers: sent with each request.
            by_rows: send `instances` in place of `inputs`.
        """
        self._url = url.rstrip("/")
        self._by_rows = by_rows
        self._session = requests.Session()
        self._session.headers.update(headers)
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=_NUM_CONNECTIONS)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._output_names: dict[tuple[Target, str], str] = {}

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def predict(self, call: Call, timeout: float) -> dict[str, np.ndarray]:
        """Returns what a call answers within `timeout` seconds, see `Client.predict`."""
        body = {"signature_name": call.signature, **make_body(call.inputs, self._by_rows)}
        answer = self._ask("POST", _path(call.target) + ":predict", timeout, body)
        try:
            values = read_answer(answer)
            if not isinstance(values, Mapping):
                values = {self._name_output(call, timeout): values}
            return {name: to_array(value) for name, value in values.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise ServingError(UNKNOWN, f"got no answer of TensorFlow Serving: {error}") from None

    def describe(self, target: Target, timeout: float) -> dict[str, Signature]:
        """Returns the signatures of a model by name."""
        answer = self._ask("GET", _path(target) + "/metadata", timeout)
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: Signature(*(_read_shapes(parts[side]) for side in ("inputs", "outputs")))
                for name, parts in found.items()
                # A SavedModel has one more of its own, which initializes it.
                if not name.startswith("__")
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServingError(UNKNOWN, f"got no metadata of a model: {error!r}") from None

    def _ask(self, method: str, path: str, timeout: float, body: Any = None) -> Any:
        # Numbers that are not finite are written as TensorFlow Serving reads them.
        data = None if body is None else json.dumps(body).encode()
        try:
            response = self._session.request(
                method,
                self._url + path,
                data=data,
                headers={"Content-Type": "application/json"},
                timeout=timeout,
                allow_redirects=False,
            )
        except requests.Timeout as error:
            raise ServingError(DEADLINE_EXCEEDED, f"no answer within {timeout:.3g} s") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            # The library's own words repeat the address, and hide what the system said inside.
            reason = getattr(error.args[0] if error.args else None, "reason", None) or error
            raise ServingError(UNAVAILABLE, f"no connection: {reason}") from error
        # An id that is not UTF-8 is answered as the bytes it is.
        text = response.content.decode("utf-8", "surrogateescape")
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if response.status_code != 200:
            said = answer.get("error") if isinstance(answer, dict) else None
            message = said or text.strip()[:_MAX_TEXT] or response.reason
            raise ServingError(name_status(response.status_code), message)
        if answer is None:
            raise ServingError(UNKNOWN, f"got no JSON: {text.strip()[:_MAX_TEXT]}")
        return answer

    def _name_output(self, call: Call, timeout: float) -> str:
        """Returns the name of an only output, which the interface leaves out."""
        if len(call.outputs) == 1:
            return call.outputs[0]
        key = call.target, call.signature
        if key not in self._output_names:
            outputs = self.describe(call.target, timeout)[call.signature].outputs
            (self._output_names[key],) = outputs
        return self._output_names[key]


def make_body(inputs: Mapping[str, np.ndarray], by_rows: bool) -> dict[str, Any]:
    """Returns the inputs of a request, in the column format or in the row format.

    Raises:
        ValueError: by rows, the inputs are of several batch sizes, or of none.
    """
    if not by_rows:
        return {"inputs": {name: _to_json(array) for name, array in inputs.items()}}
    sizes = {name: array.shape[:1] for name, array in inputs.items()}
    if len(set(sizes.values())) != 1 or () in sizes.values():
        raise ValueError(f"by rows, all inputs need one batch size, got {sizes}")
    columns = [_to_json(array) for array in inputs.values()]
    return {
        "instances": [dict(zip(inputs, row, strict=True)) for row in zip(*columns, strict=True)]
    }


def read_answer(answer: Any) -> Any:
    """Returns the values in an answer of either format: by name, or plain where there is one.

    Raises:
        KeyError, TypeError: it has neither format.
    """
    if "outputs" in answer:
        return answer["outputs"]
    rows = answer["predictions"]
    if rows and isinstance(rows[0], dict) and set(rows[0]) != {_BASE64}:
        return {name: [row[name] for row in rows] for name in rows[0]}
    return rows


def to_array(value: Any) -> np.ndarray:
    """Returns the array of values in JSON.

    Texts are `bytes` objects; numbers with a point float32, others int64.

    Raises:
        ValueError: it is ragged, or something else is inside.
    """
    leaf = value
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    if isinstance(leaf, str | dict):
        array = np.array(value, dtype=object)
        flat = np.empty(array.size, dtype=object)
        flat[:] = [_read_text(text) for text in array.ravel()]
        return flat.reshape(array.shape)
    array = np.array(value)
    if array.dtype.kind not in "fib":
        raise ValueError(f"{leaf!r} is neither a number nor a text")
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _path(target: Target) -> str:
    path = f"/v1/models/{quote(target.model, safe='')}"
    if target.version is not None:
        path += f"/versions/{target.version}"
    if target.label is not None:
        path += f"/labels/{quote(target.label, safe='')}"
    return path


def _to_json(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    flat = np.empty(array.size, dtype=object)
    flat[:] = [_write_text(text) for text in array.ravel()]
    return flat.reshape(array.shape).tolist()


def _write_text(text: str | bytes) -> str | dict[str, str]:
    content = encode_text(text)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {_BASE64: base64.b64encode(content).decode()}


def _read_text(text: Any) -> bytes:
    if isinstance(text, dict):
        return base64.b64decode(text[_BASE64], validate=True)
    return encode_text(text)


def _read_shapes(tensors: Mapping[str, Any]) -> dict[str, TensorShape]:
    shapes = {}
    for name, tensor in tensors.items():
        sizes = [int(dim["size"]) for dim in tensor["tensor_shape"]["dim"]]
        dtype = name_dtype(_TYPE_NUMBERS.get(tensor["dtype"], tensor["dtype"]))
        shapes[name] = TensorShape(dtype, tuple(None if size < 0 else size for size in sizes))
    return shapes
