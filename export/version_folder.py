"""The folder that TensorFlow Serving watches: a numbered folder for each version of a model.

    <export_dir>/models.config
    <export_dir>/<version>/saved_model.pb ...

A version is whole or not there: it is written into a hidden folder beside, whose name TensorFlow
Serving passes over, and renamed. A version once there is never written to again.
"""

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging

from tfrec_zoo.config import parse_json_object
from tfrec_zoo.run_folder import write_text

SAVED_MODEL = "saved_model"
# What a version of another format has, and no SavedModel.
INTERFACE_NAME = "interface.json"

_MODELS_CONFIG = """\
# For tensorflow_model_server --model_config_file. The path is the one inside the container, as in
#   docker run -p 8501:8501 -v "$PWD/<this folder>:/models/{name}" tensorflow/serving \\
#     --model_config_file=/models/{name}/models.config
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""


def list_versions(export_dir: str | os.PathLike) -> list[int]:
    """Returns the versions in `export_dir`, rising; none where there is no such folder."""
    path = Path(export_dir)
    names = [child.name for child in path.iterdir()] if path.is_dir() else []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def write_version(
    export_dir: str | os.PathLike, version: int | None, write: Callable[[Path], None]
) -> Path:
    """Adds a version to `export_dir`, whole or not at all.

    Args:
        export_dir: made where it is missing.
        version: a number from 1 on; None: the one after the last.
        write: fills the folder given to it.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists, or is no positive number.
        OSError: the folder may not be written to, or the disk is full.
    """
    export_dir = Path(export_dir)
    if version is not None:
        if version < 1:
            raise ValueError(f"version must be a positive number, got {version}")
        _refuse_existing(export_dir / str(version))
    export_dir.mkdir(parents=True, exist_ok=True)
    hidden = export_dir / f".{uuid.uuid4().hex}"
    hidden.mkdir()
    try:
        write(hidden)
        _force_to_disk(hidden)
        target = export_dir / str(version or next_version(export_dir))
        _refuse_existing(target)
        hidden.rename(target)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return target


def find_format(version: str | os.PathLike) -> str:
    """Returns the format of a version's folder: what its `interface.json` says, or `saved_model`.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(version) / INTERFACE_NAME
    if not path.is_file():
        return SAVED_MODEL
    try:
        return parse_json_object(path.read_text(encoding="utf-8"))["format"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete the version") from None


def require_format(export_dir: str | os.PathLike, expected: str) -> None:
    """Raises a ValueError where `export_dir` has versions of another format.

    TensorFlow Serving takes every numbered folder for a SavedModel.
    """
    for version in list_versions(export_dir):
        found = find_format(Path(export_dir) / str(version))
        if found != expected:
            raise ValueError(
                f"{export_dir} has versions of the format {found}, expected {expected}: choose "
                "another folder"
            )


def next_version(export_dir: str | os.PathLike) -> int:
    """Returns the number after the last version, 1 where there is none."""
    return max(list_versions(export_dir), default=0) + 1


def delete_old_versions(export_dir: str | os.PathLike, num_kept: int) -> None:
    """Deletes the versions with the lowest numbers, so that `num_kept` remain.

    A version is renamed before its files go, so that a server never finds half of one.
    """
    for version in list_versions(export_dir)[:-num_kept]:
        hidden = Path(export_dir) / f".{uuid.uuid4().hex}"
        (Path(export_dir) / str(version)).rename(hidden)
        shutil.rmtree(hidden)


@contextlib.contextmanager
def take_turns(export_dir: str | os.PathLike) -> Iterator[None]:
    """Holds the folder of the versions for this process, once it is no other's.

    For programs that make a version out of the last one: the system lets go of the folder when the
    process dies.
    """
    export_dir = Path(export_dir)
    export_dir.mkdir(parents=True, exist_ok=True)
    with open(export_dir / ".lock", "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("waiting for another process that writes to %s", export_dir)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_models_config(export_dir: str | os.PathLike, name: str) -> None:
    """Writes `models.config` for a model `name`, unless there is one, which may be edited."""
    path = Path(export_dir) / "models.config"
    if not path.exists():
        write_text(path, _MODELS_CONFIG.format(name=name))


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise ValueError(
            f"{target} exists, and a version is never overwritten: choose another version, or none "
            "to get the next one"
        )


def _force_to_disk(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
