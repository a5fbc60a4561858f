"""Waits for what other threads and processes do."""

import time
from collections.abc import Callable


def wait_until(is_met: Callable[[], bool], seconds: float) -> None:
    """Waits until a condition is met, at most so long."""
    end = time.monotonic() + seconds
    while not is_met():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
