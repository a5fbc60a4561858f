"""Rows of a table in fewer bytes: as float16, or as int8 with a scale for each row.

    x_rd ~ s_r q_rd,    q_rd = round(x_rd / s_r) in -127..127,    s_r = max_d |x_rd| / 127

The scale is rounded up to 16 significant bits, so that s q has no more than the 24 of float32: what
comes back is exact, and quantizing it again changes nothing. |x - s q| is at most s / 2; a row of
numbers below 1e-31 is one of zeros. float16 keeps 11 significant bits of each number between 6.1e-5
and 65504, and fewer below.

Free of TensorFlow.
"""

from typing import NamedTuple

import numpy as np

# What tables may be stored as; the first is as they are trained.
TABLE_FORMATS = ("float32", "float16", "int8")

_LARGEST_CODE = 127
_SCALE_BITS = 16
# Below it there are fewer bits, and processors may take the products for 0.
_SMALLEST_SCALE = 2.0**-110


class QuantizedRows(NamedTuple):
    """Rows as they are stored: `values` float16 or int8 [R, W]; `scales` float32 [R] of int8."""

    values: np.ndarray
    scales: np.ndarray | None = None


def quantize_rows(rows: np.ndarray, table_format: str) -> QuantizedRows:
    """Returns rows float32 [R, W] in `table_format`, `float16` or `int8`.

    Raises:
        ValueError: another format, or a number that it cannot hold.
    """
    rows = np.asarray(rows, np.float32)
    if not np.isfinite(rows).all():
        raise ValueError(
            "a table has numbers that are not finite, so it cannot be stored in fewer bytes: the "
            "training diverged, train with a lower learning rate"
        )
    if table_format == "float16":
        return QuantizedRows(_to_float16(rows))
    if table_format != "int8":
        raise ValueError(
            f"tables can be stored as {', '.join(TABLE_FORMATS)}, got {table_format!r}"
        )
    scales = _round_up(np.abs(rows).max(axis=1, initial=0.0) / np.float64(_LARGEST_CODE))
    # The scale of a row of zeros is 0.
    divisors = np.where(scales > 0, scales, np.float32(1))
    codes = np.rint(rows / divisors[:, None].astype(np.float64))
    return QuantizedRows(codes.astype(np.int8), scales)


def dequantize_rows(quantized: QuantizedRows) -> np.ndarray:
    """Returns the numbers that rows stand for, float32 [R, W]."""
    values = quantized.values.astype(np.float32)
    return values if quantized.scales is None else values * quantized.scales[:, None]


def bound_errors(rows: np.ndarray, table_format: str) -> np.ndarray:
    """Returns by how much rows of float32 [R, W] may differ from what is stored, float64 [R, 1]."""
    largest = np.abs(rows.astype(np.float64)).max(axis=1, initial=0.0, keepdims=True)
    if table_format == "int8":
        return largest * (1 + 2.0 ** (1 - _SCALE_BITS)) / (2 * _LARGEST_CODE)
    return np.maximum(largest * 2.0**-11, 2.0**-25)


def _to_float16(rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = rows.astype(np.float16)
    if not np.isfinite(values).all():
        raise ValueError(
            f"a table has the number {np.abs(rows).max():.6g} and float16 holds none above 65504: "
            "store it as int8 or float32"
        )
    return values


def _round_up(scales: np.ndarray) -> np.ndarray:
    """Returns float64 scales as float32 of `_SCALE_BITS` significant bits, none of them smaller."""
    mantissas, exponents = np.frexp(scales)
    mantissas = np.ceil(np.ldexp(mantissas, _SCALE_BITS))
    rounded = np.ldexp(mantissas, exponents - _SCALE_BITS)
    return np.where(rounded < _SMALLEST_SCALE, 0.0, rounded).astype(np.float32)
