"""A table of items read whole: each item once, with the content that the table gives it."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec

Paths = str | os.PathLike | Iterable[str | os.PathLike]


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Items and their content.

    Attributes:
        block: a row an item, in the order of the first appearance of its id.
        num_duplicates: rows left out because an earlier one says the same of the same item.
        num_bad_rows: rows passed over because of what is wrong with them.
    """

    block: TableBlock
    num_duplicates: int = 0
    num_bad_rows: int = 0

    @property
    def ids(self) -> np.ndarray:
        """The items' ids, object [n]."""
        return self.block.ids

    def append_ids(self, ids: np.ndarray, spec: TableSpec) -> "ItemTable":
        """Returns the table with items more, of which only the ids are known; object [m]."""
        return replace(self, block=_concatenate([self.block, make_items_of_ids(ids, spec)]))

    def is_empty(self, spec: TableSpec) -> np.ndarray:
        """Returns which items have no content but their id; bool [n]."""
        is_empty = np.ones(self.block.num_rows, bool)
        for numbers in self.block.dense.values():
            is_empty &= np.isnan(numbers)
        for numbers in self.block.vectors.values():
            is_empty &= np.isnan(numbers).all(axis=1)
        for feature in spec.categorical:
            if feature.buckets or feature.columns == (spec.id,):
                continue
            values = self.block.categorical[feature.name]
            if values.offsets is None:
                is_empty &= (values.texts == "")[values.codes]
            else:
                is_empty &= np.diff(values.offsets) == 0
        return is_empty


def read_item_table(
    paths: Paths,
    spec: TableSpec,
    *,
    max_bad_rows: int = 0,
    on_bad_row: Callable[[str], None] = lambda sentence: None,
) -> ItemTable:
    """Reads the files of a table of items.

    Args:
        paths: a file or several; a name with wildcards stands for all files that match.
        spec: what their columns are, `id` among them.
        max_bad_rows: items that may be passed over because of what is wrong with them.
        on_bad_row: is told what is wrong with each of those, and where it is.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what it should be, or two rows say different things of one item.
    """
    if not spec.id:
        raise ValueError(
            'the column specification names no id: say in which column the items\' ids are, "id": '
            '"NewsId"'
        )
    blocks = list(
        read_table_blocks(
            paths, spec, max_bad_rows=max_bad_rows, needs_label=False, on_bad_row=on_bad_row
        )
    )
    num_bad_rows = blocks[-1].num_bad_rows
    block = _concatenate(blocks)
    if not block.num_rows:
        raise ValueError(f"the table of items has no good row, only {num_bad_rows:,} bad ones")
    codes, _ = pd.factorize(block.ids)
    _, first_rows = np.unique(codes, return_index=True)
    firsts = first_rows[codes]
    repeated = np.flatnonzero(firsts != np.arange(len(firsts)))
    if len(repeated):
        _refuse_different(block, blocks, firsts[repeated], repeated)
        block = block.take(np.sort(first_rows))
    return ItemTable(block, len(repeated), num_bad_rows)


def make_items_of_ids(ids: np.ndarray, spec: TableSpec) -> TableBlock:
    """Returns items, object [n], of which nothing is known but the ids."""
    num_rows = len(ids)
    categorical = {}
    for feature in spec.categorical:
        if feature.buckets:
            continue
        if feature.columns == (spec.id,) and not feature.is_multi_valued:
            values = Values(np.arange(num_rows, dtype=np.int32), ids)
        elif feature.is_multi_valued:
            values = Values(
                np.zeros(0, np.int32), np.zeros(0, object), np.zeros(num_rows + 1, np.int64)
            )
            if feature.weight_separator:
                values = replace(values, weights=np.zeros(0, np.float32))
        else:
            values = Values(np.zeros(num_rows, np.int32), np.array([""], dtype=object))
        categorical[feature.name] = values
    return TableBlock(
        num_rows=num_rows,
        labels=None,
        weights=None,
        times=np.full(num_rows, np.nan) if spec.time else None,
        dense={name: np.full(num_rows, np.nan, np.float32) for name in spec.numeric_columns},
        categorical=categorical,
        vectors={v.name: np.full((num_rows, v.size), np.nan, np.float32) for v in spec.vectors},
        ids=ids,
        numbers=np.zeros(num_rows, np.int64),
    )


def _refuse_different(
    block: TableBlock, blocks: Sequence[TableBlock], firsts: np.ndarray, others: np.ndarray
) -> None:
    """Raises ValueError unless the rows `others` say what the rows `firsts` say, [k] each."""
    is_equal = np.ones(len(firsts), bool)
    one, other = block.take(firsts), block.take(others)
    if block.times is not None:
        is_equal &= one.times == other.times
    for name in block.dense:
        is_equal &= _equal_numbers(one.dense[name], other.dense[name])
    for name in block.vectors:
        is_equal &= _equal_numbers(one.vectors[name], other.vectors[name]).all(axis=1)
    for name in block.categorical:
        is_equal &= _equal_values(one.categorical[name], other.categorical[name])
    if is_equal.all():
        return
    place = int(np.argmin(is_equal))
    starts = np.cumsum([0, *(part.num_rows for part in blocks)])
    names = []
    for row in (firsts[place], others[place]):
        number = int(np.searchsorted(starts, row, side="right")) - 1
        names.append(f"{blocks[number].place} {block.numbers[row]}")
    raise ValueError(
        f"{names[0]}, and {names[1]}: item {block.ids[others[place]]!r} is there twice with "
        "different content, keep the row that is right"
    )


def _equal_numbers(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one == other) | (np.isnan(one) & np.isnan(other))


def _equal_values(one: Values, other: Values) -> np.ndarray:
    """Returns which rows have the same values, bool [k]; both are of the same texts."""
    if one.offsets is None:
        return one.codes == other.codes
    is_equal = np.diff(one.offsets) == np.diff(other.offsets)
    rows = np.flatnonzero(is_equal)
    one, other = one.take(rows), other.take(rows)
    differs = one.codes != other.codes
    if one.weights is not None:
        differs |= one.weights != other.weights
    is_equal[np.repeat(rows, np.diff(one.offsets))[differs]] = False
    return is_equal


def _concatenate(blocks: Sequence[TableBlock]) -> TableBlock:
    if len(blocks) == 1:
        return blocks[0]

    def join(arrays: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(arrays))

    first = blocks[0]
    return TableBlock(
        num_rows=sum(block.num_rows for block in blocks),
        labels=None,
        weights=None,
        times=None if first.times is None else join(block.times for block in blocks),
        dense={name: join(block.dense[name] for block in blocks) for name in first.dense},
        categorical={
            name: _concatenate_values([block.categorical[name] for block in blocks])
            for name in first.categorical
        },
        vectors={name: join(block.vectors[name] for block in blocks) for name in first.vectors},
        ids=join(block.ids for block in blocks),
        numbers=join(block.numbers for block in blocks),
        place=first.place,
    )


def _concatenate_values(parts: Sequence[Values]) -> Values:
    """Returns the values of one part after the other; the texts are distinct."""
    chunks = [
        pa.DictionaryArray.from_arrays(part.codes, pa.array(part.texts, pa.large_string()))
        for part in parts
    ]
    chunks = pa.chunked_array(chunks).unify_dictionaries().chunks
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks]).astype(np.int32)
    texts = chunks[0].dictionary.to_numpy(zero_copy_only=False)
    if parts[0].offsets is None:
        return Values(codes, texts)
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    weights = None
    if parts[0].weights is not None:
        weights = np.concatenate([part.weights for part in parts])
    return Values(codes, texts, offsets, weights)
