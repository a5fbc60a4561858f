"""Arrow columns of a table -> categorical values: one a row, several a row, flags."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrec_zoo.data.tables.table_block import Values
from tfrec_zoo.data.tables.table_columns import CategoricalColumn
from tfrec_zoo.data.tables.table_rows import is_text
from tfrec_zoo.data.tables.table_values import Problems, to_numbers, to_weights
from tfrec_zoo.data.tables.tokens import split_tokens


def to_values(
    columns: Mapping[str, pa.Array], feature: CategoricalColumn, problems: Problems
) -> Values:
    """Returns the values of a feature; all that a row has, `max_values` is not applied.

    Args:
        columns: those of the table, the feature's among them.
        feature: how its columns are read.
        problems: takes up what is wrong with rows.

    Raises:
        ValueError: a column cannot hold such values.
    """
    if feature.flags:
        return _read_flags(columns, feature, problems)
    column = columns[feature.column]
    if _is_list(column.type):
        if feature.tokens:
            raise ValueError(
                f"column {feature.column!r} holds lists, expected texts to cut into words: leave "
                "tokens out where the lists hold the words"
            )
        if not feature.is_multi_valued:
            raise ValueError(
                f"column {feature.column!r} holds lists: say max_values, the most values kept of a "
                "row"
            )
        return _read_lists(column, feature, problems)
    if not feature.is_multi_valued:
        return encode_texts(column, feature.column)
    if not (feature.separator or feature.tokens):
        raise ValueError(
            f"column {feature.column!r} holds one value a row, not lists: say the separator that "
            "stands between values, or leave max_values out"
        )
    rows = encode_texts(column, feature.column)
    text_problems: Problems = {}
    texts = pa.array(rows.texts, pa.string())
    if feature.tokens:
        parts = split_tokens(texts)
    else:
        parts = pc.split_pattern(texts, feature.separator)
    values = _read_lists(parts, feature, text_problems).take(rows.codes)
    _note_parts(problems, text_problems, np.arange(len(rows.codes)), rows.codes)
    return values


def encode_texts(column: pa.Array, name: str) -> Values:
    """Returns single values: texts as they are, whole numbers in decimal, "" where one is missing.

    Raises:
        ValueError: the column holds fractions or something else that is no id.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    texts, codes = _as_texts(column.dictionary, name), column.indices
    if codes.null_count or texts.null_count:
        # The row may be null, or the text that it points to; both are the last text from here on.
        texts = pa.concat_arrays([texts.fill_null(""), pa.array([""], texts.type)])
        places = np.arange(len(texts), dtype=np.int32)
        places[pc.equal(texts, "").to_numpy(zero_copy_only=False)] = len(texts) - 1
        codes = places[codes.cast(pa.int64()).fill_null(len(texts) - 1).to_numpy()]
    else:
        codes = codes.cast(pa.int32()).to_numpy()
    used = np.zeros(len(texts), bool)
    used[codes] = True
    if not used.all():
        # A Parquet file has one dictionary for many blocks.
        codes, texts = (np.cumsum(used, dtype=np.int32) - 1)[codes], texts.filter(pa.array(used))
    return Values(codes, texts.to_numpy(zero_copy_only=False))


def _as_texts(distinct: pa.Array, name: str) -> pa.Array:
    kind = distinct.type
    if is_text(kind):
        return distinct
    if kind in (pa.binary(), pa.large_binary(), pa.string_view()):
        try:
            return distinct.cast(pa.string())
        except pa.ArrowInvalid:
            raise ValueError(f"column {name!r} holds bytes that are not UTF-8 texts") from None
    if pa.types.is_floating(kind):
        # Whole numbers become floats where a writer has no other way to leave one out.
        try:
            distinct = pc.if_else(pc.is_nan(distinct), None, distinct).cast(pa.int64())
        except pa.ArrowInvalid:
            raise ValueError(
                f"column {name!r} holds fractions, expected texts or whole numbers; a number is "
                "made categorical by buckets"
            ) from None
        return distinct.cast(pa.string())
    is_one = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
    if any(check(kind) for check in is_one):
        return distinct.cast(pa.string())
    raise ValueError(f"column {name!r} must hold texts or whole numbers, its type is {kind}")


def _is_list(data_type: pa.DataType) -> bool:
    return pa.types.is_list(data_type) or pa.types.is_large_list(data_type)


def _read_lists(lists: pa.Array, feature: CategoricalColumn, problems: Problems) -> Values:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    parts = encode_texts(lists.flatten(), feature.column)
    codes, texts, weights = parts.codes, parts.texts, None
    rows = np.repeat(np.arange(len(lengths)), lengths)
    if feature.weight_separator:
        texts, weights, part_problems = _split_weights(texts, feature)
        _note_parts(problems, part_problems, rows, codes)
        weights = weights[codes]
        text_codes, texts = pd.factorize(texts)
        codes = text_codes.astype(np.int32)[codes]
    kept = (texts != "")[codes]
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(np.bincount(rows[kept], minlength=len(lengths)), out=offsets[1:])
    return Values(codes[kept], texts, offsets, None if weights is None else weights[kept])


def _split_weights(
    parts: np.ndarray, feature: CategoricalColumn
) -> tuple[np.ndarray, np.ndarray, Problems]:
    """Cuts the weight off each part, at the last separator in it; 1 where it has none."""
    pairs = pc.split_pattern(
        pa.array(parts, pa.string()), feature.weight_separator, max_splits=1, reverse=True
    )
    starts = pairs.offsets.to_numpy()
    flat = pairs.flatten()
    weight_texts = pc.if_else(
        pa.array(np.diff(starts) == 2), flat.take(pa.array(starts[1:] - 1)), "1"
    )
    problems: Problems = {}
    weights = to_weights(weight_texts, f"the weight of a value in {feature.column}", problems)
    texts = flat.take(pa.array(starts[:-1])).to_numpy(zero_copy_only=False)
    return texts, weights, problems


def _note_parts(
    problems: Problems, part_problems: Problems, rows: np.ndarray, codes: np.ndarray
) -> None:
    """Puts what is wrong with parts, by their code, to the rows that have them."""
    if part_problems:
        is_bad = np.isin(codes, list(part_problems))
        for row, code in zip(rows[is_bad], codes[is_bad], strict=True):
            problems.setdefault(int(row), part_problems[int(code)])


def _read_flags(
    columns: Mapping[str, pa.Array], feature: CategoricalColumn, problems: Problems
) -> Values:
    flags = np.stack([to_numbers(columns[name], name, problems) for name in feature.flags], axis=1)
    is_set = flags == 1
    is_wrong = ~is_set & (flags != 0) & ~np.isnan(flags)
    for row, place in zip(*np.nonzero(is_wrong), strict=True):
        problem = f"{feature.flags[place]} is {flags[row, place]:g}, expected 0 or 1"
        problems.setdefault(int(row), problem)
    offsets = np.zeros(len(is_set) + 1, np.int64)
    np.cumsum(is_set.sum(axis=1), out=offsets[1:])
    codes = np.nonzero(is_set)[1].astype(np.int32)
    return Values(codes, np.array(feature.flags, dtype=object), offsets)
