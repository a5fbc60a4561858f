"""An index on the disk: a folder of two files that any vector service can read.

    vectors.npy   float32 [V, D], for `numpy.load`
    ids.tsv       a line for each vector, in their order: the item's id

The folder is whole or not there. Where there was one before it stays until the new one takes its
place, in one step where the system can exchange two folders (Linux).
"""

import os
from pathlib import Path

import numpy as np

from tfrec_zoo.atomic_file import replace_folder

VECTORS_NAME = "vectors.npy"
IDS_NAME = "ids.tsv"


def write_index_folder(path: str | os.PathLike, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Writes ids object [V] and vectors float32 [V, D]; an index that is there is replaced.

    Raises:
        ValueError: `path` is something else than such a folder.
        OSError: the folder may not be written to, or the disk is full.
    """
    path = Path(path).absolute()
    _refuse_other_content(path)
    with replace_folder(path) as folder:
        np.save(folder / VECTORS_NAME, vectors)
        (folder / IDS_NAME).write_bytes("".join(f"{item_id}\n" for item_id in ids).encode())
        # Something else may have come there in the meantime.
        _refuse_other_content(path)


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


def _identify(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
