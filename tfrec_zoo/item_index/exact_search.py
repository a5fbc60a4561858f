"""The exact best items of queries by inner product, out of plain TensorFlow operations.

The vectors lie transposed and in chunks, each a matrix of its own: a product with one writes scores
that stay in the processor's cache, and what a search needs beside the vectors does not grow with
the catalogue or the batch.
"""

import math

import numpy as np
import tensorflow as tf

from tfrec_zoo.item_index.top_items import best_columns

# Items of a chunk. Its number has many divisors, which are the sizes of the blocks that the best
# columns are sought in, and is not near a power of two: columns that far apart share cache lines.
CHUNK_ITEMS = 32_832
# Queries that are answered at once: with a chunk's items 8 MiB of scores, above which memory is
# given back to the system and asked for anew with each product.
GROUP_QUERIES = 64


class ExactSearch(tf.Module):
    """The search over item vectors, for a `tf.Module` that is exported or for Python.

    Rows are those of a vocabulary: item i of the catalogue has row i + 1, row 0 is no item.

    Attributes:
        chunks: the vectors in the order of their items, float [D, n] each.
        chunk_items: n, of all chunks but the last.
        item_ids: string [V + 1], the id of each row; "" of row 0.
        num_items: V.
        width: D.
    """

    def __init__(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """Copies the vectors into variables.

        Args:
            ids: object [V], a `str` each.
            vectors: float32 [V, D], finite.
        """
        super().__init__(name="exact_search")
        self.num_items, self.width = vectors.shape
        self.item_ids = tf.Variable(["", *ids], trainable=False, name="item_ids")
        self.chunk_items, self.chunks = CHUNK_ITEMS, []
        self.keep_vectors(vectors)

    def keep_vectors(self, vectors: np.ndarray) -> None:
        """Stores the vectors float32 [V, D] as `chunks` of `chunk_items`."""
        for start in range(0, self.num_items, self.chunk_items):
            chunk = vectors[start : start + self.chunk_items].T
            self.chunks.append(tf.Variable(chunk, trainable=False, name="item_vectors"))

    def multiply(self, queries: tf.Tensor, number: int) -> tf.Tensor:
        """Returns the products of queries float [B, D] with the items of a chunk, float [B, n]."""
        return tf.matmul(queries, self.chunks[number])

    def search(
        self,
        queries: tf.Tensor,
        k: int,
        exclude_rows: tf.Tensor | None = None,
        include_rows: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the k items with the greatest products, by falling score, then by rising row.

        Args:
            queries: float [B, D].
            k: answers of each query.
            exclude_rows: int32 [B, E], items that must not be among the answers; 0: none.
            include_rows: int32 [B, I], the only items that may be, in any order and also more than
                once; 0: none. What is excluded, too, is not answered.

        Returns:
            The rows, int32 [B, k], and their scores, float [B, k]. Where fewer than k items remain
            the rest are rows 0 with scores -inf.
        """
        if queries.shape[0] is not None and queries.shape[0] <= GROUP_QUERIES:
            return self._search_group(queries, k, exclude_rows, include_rows)
        num_queries = tf.shape(queries)[0]

        def answer_group(start: tf.Tensor, *found: tf.Tensor) -> tuple:
            parts = [
                None if whole is None else whole[start : start + GROUP_QUERIES]
                for whole in (queries, exclude_rows, include_rows)
            ]
            answers = self._search_group(parts[0], k, *parts[1:])
            # Few numbers, and no arrays of tensors, which ONNX and LiteRT lack.
            return start + GROUP_QUERIES, *(
                tf.concat([rows, part], axis=0) for rows, part in zip(found, answers, strict=True)
            )

        _, *found = tf.while_loop(
            lambda start, *_: start < num_queries,
            answer_group,
            (0, tf.zeros([0, k], tf.int32), tf.zeros([0, k])),
            shape_invariants=(tf.TensorShape([]), *[tf.TensorShape([None, k])] * 2),
            parallel_iterations=1,
        )
        return tuple(found)

    def _search_group(
        self,
        queries: tf.Tensor,
        k: int,
        exclude_rows: tf.Tensor | None,
        include_rows: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if include_rows is not None:
            include_rows = _keep_first(tf.sort(include_rows, axis=1))
            included_scores = tf.fill(tf.shape(include_rows), -math.inf)
        candidates, done = [], []
        for number in range(len(self.chunks)):
            first_row = 1 + number * self.chunk_items
            # Two chunks at once: one is multiplied while the best of the other are sought.
            with tf.control_dependencies(done[-2:-1]):
                products = self.multiply(queries, number)
            if exclude_rows is not None:
                products = _exclude(products, exclude_rows - first_row)
            if include_rows is None:
                best, columns = best_columns(products, min(k, products.shape[1]))
                candidates.append((best, columns + first_row))
                done.append(best)
            else:
                # An item is in one chunk alone; in the others it has -inf.
                picked = _pick(products, include_rows - first_row)
                included_scores = tf.maximum(included_scores, picked)
                candidates = [(included_scores, include_rows)]
                done.append(included_scores)
        return _merge(candidates, tf.shape(queries)[0], k)


def _merge(
    candidates: list[tuple[tf.Tensor, tf.Tensor]], num_queries: tf.Tensor, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the k best of candidates that are in the order of their rows where scores tie."""
    missing = (tf.fill([num_queries, k], -math.inf), tf.zeros([num_queries, k], tf.int32))
    scores, rows = (tf.concat(parts, axis=1) for parts in zip(*candidates, missing, strict=True))
    best, places = tf.math.top_k(scores, k)
    rows = tf.gather(rows, places, batch_dims=1)
    return tf.where(best == -math.inf, 0, rows), best


def _exclude(scores: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Returns scores [B, n] with -inf at `columns` [B, E]; columns outside are passed over."""
    is_inside = (columns >= 0) & (columns < scores.shape[1])
    places = tf.cast(tf.where(is_inside), tf.int32)
    places = tf.stack([places[:, 0], tf.gather_nd(columns, places)], axis=1)
    return tf.tensor_scatter_nd_update(scores, places, tf.fill(tf.shape(places)[:1], -math.inf))


def _pick(scores: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Returns the scores [B, I] of `columns` [B, I]; -inf for columns outside of [B, n]."""
    is_inside = (columns >= 0) & (columns < scores.shape[1])
    picked = tf.gather(scores, tf.where(is_inside, columns, 0), batch_dims=1)
    return tf.where(is_inside, picked, -math.inf)


def _keep_first(rows: tf.Tensor) -> tf.Tensor:
    """Returns sorted rows [B, I] with 0 in place of repetitions."""
    is_new = rows[:, 1:] != rows[:, :-1]
    return tf.concat([rows[:, :1], tf.where(is_new, rows[:, 1:], 0)], axis=1)
