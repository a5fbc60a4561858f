"""Trains all models by all drivers in one process, which can be split into several devices.

    python strategy_runs.py FOLDER

leaves a run folder and an export in FOLDER/<model>/<driver>: `default` on one device, `mirrored` on
two devices that share negatives, `on_host` on two that have the tables beside them, `own` on two
that share nothing, `one_worker` and `two_workers` with two parameter servers each.
"""

import contextlib
import itertools
import json
import os
import socket
import sys
from pathlib import Path

import tensorflow as tf
import tiny_click_runs
import tiny_news_runs
import tiny_runs

from tfrec_zoo.trainers import dlrm, gru4rec, ssr
from tfrec_zoo.trainers.drivers.host_tables import HostTableDriver
from tfrec_zoo.trainers.drivers.local import LocalDriver
from tfrec_zoo.trainers.drivers.replicas import ReplicaDriver
from tfrec_zoo.trainers.drivers.servers import ServerDriver

NUM_STEPS = 20
DRIVERS = ("default", "mirrored", "on_host", "own", "one_worker", "two_workers")


def mirror(*devices: str) -> tf.distribute.Strategy:
    """Returns the strategy of some devices."""
    return tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())


def free_address(sockets: list[socket.socket]) -> str:
    """Returns an address of this machine; its socket stays open until the list is emptied."""
    sockets.append(socket.socket())
    sockets[-1].bind(("127.0.0.1", 0))
    return f"127.0.0.1:{sockets[-1].getsockname()[1]}"


def start_cluster() -> tuple[tf.distribute.cluster_resolver.ClusterResolver, list]:
    """Starts two workers and two servers in this process."""
    sockets = []
    tasks = {kind: [free_address(sockets) for _ in range(2)] for kind in ("worker", "ps")}
    for opened in sockets:
        opened.close()
    spec = tf.train.ClusterSpec(tasks)
    servers = [
        tf.distribute.Server(spec, job_name=kind, task_index=index)
        for kind, index in itertools.product(tasks, range(2))
    ]
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, rpc_layer="grpc")
    return resolver, servers


def make_drivers() -> dict[str, LocalDriver]:
    """Returns the drivers by name."""
    resolver, make_drivers.servers = start_cluster()
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    sizes = {"num_servers": 2, "max_shards": 0, "min_shard_bytes": 64}
    return {
        "default": LocalDriver(),
        "mirrored": ReplicaDriver(mirror("CPU:0", "CPU:1"), share_negatives=True),
        "on_host": HostTableDriver(mirror("CPU:1", "CPU:2")),
        "own": ReplicaDriver(mirror("CPU:0", "CPU:1"), share_negatives=False),
        "one_worker": ServerDriver(strategy, num_workers=1, **sizes),
        "two_workers": ServerDriver(strategy, num_workers=2, **sizes),
    }


def train_all(folder: Path) -> None:
    """Trains every model with every driver."""
    programs = {
        "gru4rec": (gru4rec, tiny_runs.run_trainer, list_session_flags(folder)),
        "dlrm": (dlrm, tiny_click_runs.run_trainer, list_click_flags(folder)),
        "ssr": (ssr, tiny_news_runs.run_trainer, list_news_flags(folder)),
    }
    for driver_name, driver in make_drivers().items():
        for model, (module, run, flags) in programs.items():
            module.open_driver = lambda config, driver=driver: contextlib.nullcontext(driver)
            target = folder / model / driver_name
            with driver.home():
                code = run(
                    *flags,
                    "--epochs=1",
                    f"--max_steps={NUM_STEPS}",
                    f"--run_dir={target / 'run'}",
                    f"--export_dir={target / 'export'}",
                )
            assert not code, (model, driver_name, code)


def list_session_flags(folder: Path) -> list[str]:
    """Writes session logs and returns their flags."""
    (folder / "sessions").mkdir()
    logs = tiny_runs.write_logs(folder / "sessions")
    flags = [f"--{name}={logs[name]}" for name in ("train", "validation", "test")]
    return [*flags, "--logq_weight=0.5", "--hidden_dims=8,6", "--dropout_hidden=0.1"]


def list_click_flags(folder: Path) -> list[str]:
    """Writes click logs and returns their flags."""
    (folder / "clicks").mkdir()
    logs = tiny_click_runs.write_logs(folder / "clicks")
    flags = [f"--{name}={logs[name]}" for name in ("train", "validation", "test", "columns")]
    flags = [*flags, "--accumulate_steps=2", "--optimizer=adam", "--embedding_optimizer=adagrad"]
    # At five times that, losses of two workers depend on how old the weights are that each reads.
    return [*flags, "--learning_rate=0.02"]


def list_news_flags(folder: Path) -> list[str]:
    """Writes news and returns their flags."""
    (folder / "news").mkdir()
    flags = tiny_news_runs.list_flags(tiny_news_runs.write_news(folder / "news"))
    # Blocks of two widths, which have different numbers of steps.
    flags = [*flags, "--max_history=6"]
    return [*flags, "--age_buckets=4", "--num_shown_negatives=2", "--momentum=0.5"]


if __name__ == "__main__":
    os.environ["TF_NUM_INTEROP_THREADS"] = "16"
    processor = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(3)]
    tf.config.set_logical_device_configuration(processor, parts)
    train_all(Path(sys.argv[1]))
    print(json.dumps(DRIVERS), flush=True)
    os._exit(0)
