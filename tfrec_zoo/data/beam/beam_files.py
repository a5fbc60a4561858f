"""Files that Beam's workers share: on a local disk, or in any file system that Beam knows (`gs://`).

What reads and writes our formats works on local files. A path without a scheme is one; for any
other, a worker takes a copy, and sends back what it has written.
"""

import contextlib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from tfrec_zoo.atomic_file import replace_file
from tfrec_zoo.data.log_format import expand_paths, natural_key

_BYTES_A_COPY = 1 << 24


def list_files(paths: Iterable[str | os.PathLike]) -> list[str]:
    """Returns the files that `paths` names, wildcards replaced by what matches, sorted.

    Raises:
        FileNotFoundError: a file is missing, or nothing matches.
        ValueError: there is no name at all, or one is a folder.
    """
    files = []
    for path in map(os.fspath, paths):
        if not is_remote(path):
            files += [str(file.absolute()) for file in expand_paths(path)]
            continue
        found = FileSystems.match([path])[0].metadata_list
        if not found:
            raise FileNotFoundError(f"no file matches {path}")
        files += sorted((metadata.path for metadata in found), key=natural_key)
    return files


def is_remote(path: str) -> bool:
    """Returns whether `path` names a file system, as `gs://bucket/file` does."""
    return "://" in path


def list_folder(path: str) -> list[str]:
    """Returns the files in and below a folder of any file system; none where it is not there."""
    found = FileSystems.match([join_path(path, "**")])[0].metadata_list
    return sorted(metadata.path for metadata in found)


def join_path(folder: str, *names: str) -> str:
    """Returns the path of a file in `folder`."""
    return posixpath.join(folder, *names) if is_remote(folder) else os.path.join(folder, *names)


@contextlib.contextmanager
def open_local(path: str) -> Iterator[Path]:
    """Yields a local file with the content of `path`, under the same name.

    A ValueError about it names `path`.
    """
    if not is_remote(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="tfrec-") as folder:
        local = Path(folder) / posixpath.basename(path)
        with FileSystems.open(path, "application/octet-stream", "uncompressed") as source:
            with open(local, "wb") as target:
                shutil.copyfileobj(source, target, _BYTES_A_COPY)
        try:
            yield local
        except ValueError as error:
            raise ValueError(str(error).replace(str(local), path)) from None


@contextlib.contextmanager
def write_local(path: str) -> Iterator[Path]:
    """Yields a local file to write; at the end its content becomes that of `path`."""
    if not is_remote(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="tfrec-") as folder:
        local = Path(folder) / posixpath.basename(path)
        yield local
        with FileSystems.create(path, "application/octet-stream", "uncompressed") as target:
            with open(local, "rb") as source:
                shutil.copyfileobj(source, target, _BYTES_A_COPY)
