import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tfrec_zoo.serving.inputs import as_numbers, as_texts, pad_items
from tfrec_zoo.serving.protos import load_messages
from tfrec_zoo.serving.tensors import as_input, decode_text, encode_text, to_array, to_tensor

DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


def to_tensorflow(tensor):
    return tensor_pb2.TensorProto.FromString(tensor.SerializeToString())


def from_tensorflow(proto):
    return load_messages()["TensorProto"].FromString(proto.SerializeToString())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (4,), (), (0, 3)])
def test_numbers_are_those_of_tensorflow(dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    sent = tf.make_ndarray(to_tensorflow(to_tensor(array)))
    np.testing.assert_array_equal(sent, array, strict=True)
    for proto in (tf.make_tensor_proto(array), as_field_values(array)):
        np.testing.assert_array_equal(to_array(from_tensorflow(proto)), array, strict=True)


def as_field_values(array):
    """Returns a tensor as servers write it: each value in the field of its type."""
    proto = tf.make_tensor_proto(np.zeros(array.shape, array.dtype))
    proto.ClearField("tensor_content")
    fields = {"f2": "half_val", "f4": "float_val", "f8": "double_val", "i8": "int64_val"}
    fields |= {"u4": "uint32_val", "u8": "uint64_val", "b1": "bool_val"}
    field = getattr(proto, fields.get(array.dtype.str[1:], "int_val"))
    del field[:]
    values = array.view(np.uint16) if array.dtype == np.float16 else array
    field.extend(values.ravel().tolist())
    return proto


def test_texts_are_those_of_tensorflow():
    texts = np.array([["é", b"\xff\x00"], ["", "\udcff"]], dtype=object)
    content = [["é".encode(), b"\xff\x00"], [b"", b"\xff"]]
    assert tf.make_ndarray(to_tensorflow(to_tensor(texts))).tolist() == content
    assert to_array(from_tensorflow(tf.make_tensor_proto(content))).tolist() == content


def test_values_that_are_left_out_repeat_the_last_one():
    proto = tensor_pb2.TensorProto(dtype=1, float_val=[1, 2])
    proto.tensor_shape.CopyFrom(tf.TensorShape([2, 2]).as_proto())
    np.testing.assert_array_equal(tf.make_ndarray(proto), [[1, 2], [2, 2]])
    np.testing.assert_array_equal(to_array(from_tensorflow(proto)), [[1, 2], [2, 2]])
    proto.ClearField("float_val")
    np.testing.assert_array_equal(to_array(from_tensorflow(proto)), np.zeros((2, 2)))
    proto.dtype = 7
    assert to_array(from_tensorflow(proto)).tolist() == [[b"", b""], [b"", b""]]


def test_a_type_that_numpy_lacks_is_said():
    with pytest.raises(ValueError, match="type 14"):
        to_array(load_messages()["TensorProto"](dtype=14))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, 2], np.int32),
        ([2**40], np.int64),
        ([0.5], np.float32),
        ([True], np.bool_),
        (["a", b"b"], np.object_),
        (np.array([1]), np.int64),
        (np.array([0.5]), np.float64),
        (np.array(["a"]), np.object_),
        (3, np.int32),
    ],
)
def test_lists_are_sent_as_tensorflow_takes_them(value, dtype):
    assert as_input(value, "x").dtype == dtype


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[1], [1, 2]], "rows of several lengths"),
        (["a", 1], "has 1 among its texts"),
        ([None], "has None among its texts"),
        ([1j], "complex128"),
    ],
)
def test_what_cannot_be_sent_is_refused(value, words):
    with pytest.raises(ValueError, match=words):
        as_input(value, "x")


def test_any_bytes_come_back():
    content = bytes(range(256))
    assert encode_text(decode_text(content)) == content


def test_items_are_padded_with_a_gap_in_front():
    assert pad_items([["a", 7], [], [b"c"]], "sessions").tolist() == [
        *(["", "a", "7"], ["", "", ""], ["", b"c", ""])
    ]
    for value, words in (
        ([], "empty"),
        (["ab"], "got a text"),
        ("ab", "got a text"),
        ([[1.5]], "1.5"),
    ):
        with pytest.raises(ValueError, match=words):
            pad_items(value, "sessions")


def test_tables_have_rows_of_one_length():
    assert as_texts([["a", None], [7, b"x"]], "sparse").tolist() == [["a", ""], ["7", b"x"]]
    assert as_numbers([[1, None]], "dense").dtype == np.float32
    for value in (["a"], [["a"], ["a", "b"]], [[0.5]]):
        with pytest.raises(ValueError, match="sparse"):
            as_texts(value, "sparse")
    for value in ([1], [[1], [1, 2]], [["a"]]):
        with pytest.raises(ValueError, match="dense"):
            as_numbers(value, "dense")
