"""What an evaluation shows: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time

from absl import logging
from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class EvaluationProgress:
    """Shows the events ranked so far, with throughput and time left; a context manager."""

    def __init__(self, title: str) -> None:
        """Takes what is evaluated, in words."""
        self._title = title
        self._start = self._last_line = time.monotonic()
        self._bar = None

    def __enter__(self) -> "EvaluationProgress":
        """Shows a bar on a terminal."""
        if sys.stderr.isatty():
            self._bar = tqdm(desc=self._title, unit="ev", unit_scale=True)
        return self

    def __call__(self, num_done: int, num_events: int) -> None:
        """Takes the number of events done, of all."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.total = num_events
            self._bar.update(num_done - self._bar.n)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES or num_done == num_events:
            self._last_line = now
            rate = num_done / max(now - self._start, 1e-9)
            logging.info(
                "%s: %d of %d events, %.0f events/s, %.0f s left",
                self._title,
                num_done,
                num_events,
                rate,
                (num_events - num_done) / rate,
            )

    def __exit__(self, *exception: object) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
