"""The output of `tfrec-prepare`: a folder of log files that is whole or not there."""

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfrec_zoo.data.sessions.session_log import SessionColumns, SessionLog, write_session_log

SUMMARY_NAME = "preparation.json"
VOCABULARY_NAME = "vocabulary.tsv"


def require_writable(path: Path, overwrite: bool) -> None:
    """Checks that `path` is free, or with `overwrite` holds nothing but an earlier preparation.

    Raises:
        ValueError: it is neither.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"the output folder {path} is a file")
    found = {str(file.relative_to(path)) for file in path.rglob("*") if not file.is_dir()}
    if any(path.iterdir()) and not overwrite:
        raise ValueError(
            f"the output folder {path} is not empty: choose another or add --overwrite"
        )
    foreign = sorted(found - _own_files(path))
    if foreign:
        raise ValueError(
            f"the output folder {path} holds {foreign[0]!r}, which no preparation has written, so "
            "it is not overwritten: choose another folder"
        )


@contextlib.contextmanager
def replace_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    """Yields a new folder beside `path` to write to; at the end it takes the place of `path`.

    Where the block raises, `path` stays as it was and nothing is left over. What a process that was
    killed has left beside `path` is removed by the next one.

    Raises:
        ValueError: see `require_writable`.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    replaced = path.with_name(f".{os.getpid()}.replaced.{path.name}")
    try:
        temporary.mkdir()
        with _lock(temporary):
            yield temporary
            require_writable(path, overwrite)
            if path.exists():
                os.replace(path, replaced)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; BlockingIOError where another one does.

    The system lets go of it when the process dies.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Removes the unfinished folders beside `path` that no process writes to any more."""
    unfinished = re.compile(rf"\.\d+\.{re.escape(path.name)}")
    for folder in path.parent.iterdir():
        if unfinished.fullmatch(folder.name) and folder.is_dir():
            with contextlib.suppress(OSError), _lock(folder):
                shutil.rmtree(folder)


def write_part(
    log: SessionLog, folder: Path, name: str, ending: str, num_shards: int, columns: SessionColumns
) -> list[str]:
    """Writes a part in the order of its sessions' start times, as one file or in shards.

    A shard holds whole sessions and a contiguous run of them, so that the shards one after the
    other are the file that there would be without sharding.

    Args:
        log: the part.
        folder: where to.
        name: of the part; files are `name.ending` or `name-00000-of-00004.ending`.
        ending: of the files, without the dot.
        num_shards: the number of files.
        columns: the names of the columns.

    Returns:
        The names of the files.

    Raises:
        ValueError: fewer sessions than shards.
    """
    if log.num_sessions < num_shards:
        raise ValueError(
            f"{name} has {log.num_sessions} sessions, too few for {num_shards} shards: lower "
            "--num_shards"
        )
    order = np.argsort(log.start_times(), kind="stable")
    names = []
    for shard, sessions in enumerate(np.array_split(order, num_shards)):
        suffix = f"-{shard:05d}-of-{num_shards:05d}" if num_shards > 1 else ""
        names.append(f"{name}{suffix}.{ending}")
        write_session_log(log.select_sessions(sessions), folder / names[-1], columns)
    return names


def _own_files(path: Path) -> set[str]:
    """Returns the files that the preparation in `path` says it has written."""
    try:
        summary = json.loads((path / SUMMARY_NAME).read_text(encoding="utf-8"))
        names = {name for part in summary["parts"].values() for name in part["files"]}
        return {*names, *summary.get("files", (VOCABULARY_NAME,)), SUMMARY_NAME}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
