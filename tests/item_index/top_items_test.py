import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.item_index.top_items import top_items


def sort_items(scores, k, excluded):
    """Returns rows and scores by sorting everything, one request at a time."""
    rows, best = [], []
    for line, left_out in zip(scores, excluded, strict=True):
        candidates = [row for row in range(1, len(line)) if row not in left_out]
        candidates.sort(key=lambda row: (-line[row], row))
        candidates = candidates[:k]
        missing = k - len(candidates)
        rows.append(candidates + [0] * missing)
        best.append([line[row] for row in candidates] + [-np.inf] * missing)
    return np.array(rows), np.array(best)


# The larger numbers of rows go through the blocks, whole and with a rest.
@pytest.mark.parametrize("num_rows", [1, 2, 7, 100, 1000, 4096, 5003])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_equals_a_full_sort_with_ties(num_rows, k):
    rng = np.random.default_rng(num_rows + k)
    for num_levels in (3, 1000):
        scores = rng.integers(0, num_levels, (4, num_rows)).astype(np.float32)
        excluded = rng.integers(0, num_rows, (4, 6)).astype(np.int32)
        rows, best = top_items(tf.constant(scores), k, tf.constant(excluded))
        expected_rows, expected_best = sort_items(scores, k, excluded)
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_array_equal(best, expected_best)


def test_without_exclusion_only_the_padding_row_is_left_out():
    scores = np.array([[9.0, 1.0, 3.0, -2.0]], np.float32)
    rows, best = top_items(tf.constant(scores), 2)
    assert rows.numpy().tolist() == [[2, 1]]
    assert best.numpy().tolist() == [[3.0, 1.0]]


def test_fewer_than_k_items_give_a_shorter_answer():
    scores = np.zeros((2, 5000), np.float32)
    excluded = np.stack([np.arange(5000), np.r_[np.arange(4998), 0, 0]]).astype(np.int32)
    rows, best = top_items(tf.constant(scores), 3, tf.constant(excluded))
    assert rows.numpy().tolist() == [[0, 0, 0], [4998, 4999, 0]]
    assert best.numpy().tolist() == [[-np.inf] * 3, [0.0, 0.0, -np.inf]]


def test_no_request_gives_no_answer():
    rows, best = top_items(tf.zeros([0, 5000]), 3, tf.zeros([0, 2], tf.int32))
    assert rows.shape == best.shape == (0, 3)
