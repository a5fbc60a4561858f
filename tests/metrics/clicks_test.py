"""Click metrics against pairs counted one by one and formulas in plain Python."""

import math

import numpy as np
import pytest

from tfrec_zoo.metrics import clicks


def count_pairs(labels, scores, weights):
    """AUC by its definition: over all pairs of a click and another."""
    won = total = 0.0
    for i, j in zip(*np.where(labels[:, None] > labels[None, :]), strict=True):
        pair = weights[i] * weights[j]
        total += pair
        won += pair * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
    return won / total


def make_examples(seed=0, count=60):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    # Rounded, so that scores tie within and across labels.
    logits = np.round(rng.normal(size=count) + labels, 1)
    return labels, logits, rng.integers(1, 4, count).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_pairs_in_order(seed):
    labels, logits, weights = make_examples(seed)
    ones = np.ones(len(labels))
    assert clicks.roc_auc(labels, logits) == pytest.approx(count_pairs(labels, logits, ones))
    weighted = clicks.roc_auc(labels, logits, weights)
    assert weighted == pytest.approx(count_pairs(labels, logits, weights), rel=1e-12)


def test_auc_worked_by_hand():
    assert clicks.roc_auc([0, 1, 1, 0], [0.1, 0.4, 0.35, 0.35]) == 3.5 / 4
    assert clicks.roc_auc([0, 1], [1.0, 1.0]) == 0.5
    assert clicks.roc_auc([1, 0], [-5.0, 5.0]) == 0.0


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_auc_of_one_kind_of_label_is_undefined(labels):
    binned = clicks.BinnedAUC()
    binned.update(labels, [1.0, 2.0, 3.0])
    assert math.isnan(binned.result())
    metrics = clicks.click_metrics(labels, [1.0, 2.0, 3.0])
    assert math.isnan(metrics["auc"]) and math.isnan(metrics["normalized_entropy"])
    assert math.isfinite(metrics["log_loss"]) and math.isfinite(metrics["accuracy"])
    assert math.isnan(metrics["calibration"]) == (labels[0] == 0)


def test_a_score_that_is_not_a_number_has_no_auc():
    assert math.isnan(clicks.roc_auc([0, 1], [0.5, float("nan")]))


def test_the_metrics_by_their_formulas():
    labels, logits, weights = make_examples()
    total = weights.sum()
    p = [1 / (1 + math.exp(-z)) for z in logits]
    wanted_loss = rate = predicted = right = 0.0
    for y, q, w in zip(labels, p, weights, strict=True):
        wanted_loss -= w * math.log(q if y else 1 - q) / total
        rate += w * y / total
        predicted += w * q / total
        right += w * ((q > 0.5) == y) / total
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    metrics = clicks.click_metrics(labels, logits, weights)
    assert metrics == {
        "auc": clicks.roc_auc(labels, logits, weights),
        "log_loss": pytest.approx(wanted_loss),
        "normalized_entropy": pytest.approx(wanted_loss / entropy),
        "calibration": pytest.approx(predicted / rate),
        "accuracy": pytest.approx(right),
    }


def test_a_whole_weight_is_so_many_examples():
    labels, logits, weights = make_examples()
    times = weights.astype(int)
    repeated = clicks.click_metrics(np.repeat(labels, times), np.repeat(logits, times))
    assert clicks.click_metrics(labels, logits, weights) == pytest.approx(repeated)


def test_extreme_logits_stay_finite_and_exact():
    assert clicks.log_loss([1, 0], [-800.0, 800.0]) == 800.0
    assert clicks.log_loss([1, 0], [800.0, -800.0]) == 0.0
    assert clicks.probabilities([-800.0, 0.0, 800.0]).tolist() == [0.0, 0.5, 1.0]


def test_the_constant_rate_has_normalized_entropy_and_calibration_one():
    labels = np.array([1, 0, 0, 0])
    logits = np.full(4, math.log(1 / 3))
    assert clicks.normalized_entropy(labels, logits) == pytest.approx(1.0)
    assert clicks.calibration(labels, logits) == pytest.approx(1.0)


def test_a_stream_in_bins_comes_close_to_the_exact_area():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 20000)
    logits = rng.normal(size=20000) + labels
    weights = rng.uniform(0.5, 2.0, 20000)
    binned = clicks.BinnedAUC()
    for part in np.array_split(np.arange(20000), 7):
        binned.update(labels[part], logits[part], weights[part])
    assert binned.result() == pytest.approx(clicks.roc_auc(labels, logits, weights), abs=1e-4)


def test_slices_are_measured_apart_and_the_largest_comes_first():
    labels, logits, weights = make_examples()
    slices = np.array(["mobile", "desktop", "mobile"] * 20)
    found = clicks.metrics_by_slice(labels, logits, slices, weights)
    assert list(found) == ["mobile", "desktop"]
    for name, metrics in found.items():
        chosen = slices == name
        wanted = clicks.click_metrics(labels[chosen], logits[chosen], weights[chosen])
        assert metrics == {"num_examples": int(chosen.sum()), **wanted}


@pytest.mark.parametrize("arguments", [([], []), ([1, 0], [0.0, 1.0], [0.0, 0.0])])
def test_nothing_to_measure_is_refused(arguments):
    with pytest.raises(ValueError, match=r"^there is nothing to measure: \d examples"):
        clicks.click_metrics(*arguments)


@pytest.mark.parametrize("has_weights", [False, True])
def test_streamed_metrics_are_those_of_all_examples_at_once(has_weights):
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 3000).astype(np.float32)
    logits = rng.normal(size=3000) + labels
    weights = rng.uniform(0, 2, 3000) if has_weights else None
    streamed = clicks.StreamedClickMetrics()
    for part in np.array_split(np.arange(3000), 7):
        streamed.update(labels[part], logits[part], None if weights is None else weights[part])
    expected = clicks.click_metrics(labels, logits, weights)
    found = streamed.result()
    assert found.keys() == expected.keys()
    assert found.pop("auc") == pytest.approx(expected.pop("auc"), abs=1e-3)
    assert found == pytest.approx(expected, rel=1e-9)
    assert streamed.click_rate == pytest.approx(np.average(labels, weights=weights))
    assert streamed.num_examples == 3000


def test_nothing_streamed_is_nothing_to_measure():
    streamed = clicks.StreamedClickMetrics()
    streamed.update(np.ones(2), np.ones(2), np.zeros(2))
    with pytest.raises(ValueError, match="there is nothing to measure"):
        streamed.result()
    streamed.update(np.zeros(2), np.ones(2))
    assert np.isnan([streamed.result()[name] for name in ("auc", "normalized_entropy")]).all()
