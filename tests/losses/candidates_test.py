"""What columns are to events, against lists of each event's negatives, one by one."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import list_negatives, log_q

from tfrec_zoo.losses.candidates import catalogue_candidates, own_candidates, shared_candidates

NUM_COLUMNS = 8
# Two events have the target 2, which is drawn as well; 5 is drawn twice, column 7 is not used.
TARGETS, DRAWS = [2, 3, 2, 6], [5, 2, 1, 5]
COUNTS = np.array([1, 50, 7, 3, 1, 20, 400, 9])


def count(items):
    return np.bincount(items, minlength=NUM_COLUMNS).astype(np.float32)


def make_shared(weight=0.0, alpha=0.75, **options):
    in_batch = -weight * np.log(COUNTS)
    return shared_candidates(
        tf.constant(TARGETS),
        tf.constant(count(TARGETS)),
        tf.constant(count(DRAWS)),
        tf.constant(in_batch, tf.float32),
        tf.constant(alpha * in_batch, tf.float32),
        **options,
    )


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("removes_hits", [False, True])
@pytest.mark.parametrize("has_in_batch", [True, False])
def test_shared_columns_stand_for_the_listed_negatives(has_in_batch, removes_hits, weight):
    candidates = make_shared(
        weight, has_in_batch_negatives=has_in_batch, remove_accidental_hits=removes_hits
    )
    log_weights = np.broadcast_to(candidates.log_weights, candidates.is_target.shape).T
    for row, target in enumerate(TARGETS):
        others, draws = list_negatives(
            row, TARGETS, DRAWS, has_in_batch=has_in_batch, removes_hits=removes_hits
        )
        corrections = log_q(target, others, draws, COUNTS, weight, 0.75)
        np.testing.assert_array_equal(
            candidates.is_target[:, row], np.arange(NUM_COLUMNS) == target
        )
        np.testing.assert_array_equal(candidates.counts[:, row], count([*others, *draws]))
        weights = np.zeros(NUM_COLUMNS)
        np.add.at(weights, [target, *others, *draws], np.exp(corrections))
        np.testing.assert_allclose(np.exp(log_weights[row]), weights, rtol=1e-5)
        np.testing.assert_allclose(candidates.target_correction[row], corrections[0], rtol=1e-6)
        wanted = corrections[1:].sum()
        np.testing.assert_allclose(candidates.other_corrections[row], wanted, rtol=1e-5, atol=1e-6)


def test_rare_and_frequent_items_keep_their_weights():
    counts = tf.constant([0.0, 1.0, 1.0])
    corrections = -tf.math.log(tf.constant([1.0, 1.0, 1e9]))
    candidates = shared_candidates(tf.constant([1]), counts, 0 * counts, corrections, corrections)
    np.testing.assert_allclose(candidates.log_weights[1:, 0], [0, -np.log(1e9)], rtol=1e-6)


def test_the_catalogue_is_every_item_but_the_padding_row():
    candidates = catalogue_candidates(tf.constant([3, 1]), 5)
    assert candidates.counts.numpy().T.tolist() == [[0, 1, 1, 0, 1], [0, 0, 1, 1, 1]]
    assert np.exp(candidates.log_weights.numpy()).T.tolist() == [[0, 1, 1, 1, 1]]
    assert np.argmax(candidates.is_target, axis=0).tolist() == [3, 1]
    assert candidates.is_target.numpy().sum() == 2


@pytest.mark.parametrize("removes_hits", [False, True])
def test_negatives_of_each_events_own(removes_hits):
    negatives = [[2, 5, 2], [1, 1, 3]]
    candidates = own_candidates(
        tf.constant([2, 4]),
        tf.constant(np.transpose(negatives), tf.int32),
        remove_accidental_hits=removes_hits,
    )
    kept = [[0, 1, 0], [1, 1, 1]] if removes_hits else [[1, 1, 1], [1, 1, 1]]
    assert candidates.counts.numpy().T.tolist() == [[0, *row] for row in kept]
    assert np.exp(candidates.log_weights.numpy()).T.tolist() == [[1, *row] for row in kept]
    assert candidates.is_target.numpy().T.tolist() == [[True, False, False, False]] * 2
