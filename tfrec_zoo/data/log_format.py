"""Which files a log consists of, their format, and which column holds what."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FORMATS = ("tsv", "csv", "parquet", "lines")
ENDINGS = {".tsv": "tsv", ".csv": "csv", ".parquet": "parquet", ".txt": "lines"}


@dataclass(frozen=True)
class SessionColumns:
    """Where a log has what.

    Attributes:
        session: the column of session ids.
        item: the column of item ids.
        time: the column of times; None or "" where the clicks of a session are in their order.
        names: the columns of a text file that has no header line; empty where it has one.
        file_format: one of `FORMATS`; None goes by the file's ending.
    """

    session: str = "SessionId"
    item: str = "ItemId"
    time: str | None = "Time"
    names: tuple[str, ...] = ()
    file_format: str | None = None

    def __post_init__(self) -> None:
        """Checks the columns against each other."""
        object.__setattr__(self, "time", self.time or None)
        if len(set(self.used)) < len(self.used):
            raise ValueError(
                "the columns of session, item and time must differ, got " + ", ".join(self.used)
            )
        if self.file_format not in (None, *FORMATS):
            raise ValueError(f"file_format is one of {', '.join(FORMATS)}, got {self.file_format}")

    @property
    def used(self) -> list[str]:
        """The columns to read: session, item and, if there is one, time."""
        return [self.session, self.item, *([self.time] if self.time else [])]

    def check(self, found: list[str], place: str) -> None:
        """Raises ValueError unless `found`, the columns of `place`, has each used one once."""
        for role in ("session", "item", "time"):
            name = getattr(self, role)
            if not name or found.count(name) == 1:
                continue
            problem = "more than one column" if name in found else "no column"
            advice = f"name the {role} column with --{role}_column"
            if role == "time":
                advice += " (an empty name if the clicks are in their order)"
            columns = ", ".join(found)
            raise ValueError(
                f"{place} has {problem} {name!r}, the columns found are {columns}; {advice}"
            )


def expand_paths(paths: str | os.PathLike | Iterable) -> list[Path]:
    """Returns the files that `paths` names, wildcards (`train-*.parquet`) replaced by what matches.

    What matches is sorted by name, numbers in it by their value: `day_2` comes before `day_10`.

    Raises:
        FileNotFoundError: a file is missing, or nothing matches.
        ValueError: there is no name at all, or one is a folder.
    """
    files = []
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        path = Path(path)
        if path.is_dir():
            raise ValueError(f"{path} is a folder, name the files in it: {path}/*.parquet")
        if not path.exists() and set("*?[") & set(path.name):
            matches = sorted(path.parent.glob(path.name), key=lambda file: natural_key(file.name))
            if not matches:
                raise FileNotFoundError(f"no file matches {path}")
            files += matches
        elif not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        else:
            files.append(path)
    if not files:
        raise ValueError("expected one log file or more, got none")
    return files


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Returns a sort key of a name in which runs of digits count as numbers."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def find_format(path: str | os.PathLike) -> str:
    """Returns the format that the ending of `path` stands for; ValueError for an unknown ending."""
    name = Path(path).name
    ending = Path(name.removesuffix(".gz")).suffix
    if ending not in ENDINGS or (name.endswith(".gz") and ending == ".parquet"):
        raise ValueError(
            f"the format of {path} is unknown: a log ends in .tsv, .csv or .txt (each also with "
            ".gz) or in .parquet"
        )
    return ENDINGS[ending]
