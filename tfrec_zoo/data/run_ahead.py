"""Work done on other threads, a little ahead of who needs it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def run_ahead(tasks: Iterable[Callable[[], Result]], num_threads: int) -> Iterator[Result]:
    """Yields the results of `tasks` in their order, some of them computed in advance.

    Where one fails, its error is raised when its turn comes, and no further one is begun.

    Args:
        tasks: taken one by one, as they are needed.
        num_threads: tasks that run at a time; one more may be waiting.
    """
    pending = deque()
    with ThreadPoolExecutor(num_threads, "run-ahead") as pool:
        try:
            for task in tasks:
                pending.append(pool.submit(task))
                if len(pending) > num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
