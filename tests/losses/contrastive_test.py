"""Losses of retrieval against loops over events and candidates."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.losses.candidates import own_candidates, shared_candidates
from tfrec_zoo.losses.contrastive import hinge, keep_hardest
from tfrec_zoo.losses.ranking import cross_entropy

SCORES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
TARGETS = np.array([0, 2, 2, 5], np.int32)
IN_BATCH = np.array([1, 0, 2, 0, 0, 1], np.float32)
DRAWN = np.array([0, 3, 0, 1, 0, 1], np.float32)


def make_candidates(**options):
    zeros = tf.zeros(6)
    return shared_candidates(tf.constant(TARGETS), IN_BATCH, DRAWN, zeros, zeros, **options)


@pytest.mark.parametrize("remove_accidental_hits", [False, True])
def test_hinge_is_the_mean_over_the_negatives(remove_accidental_hits):
    candidates = make_candidates(remove_accidental_hits=remove_accidental_hits)
    losses = hinge(tf.constant(SCORES), candidates, margin=0.8)
    for event, target in enumerate(TARGETS):
        terms = []
        for column in range(6):
            count = IN_BATCH[column] + DRAWN[column] - (column == target)
            if remove_accidental_hits and column == target:
                count = 0
            difference = 0.8 - SCORES[target, event] + SCORES[column, event]
            terms += int(count) * [max(0.0, difference)]
        assert losses[event].numpy() == pytest.approx(np.mean(terms), rel=1e-5)


def test_hinge_of_one_negative_is_that_of_paddle():
    positive, negative = np.float32([0.9, -0.2, 0.5]), np.float32([0.3, 0.6, -0.9])
    candidates = own_candidates(tf.constant([7, 8, 9]), tf.constant([[1, 2, 3]]))
    losses = hinge(tf.constant(np.stack([positive, negative])), candidates, margin=0.8)
    np.testing.assert_allclose(losses, [0.2, 1.6, 0.0], atol=1e-6)


def test_hinge_without_negatives_is_nothing():
    candidates = own_candidates(tf.constant([7]), tf.constant([[7]]), remove_accidental_hits=True)
    assert hinge(tf.constant([[0.1], [0.1]]), candidates, 0.8).numpy() == [0.0]


@pytest.mark.parametrize("num_kept", [1, 2, 9])
def test_the_hardest_negatives_are_kept(num_kept):
    candidates = make_candidates(remove_accidental_hits=True)
    kept = keep_hardest(candidates, tf.constant(SCORES), num_kept)
    losses = cross_entropy(tf.constant(SCORES), kept)
    for event, target in enumerate(TARGETS):
        counts = IN_BATCH + DRAWN
        counts[target] = 0
        negatives = [c for c in np.argsort(-SCORES[:, event]) if counts[c]][:num_kept]
        np.testing.assert_array_equal(np.flatnonzero(kept.counts[:, event]), sorted(negatives))
        odds = sum(counts[c] * np.exp(np.float64(SCORES[c, event])) for c in negatives)
        own = np.exp(np.float64(SCORES[target, event]))
        assert losses[event].numpy() == pytest.approx(-np.log(own / (own + odds)), rel=1e-5)


def test_no_gradient_flows_through_the_choice():
    scores = tf.constant(SCORES)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        kept = keep_hardest(make_candidates(remove_accidental_hits=True), scores, 1)
        loss = tf.reduce_sum(cross_entropy(scores, kept))
    gradient = tape.gradient(loss, scores).numpy()
    for event, target in enumerate(TARGETS):
        touched = set(np.flatnonzero(gradient[:, event]))
        assert touched == {target, *np.flatnonzero(kept.counts[:, event])}
