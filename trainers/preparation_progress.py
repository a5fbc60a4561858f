"""What a preparation of clicks shows: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time

from absl import logging
from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class PreparationProgress:
    """Shows how far each step is, with its speed and where it is known the time left.

    A context manager, and the `watch` of `prepare_clicks`.
    """

    def __init__(self) -> None:
        """Begins with no step."""
        self._step = ""
        self._start = self._last_line = time.monotonic()
        self._bar: tqdm | None = None

    def __enter__(self) -> "PreparationProgress":
        """Returns the progress."""
        return self

    def __call__(self, step: str, num_done: int, num_all: int | None) -> None:
        """Takes what is done of a step, such as `rows read`, of how much (None: unknown)."""
        now = time.monotonic()
        if step != self._step:
            self._begin(step, num_all)
        if self._bar is not None:
            self._bar.update(num_done - self._bar.n)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            rate = num_done / max(now - self._start, 1e-9)
            if num_all is None:
                logging.info("%s: %d, %.0f a second", step, num_done, rate)
            else:
                left = (num_all - num_done) / max(rate, 1e-9)
                logging.info(
                    "%s: %d of %d, %.0f a second, %.0f s left", step, num_done, num_all, rate, left
                )

    def __exit__(self, *exception: object) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _begin(self, step: str, num_all: int | None) -> None:
        self.__exit__()
        self._step, self._start = step, time.monotonic()
        if sys.stderr.isatty():
            self._bar = tqdm(desc=step, total=num_all, unit="", unit_scale=True)
