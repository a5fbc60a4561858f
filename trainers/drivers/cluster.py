"""The tasks of a cluster, as the environment describes them; free of TensorFlow.

`TF_CONFIG` holds JSON: who listens where, and which of them this process is.

    {"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}

Replicas in step are `worker` tasks, with or without a `chief`; the chief, or else worker 0, writes
the run folder. Parameter servers are `ps`, what trains is `worker`, and the `chief` coordinates.
"""

import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfrec_zoo.data.log_format import expand_paths
from tfrec_zoo.distribution_config import DistributionConfig
from tfrec_zoo.program import TaskLostError

_EXAMPLES = {
    "multi_worker": '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": '
    '"worker", "index": 0}}',
    "parameter_server": '{"cluster": {"chief": ["host0:2222"], "worker": ["host1:2222"], "ps": '
    '["host2:2222"]}, "task": {"type": "chief", "index": 0}}',
}

_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Cluster:
    """The tasks of a job, by type, and which one this process is."""

    tasks: Mapping[str, list[str]]
    task_type: str
    task_index: int

    @property
    def is_chief(self) -> bool:
        """Whether this task writes the run folder."""
        if "chief" in self.tasks:
            return self.task_type == "chief"
        return self.task_type == "worker" and self.task_index == 0

    @property
    def is_server(self) -> bool:
        """Whether this task waits for what a coordinator sends."""
        return "ps" in self.tasks and self.task_type in ("worker", "ps")

    @property
    def worker_place(self) -> tuple[int, int]:
        """The place of this task among those that train in step, and their number."""
        num_chiefs, num_workers = (len(self.tasks.get(kind, ())) for kind in ("chief", "worker"))
        place = self.task_index + num_chiefs * (self.task_type == "worker")
        return place, num_chiefs + num_workers

    def wait_for_others(self, seconds: float) -> None:
        """Returns as soon as each other task has been there.

        TensorFlow itself would wait for ever, and without a word. Tasks in step wait for each
        other, so each of them listens meanwhile where TensorFlow will.

        Raises:
            TaskLostError: somebody was not there in time.
        """
        end = time.monotonic() + seconds
        port = self.tasks[self.task_type][self.task_index].rpartition(":")[2]
        with socket.create_server(("", int(port))):
            silent = self.list_silent_tasks()
            while silent:
                if time.monotonic() > end:
                    raise TaskLostError(
                        f"the cluster was not complete after {seconds:g} s, nobody listens for "
                        f"{', '.join(silent)}"
                    )
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                still = self.list_silent_tasks()
                silent = [task for task in silent if task in still]

    def list_silent_tasks(self) -> list[str]:
        """Returns the tasks, as `worker 1 (host:port)`, where nobody listens."""
        return [
            f"{kind} {index} ({address})"
            for kind, addresses in self.tasks.items()
            for index, address in enumerate(addresses)
            if not _is_listening(address)
        ]


def choose_files(paths: Iterable[str], config: DistributionConfig) -> list[Path]:
    """Returns the files that this task reads with `shard_input`: in turn with the others.

    Args:
        paths: of all files, also with wildcards.
        config: asks for `shard_input`, or all files are returned.

    Raises:
        ValueError: there are fewer files than workers.
    """
    files = expand_paths(paths)
    if not config.shard_input:
        return files
    place, count = find_cluster(config).worker_place
    if len(files) < count:
        raise ValueError(
            f"shard_input needs a file for each of the {count} workers, got {len(files)}: write "
            "more by tfrec-prepare --num_shards"
        )
    return files[place::count]


def find_cluster(config: DistributionConfig) -> Cluster:
    """Returns the cluster that this process belongs to.

    Raises:
        ValueError: there is none, or its description is broken or not for this strategy.
    """
    cluster = _read_tf_config(config)
    if config.strategy == "multi_worker" and "ps" in cluster.tasks:
        raise ValueError(
            "the cluster has ps tasks, which belong to strategy=parameter_server, got "
            "strategy=multi_worker"
        )
    missing = {"chief", "worker", "ps"} - set(cluster.tasks)
    if config.strategy == "parameter_server" and missing:
        raise ValueError(
            "strategy=parameter_server needs a chief, which coordinates, workers and ps tasks, got "
            f"no {' and no '.join(sorted(missing))}: expected such as "
            f"TF_CONFIG='{_EXAMPLES['parameter_server']}'"
        )
    return cluster


def _read_tf_config(config: DistributionConfig) -> Cluster:
    text = os.environ.get("TF_CONFIG", "")
    example = _EXAMPLES[config.strategy]
    if not text:
        raise ValueError(
            f"strategy={config.strategy} needs a cluster: set TF_CONFIG in each task, such as "
            f"'{example}', or let tfrec-launch do so"
        )
    try:
        return parse_tf_config(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"TF_CONFIG is malformed ({error or type(error).__name__}), got {text!r}: expected "
            f"such as '{example}'"
        ) from None


def parse_tf_config(text: str) -> Cluster:
    """Returns what the value of `TF_CONFIG` says; an error of any kind where it is malformed."""
    values = json.loads(text)
    task = values["task"]
    cluster = Cluster(dict(values["cluster"]), str(task["type"]), int(task["index"]))
    for kind, addresses in cluster.tasks.items():
        if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
            raise ValueError(f"{kind} must be a list of host:port, got {addresses!r}")
    addresses = cluster.tasks.get(cluster.task_type)
    if addresses is None or not 0 <= cluster.task_index < len(addresses):
        raise ValueError(f"the cluster has no task {cluster.task_type} {cluster.task_index}")
    return cluster


def _is_address(text: object) -> bool:
    return isinstance(text, str) and text.rpartition(":")[2].isdecimal() and ":" in text


def _is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2.0):
            return True
    except OSError:
        return False
