"""What a training run shows: a bar on a terminal, a line every few seconds elsewhere."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator

from absl import logging
from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0
_MANY_DIGITS = 1e6


class Progress:
    """Shows events done of an epoch, with loss, throughput and time left."""

    def __init__(
        self,
        title: str,
        num_events: int,
        first_event: int,
        has_perplexity: bool,
        unit: str = "events",
    ) -> None:
        """Begins an epoch.

        Args:
            title: for example `epoch 2/5`.
            num_events: of the whole epoch.
            first_event: events done before, by a run that is continued.
            has_perplexity: whether exp(loss) means something (cross-entropy).
            unit: what the events are called.
        """
        self._title = title
        self._num_events = num_events
        self._done = self._first = first_event
        self._has_perplexity = has_perplexity
        self._unit = unit
        self._start = self._last_line = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=num_events, initial=first_event, desc=title, unit=unit[:2], unit_scale=True
            )

    @property
    def events_per_second(self) -> float:
        """Throughput of this epoch by this process, waiting for input included."""
        return (self._done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def update(self, num_events: int, loss: float) -> None:
        """Adds the events of a block and their mean loss."""
        self._done += num_events
        if self._bar is not None:
            self._bar.set_postfix_str(self.describe_loss(loss), refresh=False)
            self._bar.update(num_events)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = max(self._num_events - self._done, 0) / max(self.events_per_second, 1e-9)
            logging.info(
                "%s: %d of %d %s, %s, %.0f %s/s, %.0f s left",
                self._title,
                self._done,
                self._num_events,
                self._unit,
                self.describe_loss(loss),
                self.events_per_second,
                self._unit,
                left,
            )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out of the throughput what happens inside, and clears the bar for its messages."""
        start = time.monotonic()
        if self._bar is not None:
            self._bar.clear()
        yield
        self._start += time.monotonic() - start

    def describe_loss(self, loss: float) -> str:
        """Returns the loss, and the perplexity where it has one, as text."""
        text = f"loss {loss:.4f}" if abs(loss) < _MANY_DIGITS else f"loss {loss:.3e}"
        if self._has_perplexity:
            perplexity = math.exp(min(loss, 700.0))
            style = ".1f" if perplexity < _MANY_DIGITS else ".3e"
            text += f", perplexity {perplexity:{style}}"
        return text

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
