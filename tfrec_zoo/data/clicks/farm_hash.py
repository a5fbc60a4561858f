"""FarmHash64 of texts in NumPy: the numbers of `tf.strings.to_hash_bucket_fast`.

The hash is `Fingerprint64` of FarmHash 1.1 (Pike and Alakuijala 2014), which is fixed for all time,
so that a value has one row in preparation, training and serving. Arithmetic is modulo 2^64. Here it
is done on whole arrays and does not need TensorFlow, which takes seconds to load.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

_K0 = np.uint64(0xC3A5C85C97CB3127)
_K1 = np.uint64(0xB492B66FBE98F273)
_K2 = np.uint64(0x9AE16A3B2F90404F)
_CHUNK = 64


class _Bytes:
    """Texts of one class of length: reads words at places counted from each one's begin or end."""

    def __init__(self, data: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> None:
        self._words64, self._words32, self._bytes = data
        self.begins, self.ends, self.lengths = begins, begins + lengths, lengths.astype(np.uint64)

    def word(self, places: np.ndarray) -> np.ndarray:
        """Returns the 8 bytes at each place, little-endian."""
        return self._words64[places]

    def half(self, places: np.ndarray) -> np.ndarray:
        """Returns the 4 bytes at each place."""
        return self._words32[places].astype(np.uint64)

    def byte(self, places: np.ndarray) -> np.ndarray:
        """Returns the byte at each place."""
        return self._bytes[places].astype(np.uint64)


def fingerprint64(texts: Any) -> np.ndarray:
    """Returns the hash of each text's UTF-8 bytes; uint64 [n].

    Args:
        texts: texts [n], in an Arrow array, a NumPy array of objects or a list.
    """
    if not isinstance(texts, pa.Array):
        texts = pa.array(texts, pa.large_string())
    texts = texts.cast(pa.large_binary())
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
    begins, lengths = offsets[:-1], np.diff(offsets)
    # Padding, so that a word may be read at every byte.
    data = np.zeros((offsets[-1] if len(texts) else 0) + 8, np.uint8)
    if texts.buffers()[2] is not None:
        content = np.frombuffer(texts.buffers()[2], np.uint8)[: len(data) - 8]
        data[: len(content)] = content
    views = (_slide(data, np.uint64), _slide(data, np.uint32), data)
    hashes = np.empty(len(texts), np.uint64)
    bounds = (-1, 0, 3, 7, 16, 32, 64, np.iinfo(np.int64).max)
    for low, high, function in zip(bounds, bounds[1:], _FUNCTIONS, strict=False):
        chosen = np.flatnonzero((lengths > low) & (lengths <= high))
        if len(chosen):
            with np.errstate(over="ignore"):
                hashes[chosen] = function(_Bytes(views, begins[chosen], lengths[chosen]))
    return hashes


def hash_rows(texts: Any, num_rows: int) -> np.ndarray:
    """Returns the row of each text in a hashed table of `num_rows`, 1 + hash % (num_rows - 1).

    Row 0 is for padding. int32 [n].
    """
    return (1 + fingerprint64(texts) % np.uint64(num_rows - 1)).astype(np.int32)


def _slide(data: np.ndarray, kind: type) -> np.ndarray:
    """Returns the word that begins at each byte, as an overlapping view."""
    size = np.dtype(kind).itemsize
    return np.ndarray(len(data) - size + 1, np.dtype(kind).newbyteorder("<"), data, strides=(1,))


def _rotate(values: np.ndarray, bits: int) -> np.ndarray:
    return (values >> np.uint64(bits)) | (values << np.uint64(64 - bits))


def _mix_shift(values: np.ndarray) -> np.ndarray:
    return values ^ (values >> np.uint64(47))


def _mix_pair(low: np.ndarray, high: np.ndarray, factor: np.ndarray) -> np.ndarray:
    mixed = _mix_shift((low ^ high) * factor)
    return _mix_shift((high ^ mixed) * factor) * factor


def _factor(source: _Bytes) -> np.ndarray:
    return _K2 + source.lengths * np.uint64(2)


def _hash_0(source: _Bytes) -> np.ndarray:
    return np.full(len(source.begins), _K2)


def _hash_1_to_3(source: _Bytes) -> np.ndarray:
    first, last = source.byte(source.begins), source.byte(source.ends - 1)
    middle = source.byte(source.begins + (source.ends - source.begins) // 2)
    low = first + (middle << np.uint64(8))
    high = source.lengths + (last << np.uint64(2))
    return _mix_shift(low * _K2 ^ high * _K0) * _K2


def _hash_4_to_7(source: _Bytes) -> np.ndarray:
    low = source.lengths + (source.half(source.begins) << np.uint64(3))
    return _mix_pair(low, source.half(source.ends - 4), _factor(source))


def _hash_8_to_16(source: _Bytes) -> np.ndarray:
    factor = _factor(source)
    first, last = source.word(source.begins) + _K2, source.word(source.ends - 8)
    low = _rotate(last, 37) * factor + first
    high = (_rotate(first, 25) + last) * factor
    return _mix_pair(low, high, factor)


def _hash_17_to_32(source: _Bytes) -> np.ndarray:
    factor = _factor(source)
    a, b = source.word(source.begins) * _K1, source.word(source.begins + 8)
    c, d = source.word(source.ends - 8) * factor, source.word(source.ends - 16) * _K2
    low = _rotate(a + b, 43) + _rotate(c, 30) + d
    return _mix_pair(low, a + _rotate(b + _K2, 18) + c, factor)


def _hash_33_to_64(source: _Bytes) -> np.ndarray:
    factor = _factor(source)
    a, b = source.word(source.begins) * _K2, source.word(source.begins + 8)
    c, d = source.word(source.ends - 8) * factor, source.word(source.ends - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _mix_pair(y, a + _rotate(b + _K2, 18) + c, factor)
    e, f = source.word(source.begins + 16) * factor, source.word(source.begins + 24)
    g = (y + source.word(source.ends - 32)) * factor
    h = (z + source.word(source.ends - 24)) * factor
    low = _rotate(e + f, 43) + _rotate(g, 30) + h
    return _mix_pair(low, e + _rotate(f + a, 18) + g, factor)


def _hash_long(source: _Bytes) -> np.ndarray:
    """Texts of more than 64 bytes: a state is stirred by each chunk of 64 bytes."""
    count = len(source.begins)
    seed = np.uint64(81)
    y = np.full(count, seed * _K1 + np.uint64(113))
    z = _mix_shift(y * _K2 + np.uint64(113)) * _K2
    x = seed * _K2 + source.word(source.begins)
    zeros = np.zeros(count, np.uint64)
    state = np.stack([x, y, z, zeros, zeros, zeros, zeros])
    num_chunks = (source.ends - source.begins - 1) // _CHUNK
    for chunk in range(int(num_chunks.max())):
        active = np.flatnonzero(num_chunks > chunk)
        places = source.begins[active] + chunk * _CHUNK
        state[:, active] = _stir(source, places, state[:, active], _K1, is_last=False)
    x, y, z, v0, v1, w0, w1 = state
    factor = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w0 = w0 + ((source.lengths - np.uint64(1)) & np.uint64(63))
    v0 = v0 + w0
    w0 = w0 + v0
    state = np.stack([x, y, z, v0, v1, w0, w1])
    x, y, z, v0, v1, w0, w1 = _stir(source, source.ends - _CHUNK, state, factor, is_last=True)
    low = _mix_pair(v0, w0, factor) + _mix_shift(y) * _K0 + z
    return _mix_pair(low, _mix_pair(v1, w1, factor) + x, factor)


def _stir(
    source: _Bytes, places: np.ndarray, state: np.ndarray, factor: np.ndarray, *, is_last: bool
) -> np.ndarray:
    x, y, z, v0, v1, w0, w1 = state
    scale = np.uint64(9 if is_last else 1)
    x = _rotate(x + y + v0 + source.word(places + 8), 37) * factor
    y = _rotate(y + v1 + source.word(places + 48), 42) * factor
    x = x ^ (w1 * scale)
    y = y + v0 * scale + source.word(places + 40)
    z = _rotate(z + w0, 33) * factor
    v0, v1 = _hash_half_chunk(source, places, v1 * factor, x + w0)
    w0, w1 = _hash_half_chunk(source, places + 32, z + w1, y + source.word(places + 16))
    return np.stack([z, y, x, v0, v1, w0, w1])


def _hash_half_chunk(
    source: _Bytes, places: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    first, second, third, fourth = (source.word(places + 8 * number) for number in range(4))
    a = a + first
    b = _rotate(b + a + fourth, 21)
    start = a
    a = a + second + third
    b = b + _rotate(a, 44)
    return a + fourth, b + start


# For the lengths 0, 1 to 3, 4 to 7, 8 to 16, 17 to 32, 33 to 64, and more.
_FUNCTIONS: tuple[Callable[[_Bytes], np.ndarray], ...] = (
    _hash_0,
    _hash_1_to_3,
    _hash_4_to_7,
    _hash_8_to_16,
    _hash_17_to_32,
    _hash_33_to_64,
    _hash_long,
)
