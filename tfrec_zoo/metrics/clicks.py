"""Metrics of click probabilities: exact over all examples, or binned over a stream.

Conventions: `labels` [N] are 0 or 1; `logits` float [N] are log-odds, so that nothing is lost to
rounding near 0 and 1; `weights` float [N] count an example that often (None: once). A metric that
is not defined is NaN, never a number that looks like one: AUC where all labels are equal, say.
"""

import numpy as np

NUM_AUC_BINS = 8000


def roc_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the area under the ROC curve, exact: P(score of a click > score of another).

    Equal scores count half. Any increasing function of the scores has the same area. NaN where
    only one kind of label has weight.
    """
    values, group = np.unique(np.asarray(scores), return_inverse=True)
    if values.dtype.kind == "f" and len(values) and np.isnan(values[-1]):
        return float("nan")
    clicks, others = _weigh_labels(labels, weights)
    return _area(
        np.bincount(group, clicks, minlength=len(values)),
        np.bincount(group, others, minlength=len(values)),
    )


def _weigh_labels(labels: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns each example's weight as a click and as another, float64 [N] each."""
    labels = np.asarray(labels, np.float64)
    weights = np.ones_like(labels) if weights is None else np.asarray(weights, np.float64)
    return labels * weights, (1.0 - labels) * weights


def _area(clicks: np.ndarray, others: np.ndarray) -> float:
    """Returns the area of the weights [G] of clicks and others, groups in ascending order."""
    pairs = clicks.sum() * others.sum()
    if pairs == 0:
        return float("nan")
    others_below = np.cumsum(others) - others
    return float((clicks * (others_below + 0.5 * others)).sum() / pairs)


def log_loss(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the mean binary cross-entropy in nats, `log(1 + e^z) - y z`."""
    logits = np.asarray(logits, np.float64)
    losses = np.logaddexp(0.0, logits) - np.asarray(labels, np.float64) * logits
    return _mean(losses, weights)


def normalized_entropy(
    labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Returns the log loss as a share of that of the constant click rate (He et al. 2014).

    Below 1 the model knows more than the rate. NaN where all labels are equal.
    """
    rate = _mean(labels, weights)
    if not 0.0 < rate < 1.0:
        return float("nan")
    entropy = -(rate * np.log(rate) + (1.0 - rate) * np.log1p(-rate))
    return float(log_loss(labels, logits, weights) / entropy)


def calibration(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns predicted over observed clicks, 1 where they agree; NaN without any click."""
    rate = _mean(labels, weights)
    return _mean(probabilities(logits), weights) / rate if rate else float("nan")


def accuracy(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the share of examples on the right side of probability 0.5 (itself no click)."""
    is_right = (np.asarray(logits) > 0) == (np.asarray(labels) > 0.5)
    return _mean(is_right, weights)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the logistic function of `logits`, float64, without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    return float(np.average(np.asarray(values, np.float64), weights=weights))


METRICS = {
    "auc": roc_auc,
    "log_loss": log_loss,
    "normalized_entropy": normalized_entropy,
    "calibration": calibration,
    "accuracy": accuracy,
}


def click_metrics(
    labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Returns all of `METRICS`; ValueError where there is nothing to measure."""
    if not len(labels) or (weights is not None and not np.sum(weights) > 0):
        raise ValueError(
            f"there is nothing to measure: {len(labels)} examples, none of them with a weight"
        )
    return {name: metric(labels, logits, weights) for name, metric in METRICS.items()}


def metrics_by_slice(
    labels: np.ndarray,
    logits: np.ndarray,
    slices: np.ndarray,
    weights: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Returns `click_metrics` and `num_examples` of each value in `slices` [N], largest first."""
    values, group, counts = np.unique(slices, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    members_of = np.split(order, np.cumsum(counts)[:-1])
    labels, logits = np.asarray(labels), np.asarray(logits)
    weights = None if weights is None else np.asarray(weights)
    found = {}
    for place in np.argsort(-counts, kind="stable"):
        members = members_of[place]
        chosen = None if weights is None else weights[members]
        metrics = click_metrics(labels[members], logits[members], chosen)
        found[str(values[place])] = {"num_examples": len(members), **metrics}
    return found


class BinnedAUC:
    """AUC of a stream in constant memory: probabilities fall into bins of equal width.

    Probabilities of one bin count as equal, so the error is at most half of the share of pairs
    that a bin mixes.
    """

    def __init__(self, num_bins: int = NUM_AUC_BINS) -> None:
        """Starts without examples."""
        self._num_bins = num_bins
        self._counts = np.zeros((2, num_bins))

    def update(
        self, labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None
    ) -> None:
        """Adds examples."""
        bins = (probabilities(logits) * self._num_bins).astype(np.int64)
        bins = np.minimum(bins, self._num_bins - 1)
        for counts, given in zip(self._counts, _weigh_labels(labels, weights), strict=True):
            counts += np.bincount(bins, given, minlength=self._num_bins)

    def result(self) -> float:
        """Returns the area over all examples so far; NaN where all labels are equal."""
        return _area(*self._counts)


class StreamedClickMetrics:
    """The metrics of `click_metrics` over a stream in constant memory, the AUC by bins."""

    def __init__(self) -> None:
        """Starts without examples."""
        self._auc = BinnedAUC()
        self._sums = dict.fromkeys(("weight", "clicks", "predicted", "loss", "right"), 0.0)
        self.num_examples = 0

    def update(
        self, labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None
    ) -> None:
        """Adds examples."""
        self._auc.update(labels, logits, weights)
        weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
        if not weights.sum() > 0:
            return
        total = weights.sum()
        self.num_examples += len(labels)
        for name, mean in (
            ("weight", 1.0),
            ("clicks", _mean(labels, weights)),
            ("predicted", _mean(probabilities(logits), weights)),
            ("loss", log_loss(labels, logits, weights)),
            ("right", accuracy(labels, logits, weights)),
        ):
            self._sums[name] += mean * total

    @property
    def click_rate(self) -> float:
        """The share of clicks so far."""
        return self._sums["clicks"] / self._sums["weight"]

    def result(self) -> dict[str, float]:
        """Returns the metrics over all examples so far; ValueError where there are none."""
        total = self._sums["weight"]
        if not total:
            raise ValueError("there is nothing to measure: no example has a weight")
        rate, loss = self._sums["clicks"] / total, self._sums["loss"] / total
        entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)) if 0 < rate < 1 else np.nan
        return {
            "auc": self._auc.result(),
            "log_loss": loss,
            "normalized_entropy": float(loss / entropy),
            "calibration": self._sums["predicted"] / self._sums["clicks"] if rate else np.nan,
            "accuracy": self._sums["right"] / total,
        }
