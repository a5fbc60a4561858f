"""The vocabulary: raw item ids <-> rows of the model's tables, with the number of clicks of each.

Row 0 is padding and every unknown item; item i of the vocabulary has row i + 1. A vocabulary is
made from training data only. It grows by appending, so a row once given keeps its meaning.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tfrec_zoo.atomic_file import replace_file


def as_text_ids(values: Any, what: str = "item ids") -> np.ndarray:
    """Returns raw ids as texts: `str` objects as they are, integers in decimal, bytes from UTF-8.

    Args:
        values: ids in a list, NumPy array, pandas or Arrow column, of any shape.
        what: their name in the error.

    Returns:
        object [...], a `str` each, of the same shape.

    Raises:
        ValueError: an id is missing, a float or of another type, or they are of several types.
    """
    array = np.asarray(values)
    flat = array.ravel().astype(object)
    kind = pd.api.types.infer_dtype(flat, skipna=False)
    if kind in ("integer", "bytes"):
        convert = str if kind == "integer" else bytes.decode
        unique, inverse = np.unique(flat, return_inverse=True)
        texts = np.array([convert(value) for value in unique], dtype=object)
        flat = texts[inverse.ravel()]
    elif kind not in ("string", "empty"):
        raise ValueError(f"{what} must be texts or integers without gaps, got {kind} values")
    return flat.reshape(array.shape)


class Vocabulary:
    """Item ids and their counts; immutable.

    Attributes:
        ids: object [num_items], raw ids (`str`) in row order: `ids[i]` has row i + 1.
        counts: int64 [num_items], clicks of each item in the training data.
    """

    def __init__(self, ids: Sequence[str] | np.ndarray, counts: Sequence[int] | np.ndarray):
        """Takes over ids in row order.

        Raises:
            ValueError: an id is empty, repeated or holds a tab or a line break, a count is
                negative, or the two are not of one length.
        """
        ids = as_text_ids(ids)
        counts = np.asarray(counts, dtype=np.int64)
        if ids.ndim != 1 or ids.shape != counts.shape:
            raise ValueError(f"got ids {list(ids.shape)} and counts {list(counts.shape)}, not [n]")
        _check_ids(ids)
        if counts.size and counts.min() < 0:
            raise ValueError(f"counts must not be negative, got {counts.min()}")
        self._row_ids = np.concatenate([np.array([""], dtype=object), ids])
        self._row_counts = np.concatenate([np.zeros(1, np.int64), counts])
        self._row_ids.flags.writeable = False
        self._row_counts.flags.writeable = False
        # The empty id is in the index, too: as every unknown one, it maps to row 0.
        self._index = pd.Index(self._row_ids, dtype=object)
        if not self._index.is_unique:
            repeated = self._row_ids[self._index.duplicated()][0]
            raise ValueError(f"item id {repeated!r} is in the vocabulary twice")

    @classmethod
    def build(cls, item_ids: Sequence[str] | np.ndarray, counts: Sequence[int]) -> "Vocabulary":
        """Returns the vocabulary of distinct `item_ids`, rows in their order."""
        return cls(item_ids, counts)

    @classmethod
    def from_codes(cls, item_ids: np.ndarray, item_codes: np.ndarray) -> "Vocabulary":
        """Returns the vocabulary of dictionary-encoded clicks, as a `SessionLog` has them.

        Args:
            item_ids: object [n], distinct ids. Those that no click names are left out.
            item_codes: integer [N], the position in `item_ids` of each click.
        """
        counts = np.bincount(item_codes, minlength=len(item_ids))
        return cls(np.asarray(item_ids, dtype=object)[counts > 0], counts[counts > 0])

    @property
    def ids(self) -> np.ndarray:
        """Raw ids in row order, object [num_items]; read-only."""
        return self._row_ids[1:]

    @property
    def counts(self) -> np.ndarray:
        """Clicks of each item in row order, int64 [num_items]; read-only."""
        return self._row_counts[1:]

    @property
    def num_items(self) -> int:
        """The number of items."""
        return len(self._row_ids) - 1

    @property
    def num_rows(self) -> int:
        """The number of rows of a table over the vocabulary: the items and row 0."""
        return len(self._row_ids)

    def __repr__(self) -> str:
        """Returns the size in words."""
        return f"Vocabulary of {self.num_items:,} items, {self.counts.sum():,} clicks"

    def rows(self, raw_ids: Any) -> np.ndarray:
        """Returns the row of each raw id, int32 of the same shape; 0 for unknown and empty ids."""
        raw_ids = as_text_ids(raw_ids)
        rows = self._index.get_indexer(pd.Index(raw_ids.ravel(), dtype=object))
        return np.maximum(rows, 0).astype(np.int32).reshape(raw_ids.shape)

    def raw_ids(self, rows: Any) -> np.ndarray:
        """Returns the raw id of each row, object of the same shape; "" for row 0.

        Raises:
            ValueError: a row is outside the table.
        """
        rows = np.asarray(rows)
        if rows.size and (rows.min() < 0 or rows.max() >= self.num_rows):
            raise ValueError(
                f"rows must be in 0..{self.num_rows - 1}, got {rows.min()}..{rows.max()}"
            )
        return self._row_ids[rows.astype(np.int64)]

    def row_counts(self) -> np.ndarray:
        """Returns the clicks of each row, int64 [num_rows]; 0 for row 0. Read-only."""
        return self._row_counts

    def extend(self, other_ids: Any, counts: Any) -> "Vocabulary":
        """Returns a vocabulary grown by newer clicks: old rows stay, new ids follow in their order.

        Args:
            other_ids: [n] ids, old and new ones.
            counts: [n] clicks to add to each.
        """
        other_ids = as_text_ids(other_ids)
        counts = np.asarray(counts, dtype=np.int64)
        rows = self.rows(other_ids)
        is_new = rows == 0
        new_codes, new_ids = pd.factorize(other_ids[is_new])
        totals = np.concatenate([self._row_counts, np.zeros(len(new_ids), np.int64)])
        rows[is_new] = new_codes + self.num_rows
        np.add.at(totals, rows, counts)
        return Vocabulary(np.concatenate([self.ids, new_ids]), totals[1:])

    def save(self, path: str | os.PathLike) -> None:
        """Writes `vocabulary.tsv`, atomically: a line `id<tab>count` for each row, no header.

        The line number, from 0, is the row, so line 0 is the padding row: an empty id and 0.
        """
        counts = pc.cast(pa.array(self._row_counts), pa.large_string())
        ids = pa.array(self._row_ids, pa.large_string())
        lines = pc.binary_join_element_wise(ids, counts, pa.scalar("\t", pa.large_string()))
        text = "\n".join(lines.to_numpy(zero_copy_only=False)) + "\n"
        with replace_file(path) as temporary:
            temporary.write_bytes(text.encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Vocabulary":
        """Reads what `save` wrote.

        Raises:
            ValueError: the file is not a vocabulary.
            FileNotFoundError: there is none.
        """
        try:
            table = pa_csv.read_csv(
                pa.py_buffer(Path(path).read_bytes()),
                pa_csv.ReadOptions(column_names=["id", "count"], block_size=1 << 24),
                pa_csv.ParseOptions(delimiter="\t", quote_char=False),
                pa_csv.ConvertOptions(column_types={"id": pa.string(), "count": pa.int64()}),
            )
            ids = table["id"].to_numpy()
            counts = table["count"].to_numpy()
            if ids[0] != "" or counts[0] != 0:
                raise ValueError(f"line 0 is for padding, '' and 0, got {ids[0]!r} and {counts[0]}")
            return cls(ids[1:], counts[1:])
        except ValueError as error:
            text = str(error).split("\n")[0]
            raise ValueError(f"{os.fspath(path)} is not a vocabulary file: {text}") from None


def _check_ids(ids: np.ndarray) -> None:
    texts = pa.array(ids, pa.large_string())
    is_bad = pc.or_(pc.equal(texts, ""), pc.match_substring_regex(texts, "[\t\n\r]"))
    if pc.any(is_bad).as_py():
        place = pc.index(is_bad, True).as_py()
        raise ValueError(
            f"item id {ids[place]!r} cannot be in a vocabulary: an id is not empty and has no tab "
            "and no line break"
        )
