"""Warm-up requests: what TensorFlow Serving replays on a version before it takes traffic.

They are a TFRecord of `tensorflow.serving.PredictionLog` protos. Those belong to the package
tensorflow-serving-api, which is an extra; of the messages on the way to a predict request the few
fields used here are declared anew, so that exports need no more than TensorFlow.
"""

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.framework import tensor_pb2

from tfrec_zoo.serving.protos import declare_messages

# The folder of a version for what is not of the SavedModel.
EXTRA_NAME = "assets.extra"
WARMUP_PATH = Path(EXTRA_NAME, "tf_serving_warmup_requests")
# TensorFlow Serving refuses a file with more of them.
MAX_REQUESTS = 1000

# Message -> field -> (number, type, is repeated), from prediction_log.proto, predict.proto and
# model.proto. `Input` is the entry of the map `inputs`; its value, a TensorProto, stays bytes,
# which are the same on the wire.
_MESSAGES = {
    "PredictionLog": {"predict_log": (6, "PredictLog", False)},
    "PredictLog": {"request": (1, "PredictRequest", False)},
    "PredictRequest": {"model_spec": (1, "ModelSpec", False), "inputs": (2, "Input", True)},
    "ModelSpec": {"name": (1, "string", False), "signature_name": (3, "string", False)},
    "Input": {"key": (1, "string", False), "value": (2, "bytes", False)},
}


@dataclass(frozen=True)
class Request:
    """A predict request: the signature's name and its inputs by name."""

    signature: str
    inputs: Mapping[str, np.ndarray]


def write_warmup_requests(
    version: str | os.PathLike, model_name: str, requests: Iterable[Request]
) -> None:
    """Writes the warm-up file of a version folder.

    Args:
        version: the folder.
        model_name: of the model in the server.
        requests: at most 1000.
    """
    path = Path(version) / WARMUP_PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = _message_classes()["PredictionLog"]()
            predict = log.predict_log.request
            predict.model_spec.name = model_name
            predict.model_spec.signature_name = request.signature
            for name, value in request.inputs.items():
                tensor = tf.make_tensor_proto(value)
                predict.inputs.add(key=name, value=tensor.SerializeToString())
            writer.write(log.SerializeToString())


def read_warmup_requests(version: str | os.PathLike) -> list[Request]:
    """Returns the warm-up requests of a version folder.

    Raises:
        ValueError: there is no such file, it is damaged, or holds something else than predict
            requests.
    """
    path = Path(version) / WARMUP_PATH
    if not path.is_file():
        raise ValueError(f"there is no {WARMUP_PATH}")
    try:
        records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
        return [_parse_request(record) for record in records]
    except (tf.errors.DataLossError, ValueError) as error:
        raise ValueError(f"{WARMUP_PATH} is damaged: {error}") from None


def _parse_request(record: bytes) -> Request:
    log = _message_classes()["PredictionLog"]()
    try:
        log.ParseFromString(record)
        request = log.predict_log.request
        inputs = {
            entry.key: tf.make_ndarray(tensor_pb2.TensorProto.FromString(entry.value))
            for entry in request.inputs
        }
    except (message.DecodeError, ValueError, TypeError) as error:
        raise ValueError(f"a record is no PredictionLog ({error})") from None
    if not log.HasField("predict_log"):
        raise ValueError("a record is another log than that of a predict request")
    return Request(request.model_spec.signature_name or "serving_default", inputs)


@functools.cache
def _message_classes() -> dict[str, type]:
    """Returns the message classes, of a pool of their own beside those of the serving package."""
    return declare_messages("warmup", _MESSAGES)
