"""The catalogue as vectors by id: what a search answers from, changed without the model.

index = ItemIndex(ids, vectors)
index = index.add(new_ids, new_vectors).remove(old_ids)
item_ids, scores = index.search(queries, k=20)
index.save("index")
"""

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tfrec_zoo.item_index.index_folder import read_index_folder, write_index_folder
from tfrec_zoo.vocabulary import Vocabulary, as_text_ids

if TYPE_CHECKING:
    from tfrec_zoo.item_index.exact_search import ExactSearch

Ids = Sequence[str] | np.ndarray


class ItemIndex:
    """Item vectors by id; immutable: what changes an index returns another one.

    Rows are those of a vocabulary: item i, `ids[i]` with `vectors[i]`, has row i + 1, and row 0 is
    no item. The items that remain keep their order, and so the rows rise with the age of the items;
    the row of an item is the same in two indexes only where nothing before it has been removed.

    Attributes:
        ids: object [V], a `str` each; read-only.
        vectors: float32 [V, D]; read-only.
    """

    def __init__(self, ids: Ids, vectors: Any) -> None:
        """Takes over items in the order of their rows.

        Args:
            ids: distinct texts or integers, without tabs and line breaks, [V].
            vectors: numbers, [V, D]. A float32 array is not copied.

        Raises:
            ValueError: an id is repeated, empty or holds a tab or a line break, a vector has
                another length than the others or is not finite, or there are not as many of both.
        """
        ids = as_text_ids(ids)
        self.vectors = _as_vectors(vectors, ids)
        _refuse_repeated(ids)
        self._vocabulary = Vocabulary(ids, np.zeros(len(ids), np.int64))
        self.ids = self._vocabulary.ids

    @property
    def num_items(self) -> int:
        """The number of items, V."""
        return len(self.ids)

    @property
    def width(self) -> int:
        """The numbers of a vector, D."""
        return self.vectors.shape[1]

    def __repr__(self) -> str:
        """Returns the size in words."""
        return f"ItemIndex of {self.num_items:,} items with vectors of {self.width}"

    def rows(self, ids: Any) -> np.ndarray:
        """Returns the row of each id, int32 of the same shape; 0 where the index lacks it."""
        return self._vocabulary.rows(ids)

    def raw_ids(self, rows: Any) -> np.ndarray:
        """Returns the id of each row, object of the same shape; "" for row 0."""
        return self._vocabulary.raw_ids(rows)

    def search(
        self,
        queries: Any,
        k: int,
        *,
        exclude_rows: Any = None,
        include_rows: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the k items with the greatest products, exactly; see `ExactSearch.search`.

        The first search of an index copies its vectors for TensorFlow.

        Args:
            queries: float [B, D].
            k: answers of each query.
            exclude_rows: int [B, E], items that are not to be answered; 0: none.
            include_rows: int [B, I], the only items to be answered; 0: none. `rows` gives both.

        Returns:
            The ids, object [B, k], and the scores, float32 [B, k], by falling score, then by rising
            row. Where fewer than k items remain the rest are "" with scores -inf.

        Raises:
            ValueError: queries of another width, or k below 1.
        """
        queries = np.asarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.width:
            raise ValueError(
                f"queries must be vectors of {self.width} numbers as the items', [B, {self.width}],"
                f" got {list(queries.shape)}"
            )
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        rows, scores = self._exact_search(queries, k, exclude_rows, include_rows)
        return self.raw_ids(rows), scores

    def exact_search(self) -> "ExactSearch":
        """Returns the search as a new `tf.Module`, to be exported."""
        from tfrec_zoo.item_index.exact_search import ExactSearch

        return ExactSearch(self.ids, self.vectors)

    def add(self, ids: Ids, vectors: Any) -> "ItemIndex":
        """Returns an index with new items after the old ones.

        Raises:
            ValueError: an item is in the index already, or see the class.
        """
        ids = as_text_ids(ids)
        vectors = self._as_own_vectors(vectors, ids)
        known = ids[self.rows(ids) > 0]
        if known.size:
            raise ValueError(
                f"item {known[0]!r} is in the index already: update it, or remove it before"
            )
        return ItemIndex(np.concatenate([self.ids, ids]), np.concatenate([self.vectors, vectors]))

    def update(self, ids: Ids, vectors: Any) -> "ItemIndex":
        """Returns an index in which these items have other vectors, and the rows that they had.

        Raises:
            ValueError: an item is not in the index or is named twice, or see the class.
        """
        ids = as_text_ids(ids)
        vectors = self._as_own_vectors(vectors, ids)
        _refuse_repeated(ids)
        changed = self.vectors.copy()
        changed[self._require_rows(ids) - 1] = vectors
        return ItemIndex(self.ids, changed)

    def remove(self, ids: Ids, *, missing_ok: bool = False) -> "ItemIndex":
        """Returns an index without these items, which it never answers, however great k is.

        Args:
            ids: of the items.
            missing_ok: pass over ids that the index lacks, as when a removal is repeated.

        Raises:
            ValueError: an item is not in the index.
        """
        ids = as_text_ids(ids)
        rows = self.rows(ids) if missing_ok else self._require_rows(ids)
        is_kept = np.ones(self.num_items + 1, bool)
        is_kept[rows] = False
        return ItemIndex(self.ids[is_kept[1:]], self.vectors[is_kept[1:]])

    def rebuild(self, ids: Ids, vectors: Any) -> "ItemIndex":
        """Returns an index of these items alone, for the same queries.

        Raises:
            ValueError: the vectors are not as wide as those before, or see the class.
        """
        ids = as_text_ids(ids)
        return ItemIndex(ids, self._as_own_vectors(vectors, ids))

    def save(self, path: str | os.PathLike) -> None:
        """Writes the folder `path`, whole or not at all; an index that is there is replaced.

        The files are those of `tfrec_zoo.item_index.index_folder`.

        Raises:
            ValueError: `path` is something else than an index.
            OSError: it may not be written to, or the disk is full.
        """
        write_index_folder(path, self.ids, self.vectors)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ItemIndex":
        """Reads what `save` wrote. The vectors stay on the disk until they are used.

        Raises:
            ValueError: the folder is no index.
            FileNotFoundError: there is none.
        """
        try:
            return cls(*read_index_folder(path))
        except (ValueError, EOFError) as error:
            raise ValueError(f"{os.fspath(path)} is not an item index: {error}") from None

    @functools.cached_property
    def _exact_search(self) -> Any:
        import tensorflow as tf

        search = tf.function(self.exact_search().search, autograph=False, reduce_retracing=True)

        def run(queries: np.ndarray, k: int, *rows: Any) -> tuple[np.ndarray, np.ndarray]:
            rows = [None if part is None else tf.constant(part, tf.int32) for part in rows]
            return tuple(part.numpy() for part in search(tf.constant(queries), k, *rows))

        return run

    def _as_own_vectors(self, vectors: Any, ids: np.ndarray) -> np.ndarray:
        vectors = _as_vectors(vectors, ids)
        if vectors.shape[1] != self.width and vectors.size:
            raise ValueError(
                f"got vectors of {vectors.shape[1]} numbers, those of the index have {self.width}: "
                "they are of another model"
            )
        return vectors.reshape(-1, self.width)

    def _require_rows(self, ids: np.ndarray) -> np.ndarray:
        rows = self.rows(ids)
        if not rows.all():
            raise ValueError(f"item {ids[rows == 0][0]!r} is not in the index")
        return rows


def _as_vectors(vectors: Any, ids: np.ndarray) -> np.ndarray:
    """Returns vectors as float32 [V, D], not writeable; refuses what cannot be an item's."""
    if hasattr(vectors, "__array__"):
        vectors = np.asarray(vectors)
    if not isinstance(vectors, np.ndarray) or vectors.dtype.hasobject:
        vectors = _stack(vectors, ids)
    # What float32 cannot hold is found below, as not finite.
    with np.errstate(over="ignore"):
        vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise ValueError(
            f"got {len(ids)} ids and vectors {list(vectors.shape)}, expected [{len(ids)}, D]"
        )
    is_finite = np.isfinite(vectors).all(axis=1)
    if not is_finite.all():
        raise ValueError(f"the vector of item {ids[~is_finite][0]!r} is not finite")
    vectors = vectors.view()
    vectors.flags.writeable = False
    return vectors


def _stack(vectors: Sequence[Any], ids: np.ndarray) -> np.ndarray:
    rows = [np.asarray(vector).ravel() for vector in vectors]
    for item_id, row in zip(ids, rows, strict=False):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"the vector of item {item_id!r} has {len(row)} numbers, that of {ids[0]!r} has "
                f"{len(rows[0])}: all of an index are of one length"
            )
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def _refuse_repeated(ids: np.ndarray) -> None:
    is_repeated = pd.Index(ids, dtype=object).duplicated()
    if is_repeated.any():
        raise ValueError(
            f"item {ids[is_repeated][0]!r} is named twice: an index has one vector of an item"
        )
