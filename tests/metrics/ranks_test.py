"""Counts of better and equal scores against a loop over the candidates."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.metrics.ranks import MIN_EXACT_EVENTS, count_competitors


def count_slowly(scores, target, is_candidate):
    others = [j for j in range(len(scores)) if is_candidate[j] and j != target]
    greater = sum(scores[j] > scores[target] for j in others)
    return greater, sum(scores[j] == scores[target] for j in others)


@pytest.mark.parametrize("num_rows", [23, 1023, 3000])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_counts_equal_a_loop_over_the_candidates(num_rows, jit_compile):
    rng = np.random.default_rng(0)
    scores = rng.integers(-3, 4, (40, num_rows)).astype(np.float32)
    targets = rng.integers(0, num_rows, 40).astype(np.int32)
    is_candidate = rng.random(num_rows) < 0.6
    count = tf.function(count_competitors, jit_compile=jit_compile)
    greater, equal, nan = count(scores, targets, is_candidate)
    expected = [count_slowly(*event, is_candidate) for event in zip(scores, targets, strict=True)]
    np.testing.assert_array_equal(np.transpose([greater, equal]), expected)
    assert not is_candidate[targets].all() and is_candidate[targets].any()
    assert not np.any(nan)


def test_scores_that_are_no_numbers_are_counted():
    scores = np.zeros((3, 5), np.float32)
    scores[1, 2] = scores[1, 4] = np.nan
    scores[2, 1] = np.nan
    is_candidate = np.array([False, True, True, True, True])
    targets = np.array([1, 1, 1], np.int32)
    np.testing.assert_array_equal(count_competitors(scores, targets, is_candidate)[2], [0, 2, 4])


@pytest.mark.parametrize("num_rows", [17, 101, 1003, 4099])
@pytest.mark.parametrize("width", [17, 101])
def test_equal_item_vectors_score_equally_in_every_column(num_rows, width):
    rng = np.random.default_rng(num_rows)
    table = np.tile(rng.normal(size=width).astype(np.float32), (num_rows, 1))
    vectors = rng.normal(size=(MIN_EXACT_EVENTS, width)).astype(np.float32)
    score = tf.function(lambda v: tf.matmul(v, table, transpose_b=True), jit_compile=True)
    targets = np.full(MIN_EXACT_EVENTS, num_rows - 1, np.int32)
    _, equal, _ = count_competitors(score(vectors), targets, np.ones(num_rows, bool))
    np.testing.assert_array_equal(equal, num_rows - 1)


def test_a_catalogue_of_two_million_items_is_counted():
    num_rows = 2**21 + 1000
    scores = np.tile(np.arange(num_rows, dtype=np.float32) // 2, (1, 1))
    targets = np.array([num_rows - 7], np.int32)
    is_candidate = np.arange(num_rows) > 0
    counts = np.ravel(count_competitors(tf.constant(scores), targets, is_candidate))
    assert counts.tolist() == [6, 1, 0]
    lowest = np.array([2], np.int32)
    counts = np.ravel(count_competitors(tf.constant(scores), lowest, is_candidate))
    assert counts.tolist() == [num_rows - 4, 1, 0]
