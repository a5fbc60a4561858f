"""The exact best items of queries among vectors that are stored as float16 or int8."""

import numpy as np
import tensorflow as tf

from tfrec_zoo.item_index.exact_search import ExactSearch
from tfrec_zoo.layers.quantized_table import QuantizedColumns


class QuantizedSearch(ExactSearch):
    """An `ExactSearch` whose items have the products of their quantized vectors.

    Attributes:
        columns: the vectors.
    """

    def __init__(
        self, ids: np.ndarray, vectors: np.ndarray, table_format: str, num_exact_columns: int = 0
    ) -> None:
        """Quantizes the vectors.

        Args:
            ids: object [V], a `str` each.
            vectors: float32 [V, D], finite.
            table_format: see `tfrec_zoo.layers.row_quantization`.
            num_exact_columns: the last numbers of a vector that stay float32.
        """
        self._table_format, self._num_exact_columns = table_format, num_exact_columns
        super().__init__(ids, vectors)

    def keep_vectors(self, vectors: np.ndarray) -> None:
        """Stores the vectors float32 [V, D] as `chunks` of `chunk_items`, float16 or int8."""
        self.columns = QuantizedColumns(vectors, self._table_format, self._num_exact_columns)
        self.chunk_items, self.chunks = self.columns.chunk_rows, self.columns.values

    def multiply(self, queries: tf.Tensor, number: int) -> tf.Tensor:
        """Returns the products of queries float [B, D] with the items of a chunk, float [B, n]."""
        return self.columns.multiply_chunk(queries, number)
