"""A cluster of tasks on this machine: who they are, on which ports, and the TF_CONFIG of each."""

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Task:
    """One process of a cluster: `worker 0` is the first of those whose type is `worker`."""

    type: str
    index: int

    def __str__(self) -> str:
        """Returns its name in messages."""
        return f"{self.type} {self.index}"


@dataclass(frozen=True)
class LocalCluster:
    """The addresses of all tasks by their type, in the order of their indices."""

    addresses: Mapping[str, list[str]]

    @property
    def tasks(self) -> list[Task]:
        """All tasks, in the order in which they are started."""
        return [
            Task(kind, index)
            for kind, addresses in self.addresses.items()
            for index in range(len(addresses))
        ]

    def address(self, task: Task) -> str:
        """Returns where a task listens."""
        return self.addresses[task.type][task.index]

    def tf_config(self, task: Task) -> str:
        """Returns the value of TF_CONFIG in the environment of a task."""
        place = {"type": task.type, "index": task.index}
        return json.dumps({"cluster": dict(self.addresses), "task": place})


@contextlib.contextmanager
def reserve_cluster(num_tasks: Mapping[str, int]) -> Iterator[LocalCluster]:
    """Returns a context with a cluster on free ports, which nobody else is given within it.

    A task starts to listen seconds after its port was chosen. Until then, and while a dead task is
    down, a socket keeps the port: bound, so that the system hands it to no other process, and not
    listening, so that one which asks for SO_REUSEADDR, as TensorFlow's servers do, may bind it too.

    Args:
        num_tasks: how many tasks there are of each type.

    Raises:
        OSError: there are not as many free ports.
    """
    with contextlib.ExitStack() as kept:

        def reserve() -> str:
            bound = kept.enter_context(socket.socket())
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((HOST, 0))
            return f"{HOST}:{bound.getsockname()[1]}"

        yield LocalCluster(
            {kind: [reserve() for _ in range(number)] for kind, number in num_tasks.items()}
        )
