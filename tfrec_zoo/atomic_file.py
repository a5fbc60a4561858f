"""Files that are whole or not there: written beside their place, then renamed into it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


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
