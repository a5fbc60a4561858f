"""The distinct rows of each training step, found in the input pipeline.

A step of GRU4Rec touches its inputs, its targets and its negatives, some of them equal. Each
distinct row is one column of the step: it is gathered, multiplied and written back once, and its
gradient is the sum over its duplicates by construction. What the duplicates mean for the loss is
kept as counts: how often a column is a target of the step, how often it was drawn as a negative.
"""

import numpy as np

from tfrec_zoo.data.sessions.lanes import SILENT

PADDING_ROW = 0

# Up to so many rows of a table for each row that a step touches, marks are faster than sorting.
_MOST_MARKS = 16


def round_up_columns(needed: int, most: int) -> int:
    """Returns a column count of few possible values, since each one is compiled once.

    Multiples of a sixteenth of the largest power of two in `most`, at least of 64.
    """
    grain = max(64, 2 ** (int(most).bit_length() - 1) // 16)
    return min(-(-needed // grain) * grain, most)


def find_columns(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the distinct rows of each step.

    Args:
        rows: int32 [K, M], the rows that each of K steps touches.

    Returns:
        columns: int32 [K, C], the distinct rows in ascending order, the padding row always in
            column 0 and again behind the last one, C rounded up (see `round_up_columns`).
        column_of: int32 [K, M], the column of each entry of `rows`.
    """
    num_steps, num_rows = rows.shape
    column_of = np.empty(rows.shape, np.int32)
    table_size = int(rows.max(initial=PADDING_ROW)) + 1
    if table_size <= _MOST_MARKS * num_rows:
        distinct = _find_by_marks(rows, column_of, table_size)
    else:
        distinct = _find_by_sorting(rows, column_of)
    num_columns = round_up_columns(max(map(len, distinct)), num_rows + 1)
    columns = np.full((num_steps, num_columns), PADDING_ROW, np.int32)
    for step_columns, step_rows in zip(columns, distinct, strict=True):
        step_columns[: len(step_rows)] = step_rows
    return columns, column_of


def _find_by_marks(rows: np.ndarray, column_of: np.ndarray, table_size: int) -> list[np.ndarray]:
    """Fills in `column_of` and returns each step's distinct rows, in a look at the whole table."""
    is_marked, number = np.zeros(table_size, bool), np.empty(table_size, np.int32)
    numbers, found = np.arange(rows.shape[1] + 1, dtype=np.int32), []
    # NumPy marks by numbers of a pointer's width, and takes three times as long for others.
    for step_rows, step_column_of in zip(rows.astype(np.intp), column_of, strict=True):
        is_marked[step_rows] = is_marked[PADDING_ROW] = True
        distinct = np.flatnonzero(is_marked)
        is_marked[distinct] = False
        number[distinct] = numbers[: len(distinct)]
        number.take(step_rows, out=step_column_of, mode="clip")
        found.append(distinct)
    return found


def _find_by_sorting(rows: np.ndarray, column_of: np.ndarray) -> list[np.ndarray]:
    """Does the same in a time that does not depend on the table's size."""
    num_steps, num_rows = rows.shape
    # One sort of (row, place) pairs packed into an int64 beats argsort: it is vectorised.
    keys = np.empty((num_steps, num_rows + 1), np.int64)
    keys[:, 0] = PADDING_ROW
    keys[:, 1:] = rows
    keys <<= 32
    keys |= np.arange(num_rows + 1)
    keys.sort(axis=1)
    is_new = np.empty(keys.shape, bool)
    is_new[:, 0] = True
    np.greater_equal(keys[:, 1:] ^ keys[:, :-1], 1 << 32, out=is_new[:, 1:])
    # Step by step, for what is scattered stays in the cache then.
    found, places = [], np.empty(num_rows + 1, np.int32)
    for step_keys, step_is_new, step_column_of in zip(keys, is_new, column_of, strict=True):
        found.append(step_keys[step_is_new] >> 32)
        places[step_keys & 0xFFFFFFFF] = np.cumsum(step_is_new, dtype=np.int32)
        np.subtract(places[1:], 1, out=step_column_of)
    return found


def count_columns(column_of: np.ndarray, num_columns: int) -> np.ndarray:
    """Returns float32 [K, C]: how often each column occurs in `column_of`, int [K, ...].

    Column 0, the padding row, counts nothing.
    """
    num_steps = len(column_of)
    flat = column_of.reshape(num_steps, -1) + np.arange(num_steps)[:, None] * num_columns
    counts = np.bincount(flat.ravel(), minlength=num_steps * num_columns)
    counts = counts.reshape(num_steps, num_columns).astype(np.float32)
    counts[:, 0] = 0
    return counts


def take_rows(rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Returns `rows[positions]`, the padding row where a position is `SILENT`."""
    return np.where(positions == SILENT, PADDING_ROW, rows[np.maximum(positions, 0)])
