from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.item_index import exact_search
from tfrec_zoo.item_index.exact_search import ExactSearch

WIDTH = 4


@pytest.fixture
def chunk_items(request, monkeypatch):
    """Items of a chunk: 7 are sorted whole, of 600 the maxima of blocks are sought first."""
    monkeypatch.setattr(exact_search, "CHUNK_ITEMS", request.param)


def draw_vectors(num_vectors, seed, levels=3):
    """Small integers, whose products are exact and often tie."""
    rng = np.random.default_rng(seed)
    return rng.integers(-levels, levels + 1, (num_vectors, WIDTH)).astype(np.float32)


def make_search(num_items, seed=0):
    vectors = draw_vectors(num_items, seed)
    ids = np.array([f"item-{i}" for i in range(num_items)], dtype=object)
    return ExactSearch(ids, vectors), vectors


def sort_items(vectors, queries, k, exclude_rows=None, include_rows=None):
    """Returns rows and scores by sorting everything, one query at a time."""
    rows = np.zeros((len(queries), k), np.int32)
    scores = np.full((len(queries), k), -np.inf)
    for line, query in enumerate(queries):
        products = {i + 1: float(vector @ query) for i, vector in enumerate(vectors)}
        left = set(products)
        if include_rows is not None:
            left &= set(include_rows[line].tolist())
        if exclude_rows is not None:
            left -= set(exclude_rows[line].tolist())
        best = sorted(left, key=lambda row, products=products: (-products[row], row))[:k]
        rows[line, : len(best)] = best
        scores[line, : len(best)] = [products[row] for row in best]
    return rows, scores


def draw_rows(num_items, shape, seed):
    """Rows of items, with repetitions, rows 0 and rows that no item has."""
    return np.random.default_rng(seed).integers(-1, num_items + 3, shape).astype(np.int32)


@pytest.mark.parametrize(
    ("chunk_items", "num_items"),
    [(7, 0), (7, 1), (7, 6), (7, 7), (7, 8), (7, 50), (600, 600), (600, 601), (600, 1900)],
    indirect=["chunk_items"],
)
@pytest.mark.parametrize("k", [1, 5, 20])
def test_equals_a_full_sort_with_ties(chunk_items, num_items, k):
    search, vectors = make_search(num_items)
    queries = draw_vectors(3, seed=1)
    rows, scores = search.search(tf.constant(queries), k)
    expected_rows, expected_scores = sort_items(vectors, queries, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize(
    ("chunk_items", "num_items"),
    [(7, 0), (7, 3), (7, 20), (600, 1900)],
    indirect=["chunk_items"],
)
@pytest.mark.parametrize("num_excluded", [None, 0, 1, 30])
@pytest.mark.parametrize("num_included", [None, 0, 1, 30])
def test_excluded_and_included_items(chunk_items, num_items, num_excluded, num_included):
    search, vectors = make_search(num_items)
    queries = draw_vectors(5, seed=1)
    excluded, included = (
        None if count is None else draw_rows(num_items, (5, count), seed)
        for seed, count in enumerate([num_excluded, num_included])
    )
    rows, scores = search.search(tf.constant(queries), 6, excluded, included)
    expected_rows, expected_scores = sort_items(vectors, queries, 6, excluded, included)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("chunk_items", [7, 600], indirect=True)
def test_an_excluded_item_never_comes_back_where_too_few_remain(chunk_items):
    search, _ = make_search(40)
    excluded = np.arange(1, 39, dtype=np.int32)[None]
    rows, scores = search.search(tf.constant(draw_vectors(1, seed=1)), 5, excluded)
    assert set(rows.numpy()[0]) == {39, 40, 0}
    assert np.isneginf(scores[0, 2:]).all() and np.isfinite(scores[0, :2]).all()


@pytest.mark.parametrize("num_queries", [0, 1, 63, 64, 65, 200])
def test_groups_of_queries_are_answered_as_each_alone(num_queries):
    search, vectors = make_search(50)
    queries = draw_vectors(num_queries, seed=1)
    excluded, included = (draw_rows(50, (num_queries, 30), seed) for seed in (2, 3))
    rows, scores = search.search(tf.constant(queries), 4, excluded, included)
    expected_rows, expected_scores = sort_items(vectors, queries, 4, excluded, included)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


def test_chunks_of_the_true_size():
    rng = np.random.default_rng(0)
    num_items = 2 * exact_search.CHUNK_ITEMS + 1000
    # Integers of which all sums are exact.
    vectors = rng.integers(-1000, 1001, (num_items, 8)).astype(np.float32)
    queries = rng.integers(-1000, 1001, (2, 8)).astype(np.float32)
    search = ExactSearch(np.arange(num_items).astype(str).astype(object), vectors)
    assert [chunk.shape[1] for chunk in search.chunks] == [32_832, 32_832, 1000]
    rows, scores = search.search(tf.constant(queries), 20)
    products = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    expected = np.argsort(-products, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(rows, expected + 1)
    np.testing.assert_array_equal(scores, np.take_along_axis(products, expected, axis=1))


def read_memory(name):
    """Returns a line of the process's status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_memory_does_not_grow_with_the_items_and_the_batch():
    num_items, num_queries = 300_000, 512
    search = ExactSearch(np.full(num_items, "an id", object), draw_vectors(num_items, seed=0))
    queries = tf.constant(draw_vectors(num_queries, seed=1))
    included = tf.constant(draw_rows(num_items, (num_queries, 100), seed=2))
    answer = tf.function(
        lambda: (search.search(queries, 20), search.search(queries, 20, included, included))
    )
    answer()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = read_memory("VmRSS")
    answer()
    all_scores = 4 * num_items * num_queries
    assert read_memory("VmHWM") - before < all_scores / 4


@pytest.mark.parametrize("chunk_items", [600], indirect=True)
def test_a_saved_model_answers_alike_for_any_batch(chunk_items, tmp_path):
    search, vectors = make_search(1900)

    class Served(tf.Module):
        def __init__(self):
            super().__init__()
            self.search = search

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, WIDTH], tf.float32, "queries"),
                tf.TensorSpec([None, None], tf.int32, "excluded"),
            ],
            autograph=False,
        )
        def recommend(self, queries, excluded):
            rows, scores = self.search.search(queries, 5, excluded)
            return {"items": tf.gather(self.search.item_ids, rows), "scores": scores}

    module = Served()
    tf.saved_model.save(module, str(tmp_path), signatures={"recommend": module.recommend})
    recommend = tf.saved_model.load(str(tmp_path)).signatures["recommend"]
    for num_queries in (1, 70):
        queries = draw_vectors(num_queries, seed=num_queries)
        excluded = draw_rows(1900, (num_queries, 9), seed=num_queries)
        answer = recommend(queries=tf.constant(queries), excluded=tf.constant(excluded))
        rows, scores = sort_items(vectors, queries, 5, excluded)
        expected = [[f"item-{row - 1}".encode() for row in line] for line in rows]
        assert answer["items"].numpy().tolist() == expected
        np.testing.assert_array_equal(answer["scores"], scores)
