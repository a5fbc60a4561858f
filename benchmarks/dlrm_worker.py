"""What every worker of the DLRM benchmark does with its side: train, test, time, report.

Read in the environment of every side, so it needs NumPy alone.
"""

import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from dlrm_settings import ClickData, Settings, split_rows

from tfrec_zoo.metrics.clicks import log_loss, roc_auc

INFERENCE_BATCH = 2048
INFERENCE_PASSES = 7
# Single examples: some to warm up, then those that are timed.
SINGLE_WARM_UP, SINGLE_TIMED = 50, 500
# float32 probabilities of 0 and 1 stand for log-odds that it cannot hold.
SMALLEST_PROBABILITY = 1e-7


class Side(Protocol):
    """A model and its optimizer in one framework, with the data in memory."""

    def train_epoch(self) -> float:
        """Trains once over the training rows, in their order, and returns the seconds.

        The clock runs for forward pass, backward pass and update of all batches, the last one of
        which is short. It need not run for arranging what is in memory already.
        """

    def make_batch(self, rows: slice) -> Any:
        """Returns the features of `rows` as `predict` takes them; the clock does not run."""

    def predict(self, batch: Any) -> np.ndarray:
        """Returns the click probabilities of a batch, float32 [B]."""


def run_side(make_side: Callable[[Settings, ClickData], Side]) -> None:
    """Measures a side as the command line says, and prints what `measure_side` returns."""
    settings = Settings.from_command_line()
    data = ClickData.load(settings.data)
    print(json.dumps(measure_side(make_side(settings, data), settings, data)), flush=True)


def measure_side(side: Side, settings: Settings, data: ClickData) -> dict[str, Any]:
    """Returns speed, memory, and the test metrics after each epoch.

    The training speed is that of the last epoch; earlier ones compile and warm up.
    """
    num_rows = len(data.labels)
    labels = data.labels[data.num_train :]
    batches = [
        side.make_batch(rows) for rows in split_rows(data.num_train, num_rows, INFERENCE_BATCH)
    ]
    aucs, log_losses = [], []
    for _ in range(settings.epochs):
        seconds = side.train_epoch()
        probabilities = np.concatenate([side.predict(batch) for batch in batches])
        aucs.append(roc_auc(labels, probabilities))
        log_losses.append(log_loss(labels, log_odds(probabilities)))
    num_full = len(labels) // INFERENCE_BATCH
    return {
        "seed": settings.seed,
        "examples_per_second": data.num_train / seconds,
        "inference_per_second": INFERENCE_BATCH / time_inference(side, batches[:num_full]),
        "single_milliseconds": 1e3 * time_single_examples(side, data),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "auc": aucs,
        "log_loss": log_losses,
    }


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Returns the logits of probabilities, float64."""
    clipped = np.clip(
        probabilities.astype(np.float64), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY
    )
    return np.log(clipped) - np.log1p(-clipped)


def time_inference(side: Side, batches: list[Any]) -> float:
    """Returns the seconds of a full batch: the median of the passes over `batches`."""
    seconds = []
    for _ in range(INFERENCE_PASSES):
        start = time.perf_counter()
        for batch in batches:
            side.predict(batch)
        seconds.append((time.perf_counter() - start) / len(batches))
    return statistics.median(seconds)


def time_single_examples(side: Side, data: ClickData) -> float:
    """Returns the median seconds that a side takes for one example."""
    first = data.num_train
    batches = [
        side.make_batch(rows)
        for rows in split_rows(first, first + SINGLE_WARM_UP + SINGLE_TIMED, 1)
    ]
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        side.predict(batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[SINGLE_WARM_UP:])
