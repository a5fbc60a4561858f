"""Arrow columns of a table -> numbers: float columns, labels, weights, times.

What is wrong with a row is put into `problems` (row -> the first thing found wrong with it); who
calls leaves such rows out, and what stands there in the arrays means nothing.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrec_zoo.data.tables.table_columns import LabelColumn
from tfrec_zoo.data.tables.table_rows import is_text
from tfrec_zoo.data.tables.text_table import MISSING_NUMBERS
from tfrec_zoo.data.time_column import BadTimeError, parse_times

Problems = dict[int, str]


def to_numbers(
    column: pa.Array,
    name: str,
    problems: Problems,
    dtype: type[np.floating] = np.float32,
    expected: str = "a number",
) -> np.ndarray:
    """Returns numbers of `dtype` [n], NaN where one is missing.

    Raises:
        ValueError: the column cannot hold numbers, such as one of lists.
    """
    texts, arrow_type = None, pa.from_numpy_dtype(dtype)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type):
        texts = column = _without_missing(column)
        bad_rows = _find_failing(column, lambda part: part.cast(arrow_type), pa.ArrowInvalid)
        _note(problems, bad_rows, lambda row: _expected(name, texts[row].as_py(), expected))
        if bad_rows:
            is_bad = np.zeros(len(column), bool)
            is_bad[bad_rows] = True
            column = pc.if_else(pa.array(is_bad), None, column)
    elif not _is_numeric(column.type):
        raise ValueError(f"column {name!r} must hold numbers, its type is {column.type}")
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    numbers = column.cast(arrow_type, safe=False).to_numpy(zero_copy_only=False)
    is_infinite = np.isinf(numbers)
    if is_infinite.any():
        source = column if texts is None else texts
        rows = np.flatnonzero(is_infinite)
        _note(problems, rows, lambda row: _expected(name, source[row].as_py(), "a finite number"))
        numbers = np.where(is_infinite, np.nan, numbers)
    return numbers


def to_labels(column: pa.Array, label: LabelColumn, problems: Problems) -> np.ndarray:
    """Returns labels float32 [n], 0 or 1."""
    expected = "0 or 1" if label.at_least is None else "a number"
    numbers = to_numbers(column, label.column, problems, np.float64, expected)
    is_missing = np.isnan(numbers)
    if label.at_least is not None:
        labels = (numbers >= label.at_least).astype(np.float32)
        is_wrong = is_missing
    else:
        labels = (numbers == 1).astype(np.float32)
        is_wrong = is_missing | (numbers != 0) & (labels == 0)
    _note(
        problems,
        np.flatnonzero(is_wrong),
        lambda row: _expected(label.column, _brief(numbers[row]), expected),
    )
    return labels


def to_weights(column: pa.Array, name: str, problems: Problems) -> np.ndarray:
    """Returns sample weights float32 [n]."""
    expected = "a weight of 0 or more"
    numbers = to_numbers(column, name, problems, expected=expected)
    is_wrong = ~(numbers >= 0)
    _note(
        problems,
        np.flatnonzero(is_wrong),
        lambda row: _expected(name, _brief(numbers[row]), expected),
    )
    return np.where(is_wrong, np.float32(0), numbers)


def to_times(column: pa.Array, name: str, problems: Problems) -> tuple[np.ndarray, str | None]:
    """Returns times as `time_column.parse_times` does, and their kind; None where all are wrong.

    Raises:
        BadTimeError: one is a number among timestamps, or the other way round.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return parse_times(column)
    except BadTimeError:
        bad_rows = _find_failing(column, parse_times, BadTimeError)
    _note(
        problems,
        bad_rows,
        lambda row: _expected(name, column[row].as_py() or None, "a number or a timestamp"),
    )
    good_rows = np.setdiff1d(np.arange(len(column)), bad_rows)
    times = np.zeros(len(column), np.int64)
    if not len(good_rows):
        return times, None
    try:
        good_times, kind = parse_times(column.take(pa.array(good_rows)))
    except BadTimeError as error:
        raise BadTimeError(int(good_rows[error.row]), error.value) from None
    times = times.astype(good_times.dtype)
    times[good_rows] = good_times
    return times, kind


def _find_failing(
    column: pa.Array, attempt: Callable[[pa.Array], object], error: type[Exception]
) -> list[int]:
    """Returns the rows that `attempt` fails on when it is given each alone, by halving."""
    failing, parts = [], [(0, len(column))] if len(column) else []
    while parts:
        start, end = parts.pop()
        try:
            attempt(column[start:end])
        except error:
            if end - start == 1:
                failing.append(start)
            else:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
    return failing


def _without_missing(texts: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(texts)
    is_missing = pc.is_in(trimmed, pa.array(MISSING_NUMBERS, trimmed.type))
    return pc.if_else(is_missing, None, trimmed)


def _is_numeric(data_type: pa.DataType) -> bool:
    is_one = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    return any(check(data_type) for check in is_one)


def _note(problems: Problems, rows: Iterable[int], describe: Callable[[int], str]) -> None:
    for row in rows:
        row = int(row)
        if row not in problems:
            problems[row] = describe(row)


def _expected(name: str, found: object, expected: str) -> str:
    if found is None:
        return f"{name} is missing, expected {expected}"
    shown = repr(found) if isinstance(found, str) else str(found)
    return f"{name} is {shown}, expected {expected}"


def _brief(number: float) -> float | int | None:
    """Returns a number as it is written: None for NaN, no decimals where it has none."""
    if np.isnan(number):
        return None
    return int(number) if float(number).is_integer() else float(number)
