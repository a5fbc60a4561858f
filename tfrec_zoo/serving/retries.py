"""Asking again where a server is not there, within the time that a call may take."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tfrec_zoo.serving.errors import UNAVAILABLE, ServingError

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0

Answer = TypeVar("Answer")


def ask_again(ask: Callable[[float], Answer], timeout: float, num_retries: int) -> Answer:
    """Returns what `ask` answers, asked again while its server is unavailable.

    Before the n-th repetition it waits half to all of 0.1 s * 2^n, at most 2 s: by chance, so that
    clients of a server that comes back do not ask all at once.

    Args:
        ask: takes the seconds that are left.
        timeout: seconds for all attempts and the waits between them.
        num_retries: repetitions at most.

    Raises:
        ServingError: of the last attempt, where it is of another kind, the repetitions are used up
            or the next wait would be longer than what is left.
    """
    end = time.monotonic() + timeout
    for repetition in range(num_retries + 1):
        try:
            # A wait is over a little late, at times; an attempt has some time in any case.
            return ask(max(end - time.monotonic(), 1e-3))
        except ServingError as error:
            wait = min(_FIRST_WAIT * 2**repetition, _LONGEST_WAIT) * random.uniform(0.5, 1)
            is_last = repetition == num_retries or time.monotonic() + wait >= end
            if error.status != UNAVAILABLE or is_last:
                raise
        time.sleep(wait)
    raise AssertionError("the last attempt answers or raises")
