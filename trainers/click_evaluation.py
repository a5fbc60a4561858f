"""Click probabilities of many examples, and their metrics."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from tfrec_zoo.data.clicks.click_shards import ClickRows, ClickTable
from tfrec_zoo.metrics.clicks import click_metrics
from tfrec_zoo.models.dlrm import DLRM

BATCH_SIZE = 4096
# Logits nearer to each other than this, over many examples, tell nothing apart.
_SMALLEST_SPREAD = 1e-6


class ClickScorer:
    """Computes a model's logits batch by batch; compiled once for all evaluations."""

    def __init__(self, model: DLRM, batch_size: int = BATCH_SIZE, num_shards: int = 1) -> None:
        """Takes the model, whose weights may change between calls.

        Args:
            model: the model.
            batch_size: examples that are computed at a time.
            num_shards: parts of these that are computed side by side, see `batch_shards`.
        """
        self._model = model
        self._batch_size = batch_size
        self._num_shards = num_shards
        schema = model.schema
        signature = [
            tf.TensorSpec([None, schema.num_dense], tf.float32),
            tf.TensorSpec([None, schema.num_slots], tf.int32),
        ]
        if schema.needs_row_weights:
            signature.append(tf.TensorSpec([None, schema.num_slots], tf.float32))
        self._score = tf.function(self._score_shards, input_signature=signature, autograph=False)

    def __call__(self, examples: ClickRows) -> np.ndarray:
        """Returns the logits of examples, float32 [n]."""
        parts = [np.zeros(0, np.float32)]
        for start in range(0, examples.num_rows, self._batch_size):
            part = examples.slice(start, start + self._batch_size)
            inputs = [part.dense, part.rows]
            if part.row_weights is not None:
                inputs.append(part.row_weights)
            parts.append(self._score(*inputs).numpy())
        return np.concatenate(parts)

    def _score_shards(self, *inputs: tf.Tensor) -> tf.Tensor:
        size = tf.shape(inputs[0])[0]
        borders = [size * number // self._num_shards for number in range(self._num_shards + 1)]
        shards = [
            self._model(*(array[start:end] for array in inputs))
            for start, end in itertools.pairwise(borders)
        ]
        return tf.concat(shards, axis=0)


def iterate(table: ClickTable, num_rows: int = 65_536) -> Iterator[ClickRows]:
    """Yields the examples of a table in pieces, so that few are in memory at a time."""
    for start in range(0, table.num_rows, num_rows):
        yield table.slice(start, min(start + num_rows, table.num_rows))


def click_rate(table: ClickTable) -> float:
    """Returns the share of clicks in a table, weighted where its examples are."""
    clicks = total = 0.0
    for piece in iterate(table):
        weights = np.ones_like(piece.labels) if piece.weights is None else piece.weights
        clicks += float((piece.labels * weights).sum(dtype=np.float64))
        total += float(weights.sum(dtype=np.float64))
    return clicks / total


def score_pieces(
    scorer: Callable[[ClickRows], np.ndarray],
    pieces: Iterable[ClickRows],
    report: Callable[[int], None] = lambda count: None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns labels, logits and weights (None: all 1) of all examples.

    Args:
        scorer: see `ClickScorer`.
        pieces: the examples, piece by piece.
        report: is told how many examples are done, after each piece.

    Raises:
        ValueError: there are no examples.
    """
    labels, logits, weights = [], [], []
    for piece in pieces:
        labels.append(piece.labels)
        logits.append(scorer(piece))
        if piece.weights is not None:
            weights.append(piece.weights)
        report(piece.num_rows)
    if not labels:
        raise ValueError("there are no examples to evaluate")
    joined = np.concatenate(weights) if weights else None
    return np.concatenate(labels), np.concatenate(logits), joined


def evaluate_clicks(
    scorer: Callable[[ClickRows], np.ndarray], table: ClickTable
) -> dict[str, float | int]:
    """Returns the metrics of `tfrec_zoo.metrics.clicks` and the number of examples.

    Raises:
        ValueError: there are no examples, or the model tells none of them from another.
    """
    labels, logits, weights = score_pieces(scorer, iterate(table))
    refuse_constant(logits)
    return summarize(labels, logits, weights)


def summarize(
    labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None
) -> dict[str, float | int]:
    """Returns the metrics, the click rate, the mean prediction and the number of examples."""
    metrics = click_metrics(labels, logits, weights)
    if np.isnan(metrics["auc"]):
        logging.warning("AUC is not defined: all labels are %d", labels[0])
    return {
        **metrics,
        "click_rate": float(np.average(labels.astype(np.float64), weights=weights)),
        "num_test_examples": len(labels),
    }


def refuse_constant(logits: np.ndarray) -> None:
    """Raises ValueError where predictions are not finite or all the same."""
    if not np.isfinite(logits).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(logits))} of {len(logits)} predictions are not finite"
            ": start a new run with a lower learning_rate or with clip_norm"
        )
    if len(logits) > 1 and np.ptp(logits) < _SMALLEST_SPREAD:
        raise ValueError(
            f"all {len(logits)} predictions are {logits[0]:.6g} (log-odds), the model has collapsed"
            ": start a new run with a lower learning_rate, with warmup_steps or with clip_norm"
        )
