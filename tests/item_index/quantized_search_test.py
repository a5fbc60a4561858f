import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.item_index.exact_search import ExactSearch
from tfrec_zoo.item_index.quantized_search import QuantizedSearch
from tfrec_zoo.layers.quantized_table import round_rows


@pytest.mark.parametrize("table_format", ["float16", "int8"])
def test_the_best_are_those_of_the_rounded_vectors(table_format):
    rng = np.random.default_rng(0)
    # Three chunks; the last two numbers are as those of ages and popularity, and far larger.
    vectors = rng.normal(size=(4500, 400)).astype(np.float32)
    vectors[:, -2:] *= 50
    ids = np.array([f"i{n}" for n in range(len(vectors))], dtype=object)
    queries = rng.normal(size=(70, 400)).astype(np.float32)
    excluded = rng.integers(0, 4501, (70, 3)).astype(np.int32)
    included = rng.integers(0, 4501, (70, 40)).astype(np.int32)
    found = QuantizedSearch(ids, vectors, table_format, num_exact_columns=2)
    assert len(found.chunks) == 3 and found.num_items == 4500 and found.width == 400

    rounded = np.column_stack([round_rows(vectors[:, :-2], table_format), vectors[:, -2:]])
    scores = np.full((70, 4501), -np.inf)
    scores[:, 1:] = queries.astype(np.float64) @ rounded.astype(np.float64).T
    np.put_along_axis(scores, excluded, -np.inf, axis=1)
    expected = -np.sort(-scores, axis=1)[:, :10]
    rows, best = found.search(tf.constant(queries), 10, tf.constant(excluded))
    np.testing.assert_allclose(best, expected, rtol=1e-4)
    np.testing.assert_allclose(
        np.take_along_axis(scores, rows.numpy(), axis=1), expected, rtol=1e-4
    )

    plain = ExactSearch(ids, rounded)
    arguments = (tf.constant(queries), 50, tf.constant(excluded), tf.constant(included))
    for part, other in zip(found.search(*arguments), plain.search(*arguments), strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-3)
