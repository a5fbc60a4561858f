"""Rows of tables as float16 and int8 have them, by the formula and in float64."""

import numpy as np


def round_rows(rows: np.ndarray, table_format: str, num_exact: int = 0) -> np.ndarray:
    """Returns rows [R, W] with all but the last columns rounded; float64."""
    rows = np.asarray(rows, np.float64)
    width = rows.shape[1] - num_exact
    if table_format == "float32":
        return rows
    if table_format == "float16":
        rounded = rows[:, :width].astype(np.float16).astype(np.float64)
        return np.column_stack([rounded, rows[:, width:]])
    scales = find_scales(rows[:, :width])
    codes = np.rint(rows[:, :width] / np.where(scales > 0, scales, 1))
    return np.column_stack([codes * scales, rows[:, width:]])


def find_scales(rows: np.ndarray) -> np.ndarray:
    """Returns each row's greatest number over 127, rounded up to 16 significant bits; [R, 1]."""
    scales = np.abs(np.asarray(rows, np.float64)).max(axis=1, keepdims=True) / 127
    units = 2.0 ** (np.floor(np.log2(np.where(scales > 0, scales, 1))) - 15)
    return np.ceil(scales / units) * units
