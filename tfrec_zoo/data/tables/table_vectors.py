"""Arrow columns of a table of items -> ids and ready-made vectors.

What is wrong with a row is put into `problems`, as in `table_values`.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrec_zoo.data.tables.table_categories import encode_texts
from tfrec_zoo.data.tables.table_columns import VectorColumn
from tfrec_zoo.data.tables.table_rows import is_text
from tfrec_zoo.data.tables.table_values import Problems, to_numbers
from tfrec_zoo.data.tables.text_table import MISSING_NUMBERS


def to_ids(column: pa.Array, name: str, problems: Problems) -> np.ndarray:
    """Returns the ids of items, object [n]; a row that has none is a problem."""
    values = encode_texts(column, name)
    has_break = pc.match_substring_regex(pa.array(values.texts, pa.large_string()), "[\t\r\n]")
    is_bad = (values.texts == "") | has_break.to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(is_bad[values.codes]):
        text = values.texts[values.codes[row]]
        problem = f"{name} is {text!r}, but an id has no tab and no line break"
        problems.setdefault(int(row), problem if text else f"{name}, the item's id, is missing")
    return values.texts[values.codes]


def to_vectors(column: pa.Array, feature: VectorColumn, problems: Problems) -> np.ndarray:
    """Returns vectors float32 [n, size], NaN throughout where a row has none.

    Args:
        column: lists of numbers, or texts with blanks, commas or semicolons between the numbers.
        feature: what the vectors are.
        problems: takes up rows whose vector has another size, or something that is no number.

    Raises:
        ValueError: the column can hold no vectors.
    """
    name = feature.column
    lists = _as_lists(column, name)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    is_wrong = (lengths != feature.size) & (lengths != 0)
    for row in np.flatnonzero(is_wrong):
        problem = f"{name} has {lengths[row]} numbers, expected a vector of {feature.size}"
        problems.setdefault(int(row), problem)
    is_whole = lengths == feature.size
    vectors = np.full((len(lengths), feature.size), np.nan, np.float32)
    parts = lists.filter(pa.array(is_whole)).flatten()
    part_problems: Problems = {}
    numbers = to_numbers(parts, name, part_problems)
    for place in np.flatnonzero(np.isnan(numbers)):
        part_problems.setdefault(int(place), f"{name} is missing, expected a number")
    rows = np.flatnonzero(is_whole)
    for place, problem in part_problems.items():
        number, rest = divmod(place, feature.size)
        what = problem.removeprefix(f"{name} is ")
        problems.setdefault(int(rows[number]), f"number {rest + 1} of {name} is {what}")
    vectors[is_whole] = numbers.reshape(-1, feature.size)
    return vectors


def _as_lists(column: pa.Array, name: str) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type):
        separated = pc.replace_substring_regex(column, r"[\s,;]+", " ")
        trimmed = pc.utf8_trim_whitespace(separated)
        parts = pc.split_pattern(trimmed, " ")
        is_missing = pc.is_in(trimmed, pa.array(MISSING_NUMBERS, trimmed.type))
        return pc.if_else(is_missing, None, parts)
    if pa.types.is_fixed_size_list(column.type):
        return column.cast(pa.list_(column.type.value_type))
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.list_(pa.float32()))
    raise ValueError(
        f"column {name!r} must hold vectors, lists or texts, its type is {column.type}"
    )
