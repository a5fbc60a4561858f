"""An index on the disk: a folder of two files that any vector service can read.

    vectors.npy   float32 [V, D], for `numpy.load`
    ids.tsv       a line for each vector, in their order: the item's id

The folder is whole or not there. Where there was one before it stays until the new one takes its
place, in one step where the system can exchange two folders (Linux).
"""

import contextlib
import ctypes
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

VECTORS_NAME = "vectors.npy"
IDS_NAME = "ids.tsv"

# Of Linux: paths relative to the working directory; swap two paths.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def write_index_folder(path: str | os.PathLike, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Writes ids object [V] and vectors float32 [V, D]; an index that is there is replaced.

    Raises:
        ValueError: `path` is something else than such a folder.
        OSError: the folder may not be written to, or the disk is full.
    """
    with _replace_folder(Path(path).absolute()) as folder:
        with open(folder / VECTORS_NAME, "wb") as file:
            np.save(file, vectors)
            _force_to_disk(file)
        with open(folder / IDS_NAME, "wb") as file:
            file.write("".join(f"{item_id}\n" for item_id in ids).encode())
            _force_to_disk(file)


def read_index_folder(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids and the vectors, which stay on the disk until they are used.

    Raises:
        ValueError: the folder is no index.
        FileNotFoundError: there is none.
    """
    path = Path(path)
    while True:
        # Another process may replace the folder while its files are opened: then once more.
        folder = _identify(path)
        try:
            found = _read_files(path)
        except (OSError, ValueError, EOFError):
            if _identify(path) == folder:
                raise
        else:
            if _identify(path) == folder:
                return found


def _read_files(path: Path) -> tuple[np.ndarray, np.ndarray]:
    vectors = np.load(path / VECTORS_NAME, mmap_mode="r", allow_pickle=False)
    text = (path / IDS_NAME).read_bytes().decode()
    if vectors.dtype != np.float32 or vectors.ndim != 2:
        raise ValueError(
            f"{VECTORS_NAME} must be float32 [V, D], got {vectors.dtype} {list(vectors.shape)}"
        )
    return np.array(text.split("\n")[:-1], dtype=object), vectors


@contextlib.contextmanager
def _replace_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder beside `path` to write to; at the end it takes the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_other_content(path)
    hidden = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    hidden.mkdir()
    try:
        yield hidden
        _refuse_other_content(path)
        if path.exists():
            _exchange(hidden, path)
        else:
            hidden.rename(path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _refuse_other_content(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"an index is a folder, but {path} is a file: choose another path")
    foreign = sorted({child.name for child in path.iterdir()} - {VECTORS_NAME, IDS_NAME})
    if foreign:
        raise ValueError(
            f"{path} holds {foreign[0]!r}, which is not of an index, so it is not replaced: choose "
            "another folder"
        )


def _exchange(new: Path, old: Path) -> None:
    """Makes `new` what `old` was, and the other way round."""
    with contextlib.suppress(AttributeError):
        names = os.fsencode(new), os.fsencode(old)
        rename = ctypes.CDLL(None).renameat2
        if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
    # Not on this system or file system: for a moment there is none of the two.
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)


def _identify(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _force_to_disk(file: object) -> None:
    file.flush()
    os.fsync(file.fileno())
