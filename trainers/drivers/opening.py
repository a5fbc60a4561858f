"""Opens the driver that a configuration asks for, and the run folder that its tasks share."""

import contextlib
import os
import secrets
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from absl import logging

from tfrec_zoo.config import Config
from tfrec_zoo.distribution_config import DistributionConfig
from tfrec_zoo.program import report_error
from tfrec_zoo.run_folder import RunFolder, open_run_folder
from tfrec_zoo.trainers.drivers.cluster import Cluster, find_cluster
from tfrec_zoo.trainers.processor import count_cores

# Functions of several machines wait inside of operations, each in a thread of its own.
_WAITING_THREADS = 16
_TOKEN_NAME = ".cluster"


def serve_where_asked(config: DistributionConfig) -> None:
    """Never returns in a task that only does what a coordinator sends; else returns at once."""
    if config.strategy != "parameter_server":
        return
    cluster = find_cluster(config)
    if not cluster.is_server:
        return
    import tensorflow as tf

    options = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=_WAITING_THREADS)
    server = tf.distribute.Server(
        dict(cluster.tasks),
        job_name=cluster.task_type,
        task_index=cluster.task_index,
        protocol="grpc",
        config=options,
    )
    logging.info("%s %d is ready", cluster.task_type, cluster.task_index)
    server.join()


@contextlib.contextmanager
def open_driver(config: DistributionConfig) -> Iterator[Any]:
    """Opens the driver of a strategy, for the body of a program.

    A task of a cluster ends its process behind the body, by the exit code of its program: Python's
    own end would wait for tasks that may be gone.

    Yields:
        A `LocalDriver`, or one of another kind.

    Raises:
        ValueError: there is no such cluster.
    """
    if config.strategy in ("default", "mirrored"):
        driver = _open_local(config)
        with driver.home():
            yield driver
        return
    cluster = find_cluster(config)
    try:
        if not cluster.is_chief:
            logging.set_verbosity(logging.WARNING)
        cluster.wait_for_others(config.cluster_timeout)
        driver = _open_cluster(config, cluster)
        with driver.watch(), driver.home():
            yield driver
            # Nobody leaves before the last: a task that is gone ends the others.
            driver.decide(lambda: None)
    except BaseException as error:
        _leave(_report(error))
    _leave(0)


def _report(error: BaseException) -> int:
    try:
        return report_error(error)
    except BaseException:
        traceback.print_exc()
        return 1


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _open_local(config: DistributionConfig) -> Any:
    import tensorflow as tf

    from tfrec_zoo.trainers.drivers.local import LocalDriver

    if config.strategy == "default":
        return LocalDriver()
    devices = tf.config.list_physical_devices("GPU")
    if config.num_devices > len(devices) > 0:
        raise ValueError(f"num_devices={config.num_devices}, and there are {len(devices)} GPUs")
    if devices:
        names = [f"GPU:{number}" for number in range(config.num_devices or len(devices))]
        strategy = tf.distribute.MirroredStrategy(names)
    else:
        count = config.num_devices or count_cores()
        _split_processor(count)
        # The default is made for one strategy a process, and for graphics cards.
        strategy = tf.distribute.MirroredStrategy(
            [f"CPU:{number}" for number in range(count)], tf.distribute.ReductionToOneDevice()
        )
    return _join_replicas(config, strategy)


def _join_replicas(config: DistributionConfig, strategy: Any, **options: Any) -> Any:
    from tfrec_zoo.trainers.drivers.host_tables import HostTableDriver
    from tfrec_zoo.trainers.drivers.replicas import ReplicaDriver

    if config.tables_on_host:
        return HostTableDriver(strategy, **options)
    return ReplicaDriver(strategy, share_negatives=config.share_negatives, **options)


def _split_processor(count: int) -> None:
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    if len(tf.config.get_logical_device_configuration(processor) or ()) == count:
        return
    try:
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError:
        raise ValueError(
            f"strategy=mirrored with {count} parts of the processor must come before anything else "
            "that this process does with TensorFlow"
        ) from None


def _open_cluster(config: DistributionConfig, cluster: Cluster) -> Any:
    import tensorflow as tf

    from tfrec_zoo.trainers.drivers.servers import ServerDriver

    if config.strategy == "multi_worker":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        return _join_replicas(config, strategy, is_chief=cluster.is_chief)
    tf.config.threading.set_inter_op_parallelism_threads(_WAITING_THREADS)
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    return ServerDriver(
        tf.distribute.ParameterServerStrategy(resolver),
        num_workers=len(cluster.tasks["worker"]),
        num_servers=len(cluster.tasks["ps"]),
        max_shards=config.max_shards,
        min_shard_bytes=config.min_shard_bytes,
    )


@contextlib.contextmanager
def open_shared_folder(driver: Any, path: str, config: Config) -> Iterator[RunFolder]:
    """Opens a run folder: the chief to write, the others to read.

    Raises:
        ValueError: see `open_run_folder`; or the tasks do not see the same folder.
    """
    if driver.is_chief:
        with open_run_folder(path, config) as folder:
            token = folder.path / _TOKEN_NAME
            try:
                driver.decide(lambda: _write_token(token))
                driver.check_shared(token)
                yield folder
            finally:
                token.unlink(missing_ok=True)
        return
    _check_token(Path(path), driver.decide(lambda: ""))
    driver.check_shared(Path(path) / _TOKEN_NAME)
    yield RunFolder(Path(path))


def _write_token(path: Path) -> str:
    path.write_text(secrets.token_hex(), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _check_token(folder: Path, token: str) -> None:
    path = folder / _TOKEN_NAME
    found = path.read_text(encoding="utf-8") if path.exists() else None
    if found != token:
        raise ValueError(
            f"the tasks do not share the run folder {folder}: the chief has written to it, and "
            "this task cannot see it; use a folder on storage that all of them have"
        )
