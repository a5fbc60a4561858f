import numpy as np
import pytest
import row_oracle
import tensorflow as tf

from tfrec_zoo.layers.quantized_table import QuantizedColumns, QuantizedTable, round_rows


def make_rows(num_rows, width, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(num_rows, width)) * rng.uniform(0.1, 3, (num_rows, 1))).astype("f")


@pytest.mark.parametrize("table_format", ["float16", "int8"])
@pytest.mark.parametrize("num_exact", [0, 1, 2])
def test_rows_are_the_rounded_ones_and_the_last_columns_as_they_are(table_format, num_exact):
    rows = make_rows(50, 9)
    rows[:, 9 - num_exact :] *= 1000
    table = QuantizedTable(rows, table_format, num_exact)
    width = 9 - num_exact
    expected = row_oracle.round_rows(rows, table_format, num_exact)
    np.testing.assert_array_equal(table.numpy(), expected)
    np.testing.assert_array_equal(round_rows(rows, table_format, num_exact), expected)
    places = np.array([[3, 49], [0, 3]], np.int32)
    np.testing.assert_array_equal(table.gather(places), expected[places])
    np.testing.assert_array_equal(table.gather_values(places), expected[places][..., :width])
    assert table.shape == (50, 9)


@pytest.mark.parametrize("table_format", ["float16", "int8"])
@pytest.mark.parametrize("num_exact", [0, 2])
@pytest.mark.parametrize("width", [5, 400])  # of one chunk, and of several
def test_products_are_those_of_the_rounded_rows(table_format, num_exact, width):
    rows, vectors = make_rows(4500, width), make_rows(3, width, seed=1)
    columns = QuantizedColumns(rows, table_format, num_exact)
    assert len(columns.values) == columns.num_chunks == (1 if width == 5 else 3)
    rounded = row_oracle.round_rows(rows, table_format, num_exact)
    np.testing.assert_array_equal(columns.numpy(), rounded)
    products = tf.function(columns.multiply)(tf.constant(vectors))
    assert products.shape == (3, 4500)
    np.testing.assert_allclose(
        products, vectors.astype(np.float64) @ rounded.T, rtol=1e-4, atol=1e-4
    )


def test_only_small_numbers_are_kept():
    rows = make_rows(1000, 64)
    for table_format, bits in {"float16": 16, "int8": 8}.items():
        for kept in (QuantizedTable(rows, table_format), QuantizedColumns(rows, table_format)):
            found = sum(np.asarray(v).nbytes for v in kept.variables)
            assert found == 1000 * (64 * bits // 8 + 4 * (table_format == "int8"))
