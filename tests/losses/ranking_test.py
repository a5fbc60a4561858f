"""Each loss and its gradient against its formula, evaluated on lists of negatives in float64."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import list_negatives, log_q, numerical_gradient, ranking_loss

from tfrec_zoo.losses import ranking
from tfrec_zoo.losses.candidates import catalogue_candidates, own_candidates, shared_candidates
from tfrec_zoo.losses.ranking_config import LOSSES

NUM_COLUMNS = 8
# Two events have the target 2, which is drawn as well; 5 is drawn twice, column 7 is not used.
TARGETS, DRAWS = [2, 3, 2, 6], [5, 2, 1, 5]
OWN_DRAWS = [[5, 2, 1], [1, 1, 7], [4, 3, 6], [6, 6, 5]]
COUNTS = np.array([1, 50, 7, 3, 1, 20, 400, 9])
KINDS = (
    "both",
    "in-batch",
    "extra",
    "both, no hits",
    "extra, no hits",
    "own",
    "own, no hits",
    "all",
)


def make_shared(targets, draws, weight=0.0, alpha=1.0, **options):
    counts = [np.bincount(x, minlength=NUM_COLUMNS).astype(np.float32) for x in (targets, draws)]
    log_counts = tf.constant(-weight * np.log(COUNTS), tf.float32)
    return shared_candidates(
        tf.constant(targets), *counts, log_counts, alpha * log_counts, **options
    )


def make_problem(kind, weight=0.0, alpha=1.0):
    """Returns the candidates and of each event the columns, own target first, with corrections."""
    removes_hits, has_in_batch = kind.endswith("no hits"), kind.startswith(("both", "in-batch"))
    draws_of = [DRAWS if kind.startswith(("both", "extra")) else []] * len(TARGETS)
    draws_of = OWN_DRAWS if kind.startswith("own") else draws_of
    if kind == "all":
        draws_of = [[i for i in range(1, NUM_COLUMNS) if i != target] for target in TARGETS]
        candidates = catalogue_candidates(tf.constant(TARGETS), NUM_COLUMNS)
    elif kind.startswith("own"):
        arguments = tf.constant(TARGETS), tf.constant(np.transpose(OWN_DRAWS), tf.int32)
        candidates = own_candidates(*arguments, remove_accidental_hits=removes_hits)
    else:
        candidates = make_shared(
            TARGETS,
            draws_of[0],
            weight,
            alpha,
            has_in_batch_negatives=has_in_batch,
            remove_accidental_hits=removes_hits,
        )
    events = []
    for row, target in enumerate(TARGETS):
        others, draws = list_negatives(
            row, TARGETS, draws_of[row], has_in_batch=has_in_batch, removes_hits=removes_hits
        )
        corrections = log_q(target, others, draws, COUNTS, weight, alpha)
        events.append(([target, *others, *draws], corrections))
    return candidates, events


def compute(name, scores, candidates, smoothing=0.0, penalty=1.0):
    """Returns the losses and the gradient of their weighted sum, so that events are told apart.

    Scores and gradient are [events, candidates] here, a row an event, as in the oracles.
    """
    scores = tf.constant(np.transpose(scores), tf.float32)
    options = {"cross_entropy": (smoothing,), "bpr_max": (penalty,)}.get(name, ())
    with tf.GradientTape() as tape:
        tape.watch(scores)
        losses = getattr(ranking, name)(scores, candidates, *options)
        total = tf.reduce_sum(losses * tf.range(1.0, len(losses) + 1.0))
    return losses.numpy(), tf.convert_to_tensor(tape.gradient(total, scores)).numpy().T


def expect(name, scores, kind, events, **options):
    """The same by the formula. Scores are of columns, or [target, draws] where these are own."""

    def loss_of(row, scores):
        items, corrections = events[row]
        if kind.startswith("own"):
            own = [0] + [n for n, i in enumerate(OWN_DRAWS[row], 1) if i in items[1:]]
            values = scores[row][own]
        else:
            values = scores[row][items]
        return ranking_loss(name, values[0], values[1:], corrections=corrections, **options)

    def total(scores):
        return sum((row + 1) * loss_of(row, scores) for row in range(len(scores)))

    losses = [loss_of(row, scores) for row in range(len(scores))]
    return losses, numerical_gradient(total, scores)


def random_scores(kind, seed=0, scale=1.5):
    width = 1 + len(OWN_DRAWS[0]) if kind.startswith("own") else NUM_COLUMNS
    scores = scale * np.random.default_rng(seed).normal(size=(len(TARGETS), width))
    return scores.astype(np.float32).astype(np.float64)


def assert_equal(computed, expected, rtol=2e-5):
    np.testing.assert_allclose(computed[0], expected[0], rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(computed[1], expected[1], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_those_of_the_formula(name, kind):
    candidates, events = make_problem(kind)
    scores = random_scores(kind)
    assert_equal(compute(name, scores, candidates), expect(name, scores, kind, events))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("weight", "alpha"), [(1.0, 1.0), (0.6, 0.5), (1.0, 0.0)])
@pytest.mark.parametrize("kind", KINDS[:5])
def test_cross_entropy_with_logq_and_smoothing(kind, weight, alpha, smoothing):
    candidates, events = make_problem(kind, weight, alpha)
    scores = random_scores(kind, seed=1)
    wanted = expect("cross_entropy", scores, kind, events, smoothing=smoothing)
    assert_equal(compute("cross_entropy", scores, candidates, smoothing), wanted)


@pytest.mark.parametrize("kind", ["own", "own, no hits", "all"])
def test_smoothing_of_own_negatives_and_of_the_catalogue(kind):
    candidates, events = make_problem(kind)
    scores = random_scores(kind, seed=2)
    wanted = expect("cross_entropy", scores, kind, events, smoothing=0.3)
    assert_equal(compute("cross_entropy", scores, candidates, 0.3), wanted)


@pytest.mark.parametrize("penalty", [0.0, 0.4])
def test_the_score_penalty_weighs_squares_of_the_negatives(penalty):
    candidates, events = make_problem("both")
    scores = random_scores("both", seed=3)
    wanted = expect("bpr_max", scores, "both", events, penalty=penalty)
    assert_equal(compute("bpr_max", scores, candidates, penalty=penalty), wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_target_without_any_negative_has_nothing_to_learn(smoothing):
    """All others are accidental hits."""
    candidates = make_shared([2, 2], [2], remove_accidental_hits=True)
    scores = random_scores("both")[:2]
    for name in LOSSES:
        losses, gradient = compute(name, scores, candidates, smoothing)
        assert np.isfinite(losses).all() and not gradient.any(), name


@pytest.mark.parametrize("name", LOSSES)
def test_huge_scores_stay_finite_and_right(name):
    candidates, events = make_problem("both", weight=0.5 if name == "cross_entropy" else 0.0)
    scores = np.random.default_rng(4).choice([-1e3, -1.0, 0.5, 1e3], (len(TARGETS), NUM_COLUMNS))
    losses, gradient = compute(name, scores, candidates)
    assert np.isfinite(losses).all() and np.isfinite(gradient).all()
    # A float32 of 1000 has steps of 6e-5.
    wanted = expect(name, scores, "both", events)[0]
    np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=2e-4)
    for value in (-1e3, 1e3):
        losses, gradient = compute(name, np.full_like(scores, value), candidates)
        assert np.isfinite(losses).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_the_columns_changes_nothing(name):
    scores = random_scores("both", seed=5)
    candidates, _ = make_problem("both")
    order = np.random.default_rng(6).permutation(NUM_COLUMNS)
    losses, gradient = compute(name, scores, candidates)
    moved = candidates._replace(
        is_target=tf.gather(candidates.is_target, order, axis=0),
        counts=tf.gather(candidates.counts, order, axis=0),
        log_weights=tf.gather(candidates.log_weights, order, axis=0),
    )
    moved_losses, moved_gradient = compute(name, scores[:, order], moved)
    np.testing.assert_allclose(moved_losses, losses, rtol=1e-5)
    np.testing.assert_allclose(moved_gradient, gradient[:, order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_logq_makes_the_sampled_softmax_that_of_the_catalogue(alpha):
    rng = np.random.default_rng(7)
    scores = np.concatenate([[0.0], rng.normal(size=NUM_COLUMNS - 1)])[None]
    weights = np.where(np.arange(NUM_COLUMNS) > 0, COUNTS**alpha, 0.0)

    def mean_gradient(logq_weight):
        gradients = []
        for _ in range(60):
            draws = rng.choice(NUM_COLUMNS, 2000, p=weights / weights.sum())
            candidates = make_shared([3], draws, logq_weight, alpha, has_in_batch_negatives=False)
            gradients.append(compute("cross_entropy", scores, candidates)[1][0])
        return np.mean(gradients, axis=0)

    wanted = compute("cross_entropy", scores, catalogue_candidates(tf.constant([3]), NUM_COLUMNS))
    np.testing.assert_allclose(mean_gradient(1.0), wanted[1][0], atol=0.01)
    assert np.abs(mean_gradient(0.0) - wanted[1][0]).max() > 0.1
