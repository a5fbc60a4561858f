"""TensorFlow Serving's gRPC interface, `tensorflow.serving.PredictionService`."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError, Message

from tfrec_zoo.serving.answers import Call, Signature, Target, TensorShape
from tfrec_zoo.serving.errors import UNKNOWN, ServingError
from tfrec_zoo.serving.protos import load_messages
from tfrec_zoo.serving.tensors import name_dtype, to_array, to_tensor

_SERVICE = "tensorflow.serving.PredictionService"
_OPTIONS = (
    # An answer may be as long as it is.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Asking again is the client's own affair; what it waits must not be less than what gRPC waits.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class RpcConnection:
    """Asks by gRPC, over one connection."""

    def __init__(self, address: str, headers: Mapping[str, str], is_secure: bool) -> None:
        """Takes the server's address, as host:8500.

        Args:
            address: host and port.
            headers: sent with each request, as its metadata.
            is_secure: over TLS, with the system's certificates.
        """
        if is_secure:
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(address, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        # In gRPC these names are in small letters.
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        self._predict = self._method("Predict", "PredictRequest", "PredictResponse")
        self._describe = self._method(
            "GetModelMetadata", "GetModelMetadataRequest", "GetModelMetadataResponse"
        )

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def predict(self, call: Call, timeout: float) -> dict[str, np.ndarray]:
        """Returns what a call answers within `timeout` seconds, see `Client.predict`."""
        request = load_messages()["PredictRequest"]()
        _write_spec(request.model_spec, call.target)
        request.model_spec.signature_name = call.signature
        for name, array in call.inputs.items():
            request.inputs.add(key=name, value=to_tensor(array))
        outputs = self._ask(self._predict, request, timeout).outputs
        try:
            return {entry.key: to_array(entry.value) for entry in outputs}
        except ValueError as error:
            raise ServingError(UNKNOWN, f"got no answer that can be read: {error}") from None

    def describe(self, target: Target, timeout: float) -> dict[str, Signature]:
        """Returns the signatures of a model by name."""
        messages = load_messages()
        request = messages["GetModelMetadataRequest"](metadata_field=["signature_def"])
        _write_spec(request.model_spec, target)
        answer = self._ask(self._describe, request, timeout)
        found = {entry.key: entry.value.value for entry in answer.metadata}
        try:
            signatures = messages["SignatureDefMap"].FromString(found["signature_def"])
            return {
                entry.key: Signature(*map(_read_shapes, (entry.value.inputs, entry.value.outputs)))
                for entry in signatures.signature_def
                # A SavedModel has one more of its own, which initializes it.
                if not entry.key.startswith("__")
            }
        except (KeyError, DecodeError, ValueError) as error:
            raise ServingError(UNKNOWN, f"got no metadata of a model: {error!r}") from None

    def _method(self, name: str, request: str, response: str) -> grpc.UnaryUnaryMultiCallable:
        messages = load_messages()
        return self._channel.unary_unary(
            f"/{_SERVICE}/{name}",
            request_serializer=messages[request].SerializeToString,
            response_deserializer=messages[response].FromString,
        )

    def _ask(self, method: grpc.UnaryUnaryMultiCallable, request: Message, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise ServingError(error.code().name, error.details()) from error


def _write_spec(spec: Message, target: Target) -> None:
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version
    if target.label is not None:
        spec.version_label = target.label


def _read_shapes(tensors: Iterable[Message]) -> dict[str, TensorShape]:
    shapes = {}
    for entry in tensors:
        sizes = [dim.size for dim in entry.value.tensor_shape.dim]
        sizes = tuple(None if size < 0 else size for size in sizes)
        shapes[entry.key] = TensorShape(name_dtype(entry.value.dtype), sizes)
    return shapes
