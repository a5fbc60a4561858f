"""The messages of TensorFlow Serving's gRPC interface, without TensorFlow.

Those of the package tensorflow-serving-api import TensorFlow, which takes a service seconds and
hundreds of megabytes, and every version of it wants a TensorFlow of its own. The few fields that a
client needs are declared here anew; what goes over the wire is the same. A map is declared as what
it is on the wire: repeated entries of a key and a value.
"""

import functools
from collections.abc import Mapping

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Message -> field -> (number, type, is repeated).
Messages = Mapping[str, Mapping[str, tuple[int, str, bool]]]

# From predict.proto, get_model_metadata.proto and model.proto of tensorflow/serving, tensor.proto,
# tensor_shape.proto and meta_graph.proto of tensorflow/tensorflow. Enums are integers.
_MESSAGES: Messages = {
    "PredictRequest": {"model_spec": (1, "ModelSpec", False), "inputs": (2, "NamedTensor", True)},
    "PredictResponse": {"outputs": (1, "NamedTensor", True)},
    "NamedTensor": {"key": (1, "string", False), "value": (2, "TensorProto", False)},
    "ModelSpec": {
        "name": (1, "string", False),
        "version": (2, "Int64Value", False),
        "signature_name": (3, "string", False),
        "version_label": (4, "string", False),
    },
    "Int64Value": {"value": (1, "int64", False)},
    "TensorProto": {
        "dtype": (1, "int32", False),
        "tensor_shape": (2, "TensorShape", False),
        "tensor_content": (4, "bytes", False),
        "float_val": (5, "float", True),
        "double_val": (6, "double", True),
        "int_val": (7, "int32", True),
        "string_val": (8, "bytes", True),
        "int64_val": (10, "int64", True),
        "bool_val": (11, "bool", True),
        "half_val": (13, "int32", True),
        "uint32_val": (16, "uint32", True),
        "uint64_val": (17, "uint64", True),
    },
    "TensorShape": {"dim": (2, "Dim", True), "unknown_rank": (3, "bool", False)},
    "Dim": {"size": (1, "int64", False)},
    "GetModelMetadataRequest": {
        "model_spec": (1, "ModelSpec", False),
        "metadata_field": (2, "string", True),
    },
    "GetModelMetadataResponse": {"metadata": (2, "NamedAny", True)},
    "NamedAny": {"key": (1, "string", False), "value": (2, "Any", False)},
    "Any": {"value": (2, "bytes", False)},
    "SignatureDefMap": {"signature_def": (1, "NamedSignature", True)},
    "NamedSignature": {"key": (1, "string", False), "value": (2, "SignatureDef", False)},
    "SignatureDef": {
        "inputs": (1, "NamedTensorInfo", True),
        "outputs": (2, "NamedTensorInfo", True),
    },
    "NamedTensorInfo": {"key": (1, "string", False), "value": (2, "TensorInfo", False)},
    "TensorInfo": {"dtype": (2, "int32", False), "tensor_shape": (3, "TensorShape", False)},
}


@functools.cache
def load_messages() -> dict[str, type]:
    """Returns the message classes of the interface by name."""
    return declare_messages("tfrec_zoo.serving", _MESSAGES)


def declare_messages(package: str, messages: Messages) -> dict[str, type]:
    """Returns the classes of messages, of a pool of their own beside those of other packages.

    Args:
        package: the name that messages of the table refer to each other in.
        messages: message -> field -> (number, type, is repeated), the type being one of the table
            or a scalar type of protobuf.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    field_type = descriptor_pb2.FieldDescriptorProto
    for message_name, fields in messages.items():
        declared = file.message_type.add(name=message_name)
        for field_name, (number, type_name, is_repeated) in fields.items():
            label = field_type.LABEL_REPEATED if is_repeated else field_type.LABEL_OPTIONAL
            field = declared.field.add(name=field_name, number=number, label=label)
            if type_name in messages:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".{package}.{type_name}"
            else:
                field.type = getattr(field_type, f"TYPE_{type_name.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name: classes[f"{package}.{name}"] for name in messages}
