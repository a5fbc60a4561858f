"""What users have at hand as the inputs of the zoo's signatures."""

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def pad_items(lists: Sequence[Iterable[Any]], what: str) -> np.ndarray:
    """Returns lists of item ids as object [B, T], "" in front of each and behind shorter ones.

    The models pass over "" wherever it stands. That in front is for servers that batch: they fill
    up a request of shorter lists with its first element.

    Args:
        lists: of each session; ids are `str`, `bytes` in UTF-8 or not, or integers.
        what: the name of the argument, for the error.

    Raises:
        ValueError: there are no lists, or something else is among them.
    """
    if isinstance(lists, str | bytes) or any(isinstance(items, str | bytes) for items in lists):
        raise ValueError(f"{what} must be a list of ids for each session, got a text in its place")
    rows = [[_as_text(item, what) for item in items] for items in lists]
    if not rows:
        raise ValueError(f"{what} is empty, expected a list of ids for each session")
    padded = np.full((len(rows), 1 + max(map(len, rows))), "", dtype=object)
    for line, row in zip(padded, rows, strict=True):
        line[1 : 1 + len(row)] = row
    return padded


def as_ids(items: Iterable[Any], what: str) -> np.ndarray:
    """Returns item ids as object [B].

    Raises:
        ValueError: it is a text, or something else than ids is inside.
    """
    if isinstance(items, str | bytes):
        raise ValueError(f"{what} must be an id for each session, got a text in its place")
    return _as_objects([_as_text(item, what) for item in items])


def as_texts(values: Any, what: str) -> np.ndarray:
    """Returns raw texts as object [B, F], "" for None.

    Raises:
        ValueError: they are no table, or something else than texts and integers is inside.
    """
    table = _as_table(values, what)
    flat = ["" if value is None else _as_text(value, what) for value in table.ravel()]
    return _as_objects(flat).reshape(table.shape)


def has_texts(values: Any) -> bool:
    """Tells whether there are texts in a table."""
    return any(isinstance(value, str | bytes) for value in np.asarray(values, object).ravel())


def as_numbers(values: Any, what: str, num_dims: int = 2) -> np.ndarray:
    """Returns numbers as float32, NaN for None.

    Raises:
        ValueError: they have other dimensions, or something else is inside.
    """
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be numbers in rows of one length, None for a gap") from None
    if array.ndim != num_dims:
        raise ValueError(f"{what} must have {num_dims} dimensions, got {list(array.shape)}")
    return array


def _as_table(values: Any, what: str) -> np.ndarray:
    try:
        table = np.array(values, dtype=object)
    except ValueError:
        table = np.empty(0, object)
    if table.ndim != 2:
        raise ValueError(f"{what} must be rows of one length, a text for each feature")
    return table


def _as_objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _as_text(value: Any, what: str) -> str | bytes:
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_):
        return str(int(value))
    raise ValueError(f"{what} has {value!r}, expected texts or integers")
