"""Files and folders that are whole or not there: written beside their place, then renamed.

To a file of lines, lines are added whole.
"""

import contextlib
import ctypes
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

# Of Linux' `renameat2`.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a path beside `path` to write to; what lies there at the end becomes `path`.

    The content is forced to the disk before the rename, so that after a crash `path` holds the old
    content or the new one. Where the block raises, `path` stays as it was and nothing is left over.
    The name yielded ends as `path` does, for writers that go by the ending.

    Raises:
        OSError: the folder is missing, may not be written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # Some writers, Arrow's among them, do not say which file it was.
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def append_line(path: str | os.PathLike, line: str) -> None:
    """Adds a line, with its end, to a file; where the disk is full the file stays as it was.

    Raises:
        OSError: the folder is missing, may not be written to, or the disk is full.
    """
    content = line.encode()
    try:
        # Unbuffered: a buffer would be written once more when the file is closed after the failure.
        with open(path, "ab", buffering=0) as file:
            size = file.tell()
            try:
                while content:
                    content = content[file.write(content) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def cut_torn_line(path: str | os.PathLike) -> None:
    """Cuts off what follows the last line end: the line that a killed process was writing."""
    path = Path(path)
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


@contextlib.contextmanager
def replace_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a new folder beside `path` to write to; at the end it takes the place of `path`.

    There is always one of the two, whole, where the system can exchange names (Linux 3.15 and
    most file systems); elsewhere there is none for a moment. Where the block raises, `path` stays
    as it was and nothing is left over. Whether a folder that is there may be replaced is the
    caller's to check.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _force_to_disk(file)
        if path.exists():
            _exchange(temporary, path)
        else:
            temporary.rename(path)
        _force_to_disk(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(new: Path, old: Path) -> None:
    """Makes `new` what `old` was, and the other way round."""
    with contextlib.suppress(AttributeError):
        names = os.fsencode(new), os.fsencode(old)
        rename = ctypes.CDLL(None).renameat2
        if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)
