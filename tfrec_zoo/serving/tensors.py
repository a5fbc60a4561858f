"""NumPy arrays <-> TensorFlow's `TensorProto`, without TensorFlow."""

from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import Message

from tfrec_zoo.serving.protos import load_messages


class _Type(NamedTuple):
    """A type of tensors: its number in types.proto, and the field of its values."""

    number: int
    field: str


_STRING = _Type(7, "string_val")
_TYPES = {
    np.dtype(np.float32): _Type(1, "float_val"),
    np.dtype(np.float64): _Type(2, "double_val"),
    np.dtype(np.int32): _Type(3, "int_val"),
    np.dtype(np.uint8): _Type(4, "int_val"),
    np.dtype(np.int16): _Type(5, "int_val"),
    np.dtype(np.int8): _Type(6, "int_val"),
    np.dtype(object): _STRING,
    np.dtype(np.int64): _Type(9, "int64_val"),
    np.dtype(np.bool_): _Type(10, "bool_val"),
    np.dtype(np.uint16): _Type(17, "int_val"),
    np.dtype(np.float16): _Type(19, "half_val"),
    np.dtype(np.uint32): _Type(22, "uint32_val"),
    np.dtype(np.uint64): _Type(23, "uint64_val"),
}
_DTYPES = {type_.number: dtype for dtype, type_ in _TYPES.items()}


def as_input(value: Any, name: str) -> np.ndarray:
    """Returns what is sent for an input.

    Args:
        value: an array, sent with its own type; or lists of Python's numbers, sent as float32,
            int32 or bool as TensorFlow takes them, or of texts (`str`, `bytes`).
        name: of the input, for the error.

    Raises:
        ValueError: the lists are ragged, or the values are neither numbers nor texts.
    """
    array = np.asarray(value) if hasattr(value, "dtype") else _read_lists(value, name)
    if array.dtype.kind in "SUO":
        array = array.astype(object)
        for text in array.ravel():
            if not isinstance(text, str | bytes):
                raise ValueError(f"{name} has {text!r} among its texts, expected str or bytes")
    elif array.dtype not in _TYPES:
        raise ValueError(f"{name} has the type {array.dtype}, expected numbers or texts")
    return array


def to_tensor(array: np.ndarray) -> Message:
    """Returns the `TensorProto` of an array as `as_input` makes it."""
    tensor = load_messages()["TensorProto"](dtype=_TYPES[array.dtype].number)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        tensor.string_val.extend(map(encode_text, array.ravel().tolist()))
    else:
        little_endian = array.dtype.newbyteorder("<")
        tensor.tensor_content = array.astype(little_endian, copy=False).tobytes()
    return tensor


def to_array(tensor: Message) -> np.ndarray:
    """Returns the array of a `TensorProto`; texts are `bytes` objects.

    Raises:
        ValueError: it is of a type that NumPy does not have, or has too many values.
    """
    dtype = name_dtype(tensor.dtype)
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        content = np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<"))
        return content.astype(dtype).reshape(shape)
    field = _TYPES[dtype].field
    if field == "half_val":
        values = np.array(tensor.half_val, np.uint16).view(np.float16)
    else:
        values = np.array(list(getattr(tensor, field)), dtype)
    size = int(np.prod(shape))
    if len(values) < size:
        # The last value stands for all that follow, and none at all for zeros.
        nothing = np.array([b"" if tensor.dtype == _STRING.number else 0], dtype)
        filling = values[-1:] if len(values) else nothing
        values = np.concatenate([values, np.repeat(filling, size - len(values))])
    return values.reshape(shape)


def name_dtype(number: int) -> np.dtype:
    """Returns the type of arrays for a type of tensors by its number; texts are objects.

    Raises:
        ValueError: NumPy does not have it.
    """
    if number not in _DTYPES:
        raise ValueError(f"a tensor has TensorFlow's type {number}, which NumPy does not have")
    return _DTYPES[number]


def encode_text(text: str | bytes) -> bytes:
    """Returns the bytes of a text; what `decode_text` has made of any bytes comes back as it was.

    Raises:
        ValueError: it is neither `str` nor `bytes`.
    """
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    raise ValueError(f"got {text!r} among texts, expected str or bytes")


def decode_text(text: bytes) -> str:
    """Returns the text of bytes in UTF-8; others are kept in the manner of `os.fsdecode`."""
    return text.decode("utf-8", "surrogateescape")


def _read_lists(value: Any, name: str) -> np.ndarray:
    # As objects at first: NumPy turns texts and numbers of one list into texts, silently.
    objects = np.asarray(value, dtype=object)
    leaves = objects.ravel()
    if any(isinstance(leaf, list | tuple | np.ndarray) for leaf in leaves):
        raise ValueError(
            f"{name} has rows of several lengths, expected an array: fill up the shorter ones"
        )
    if any(isinstance(leaf, str | bytes) for leaf in leaves):
        return objects
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    # An integer that needs 64 bits stays what it is.
    if array.dtype == np.int64 and (array.astype(np.int32) == array).all():
        return array.astype(np.int32)
    return array
