"""Tables of float16 or int8 in a graph: rows that are looked up, columns that are multiplied by.

Both unpack in the processor's cache what they read of memory, so that memory holds the small
numbers alone. Of each row the last numbers may stay float32: a bias weighs more than the numbers
beside it, and would set the scale of its row.
"""

import numpy as np
import tensorflow as tf

from tfrec_zoo.layers.row_quantization import QuantizedRows, dequantize_rows, quantize_rows

# Numbers that are unpacked at once: 3 MiB of float32, which stay in the cache. Above 32 MiB memory
# would be given back to the system and asked for anew with each product, ten times slower.
_CHUNK_NUMBERS = 800_000


class QuantizedTable(tf.Module):
    """A table that rows are looked up in: float16 or int8 [R, W] and float32 [R, X] behind it.

    Attributes:
        values: float16 or int8 [R, W].
        scales: float32 [R], what the values of a row are multiplied by; None of float16.
        exact: float32 [R, X], the last columns; None where there are none.
    """

    def __init__(self, rows: np.ndarray, table_format: str, num_exact_columns: int = 0) -> None:
        """Quantizes the rows.

        Args:
            rows: float32 [R, W + X].
            table_format: see `tfrec_zoo.layers.row_quantization`.
            num_exact_columns: X, the last columns that stay as they are.

        Raises:
            ValueError: a number cannot be stored in this format.
        """
        super().__init__(name="quantized_table")
        rows = np.asarray(rows)
        packed, exact = _pack(rows, table_format, num_exact_columns)
        self.shape = rows.shape
        self.values = _keep(packed.values, "values")
        self.scales = None if packed.scales is None else _keep(packed.scales, "scales")
        self.exact = _keep(exact, "exact") if num_exact_columns else None

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the rows int32 [...] as float32 [..., W + X]."""
        found = self.gather_values(rows)
        if self.exact is None:
            return found
        return tf.concat([found, tf.gather(self.exact, rows)], axis=-1)

    def gather_values(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the rows int32 [...] without their last columns, float32 [..., W]."""
        found = tf.cast(tf.gather(self.values, rows), tf.float32)
        if self.scales is None:
            return found
        return found * tf.gather(self.scales, rows)[..., None]

    def numpy(self) -> np.ndarray:
        """Returns the whole table as it is looked up, float32 [R, W + X]."""
        scales = None if self.scales is None else self.scales.numpy()
        rows = dequantize_rows(QuantizedRows(self.values.numpy(), scales))
        return rows if self.exact is None else np.column_stack([rows, self.exact.numpy()])


class QuantizedColumns(tf.Module):
    """A table that vectors are multiplied by, in chunks of rows that lie as columns.

    Attributes:
        values: float16 or int8 [W, n] of each chunk.
        scales: float32 [n] of each chunk, which the products are multiplied by; none of float16.
        exact: float32 [X, n] of each chunk, the last columns of the table; none where it has none.
        chunk_rows: n, of all chunks but the last.
        width: W.
    """

    def __init__(self, rows: np.ndarray, table_format: str, num_exact_columns: int = 0) -> None:
        """Quantizes the rows, see `QuantizedTable`."""
        super().__init__(name="quantized_columns")
        rows = np.asarray(rows)
        packed, exact = _pack(rows, table_format, num_exact_columns)
        self.chunk_rows = _choose_chunk_rows(packed.values.shape[1])
        starts = range(0, len(rows), self.chunk_rows)

        def cut(columns: np.ndarray | None, name: str) -> list[tf.Variable]:
            if columns is None or not columns.size:
                return []
            parts = (columns[..., start : start + self.chunk_rows] for start in starts)
            return [_keep(np.ascontiguousarray(part), name) for part in parts]

        self.width = packed.values.shape[1]
        self.values = cut(packed.values.T, "values")
        self.scales = cut(packed.scales, "scales")
        self.exact = cut(exact.T, "exact")

    @property
    def num_chunks(self) -> int:
        """The number of chunks."""
        return len(self.values)

    def multiply_chunk(self, vectors: tf.Tensor, number: int) -> tf.Tensor:
        """Returns the products of vectors float32 [B, W + X] with a chunk, float32 [B, n]."""
        products = tf.matmul(vectors[:, : self.width], tf.cast(self.values[number], tf.float32))
        if self.scales:
            products *= self.scales[number]
        if self.exact:
            # Term by term: a product of matrices with so few columns takes longer than all else.
            for place, column in enumerate(tf.unstack(self.exact[number])):
                products += vectors[:, self.width + place, None] * column
        return products

    def multiply(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns the products of vectors float32 [B, W + X] with all rows, float32 [B, R]."""
        products = []
        for number in range(self.num_chunks):
            # One after the other, so that they share the memory of what is unpacked.
            with tf.control_dependencies(products[-1:]):
                products.append(self.multiply_chunk(vectors, number))
        return products[0] if len(products) == 1 else tf.concat(products, axis=1)

    def numpy(self) -> np.ndarray:
        """Returns the rows that vectors are multiplied by, float32 [R, W + X]."""
        rows = np.concatenate([part.numpy() for part in self.values], axis=1).T
        scales = np.concatenate([part.numpy() for part in self.scales]) if self.scales else None
        rows = dequantize_rows(QuantizedRows(rows, scales))
        exact = [part.numpy().T for part in self.exact]
        return np.column_stack([rows, np.concatenate(exact)]) if exact else rows


def round_rows(rows: np.ndarray, table_format: str, num_exact_columns: int = 0) -> np.ndarray:
    """Returns the rows float32 [R, W + X] as tables of this format have them."""
    packed, exact = _pack(np.asarray(rows), table_format, num_exact_columns)
    return np.column_stack([dequantize_rows(packed), exact])


def _pack(
    rows: np.ndarray, table_format: str, num_exact_columns: int
) -> tuple[QuantizedRows, np.ndarray]:
    width = rows.shape[1] - num_exact_columns
    return quantize_rows(rows[:, :width], table_format), rows[:, width:].astype(np.float32)


def _keep(values: np.ndarray, name: str) -> tf.Variable:
    return tf.Variable(values, trainable=False, name=name)


def _choose_chunk_rows(width: int) -> int:
    """Returns how many rows of `width` numbers are unpacked at once.

    Not near a multiple of 1024: columns that far apart share lines of the cache.
    """
    return 16 + 1024 * max(1, round(_CHUNK_NUMBERS / 1024 / max(width, 1)))
