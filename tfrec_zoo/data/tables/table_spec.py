"""Column specifications: which columns a table has and what a model makes of them, in JSON.

    {
      "label": {"column": "rating", "at_least": 4},
      "time": "timestamp",
      "dense": [{"name": "age", "transform": "log"}],
      "categorical": [
        "user",
        {"name": "tags", "separator": "|", "max_values": 8, "pooling": "mean"},
        {"name": "price", "buckets": 50}
      ]
    }

`table_columns` describes every option. A feature may be given by its name alone, and so may the
label. A table of items has an `id`, the column of their ids, in place of the label, and perhaps
texts to be cut into words and ready-made vectors:

    {
      "id": "NewsId",
      "categorical": [
        {"name": "title", "column": "Title", "tokens": true, "max_values": 24, "oov_rows": 1000}
      ],
      "vectors": [{"name": "bert", "column": "vec", "size": 128}]
    }

Specifications of well-known data are packaged and found by name (`load_table_spec`).
"""

import dataclasses
import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrec_zoo.config import ABOUT_KEY, Config, own_options, parse_json_object, resolve_names
from tfrec_zoo.data.log_format import expand_paths
from tfrec_zoo.data.tables.table_columns import (
    CategoricalColumn,
    DenseColumn,
    FileLayout,
    LabelColumn,
    SideTable,
    VectorColumn,
)

PACKAGED_SPECS = Path(__file__).parent / "specs"

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_LISTS = {
    "dense": DenseColumn,
    "vectors": VectorColumn,
    "categorical": CategoricalColumn,
    "join": SideTable,
}
# Columns of the log that are named alone.
_PLAIN_COLUMNS = ("id", "weight", "time")
# What a text stands for where an object of options could be.
_SHORT_FORMS = {LabelColumn: "column", DenseColumn: "name", CategoricalColumn: "name"}


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What the columns of a table are.

    A feature's column is looked for in the log, then in the side tables in their order; label, id,
    weight, time and vectors are columns of the log.

    Attributes:
        layout: how the files of the log are written.
        label: the column of labels; None for a table that has none, such as one of items.
        id: the column that says which item a row is about; None for a table of examples.
        weight: the column of sample weights, or None.
        time: the column of times, or None.
        dense: features that are numbers.
        vectors: features that are vectors of numbers.
        categorical: features that are texts.
        join: side tables.
    """

    layout: FileLayout = FileLayout()
    label: LabelColumn | None = None
    id: str | None = None
    weight: str | None = None
    time: str | None = None
    dense: tuple[DenseColumn, ...] = ()
    vectors: tuple[VectorColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()
    join: tuple[SideTable, ...] = ()

    def __post_init__(self) -> None:
        """Checks names, and that a column is known where the specification lists all columns."""
        for name in _LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in _PLAIN_COLUMNS:
            object.__setattr__(self, name, getattr(self, name) or None)
        self._check_names()
        self._check_columns()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TableSpec":
        """Returns the specification in `values`, which is nested as the JSON is.

        Raises:
            ValueError: a key is unknown, a value is of the wrong type or against a rule.
        """
        values = {name: value for name, value in values.items() if name != ABOUT_KEY}
        _check_keys(values)
        parts = {name: values[name] for name in _PLAIN_COLUMNS if name in values}
        for name, value in parts.items():
            if not isinstance(value, str | None):
                raise ValueError(f"{name} must be the name of a column or null, got {value!r}")
        layout = {name: values[name] for name in _layout_names() if name in values}
        parts["layout"] = _read_config(FileLayout, layout, "")
        if values.get("label") is not None:
            parts["label"] = _read_config(LabelColumn, values["label"], "label: ")
        for name, config_class in _LISTS.items():
            parts[name] = _read_list(config_class, values.get(name) or (), name)
        return cls(**parts)

    @classmethod
    def from_json(cls, text: str) -> "TableSpec":
        """Returns the specification that `text` holds, see `from_dict`."""
        return cls.from_dict(parse_json_object(text))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values, without those that are defaults."""
        values = _changed_options(self.layout)
        if self.label is not None:
            values["label"] = _changed_options(self.label)
        values |= {n: getattr(self, n) for n in _PLAIN_COLUMNS if getattr(self, n)}
        for name in _LISTS:
            if getattr(self, name):
                values[name] = [_changed_options(part) for part in getattr(self, name)]
        return values

    @property
    def numeric_columns(self) -> tuple[str, ...]:
        """The columns that are read as numbers for dense features and buckets, each once."""
        columns = [feature.column for feature in self.dense]
        columns += [feature.column for feature in self.categorical if feature.buckets]
        return tuple(dict.fromkeys(columns))

    def pin_side_tables(self, paths: str | os.PathLike | Iterable) -> "TableSpec":
        """Returns the specification with whole paths, relative ones being those from a log."""
        folder = expand_paths(paths)[0].parent.absolute()
        sides = [dataclasses.replace(side, file=str(folder / side.file)) for side in self.join]
        return dataclasses.replace(self, join=sides)

    def unpin_side_tables(self) -> "TableSpec":
        """Returns the specification with names in place of paths: it may move with its log."""
        sides = [dataclasses.replace(side, file=Path(side.file).name) for side in self.join]
        return dataclasses.replace(self, join=sides)

    def prefer_side_tables(self, paths: str | os.PathLike | Iterable) -> "TableSpec":
        """Returns the specification with side tables that lie beside a log in place of its own.

        So a new log brings new side tables along, or brings the same ones to another machine.
        """
        logs = expand_paths(paths)
        return dataclasses.replace(self, join=[_find_beside(logs, side) for side in self.join])

    def _check_names(self) -> None:
        names = [feature.name for feature in (*self.dense, *self.vectors, *self.categorical)]
        if not names:
            raise ValueError("a column specification needs a dense or a categorical feature")
        if self.id and self.label:
            raise ValueError(
                "a table has a label, if its rows are examples, or an id, if they are items: "
                "leave one of them out"
            )
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"the feature name {name!r} becomes part of file names: use letters, digits "
                    "and . _ - (its column may have another name, given as column)"
                )
            if names.count(name) > 1:
                raise ValueError(f"two features are named {name!r}, names must differ")
        if self.label is not None and not self.label.column:
            raise ValueError("label: column is missing, the name of the column of labels")
        for place, side in enumerate(self.join):
            if not (side.file and side.on):
                raise ValueError(f"join[{place}] needs file, the side table, and on, the log's key")

    def _check_columns(self) -> None:
        if not self.layout.column_names:
            return
        own = self.layout.column_names
        needed = [self.label.column] if self.label else []
        needed += [name for name in (self.id, self.weight, self.time) if name]
        needed += [vector.column for vector in self.vectors]
        needed += [side.on for side in self.join]
        _check_known(needed, own)
        if all(side.column_names for side in self.join):
            features = [feature.column for feature in self.dense]
            features += [name for feature in self.categorical for name in feature.columns]
            _check_known(features, [*own, *(n for side in self.join for n in side.column_names)])


def load_table_spec(name_or_path: str | os.PathLike) -> TableSpec:
    """Reads a specification.

    Args:
        name_or_path: a JSON file, or the name of a packaged specification, such as `criteo`. The
            side tables of a file are looked for beside it first, then beside the log.

    Raises:
        ValueError: there is none, or something in it is wrong; the sentence names the file.
    """
    path = Path(name_or_path)
    if not path.exists():
        packaged = PACKAGED_SPECS / f"{name_or_path}.json"
        if path.name != str(name_or_path) or not packaged.exists():
            known = ", ".join(sorted(file.stem for file in PACKAGED_SPECS.glob("*.json")))
            raise ValueError(
                f"there is no column specification {name_or_path}: it is a JSON file or one of "
                f"{known}"
            )
        path = packaged
    try:
        spec = TableSpec.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return dataclasses.replace(spec, join=[_beside(side, path.parent) for side in spec.join])


def _beside(side: SideTable, folder: Path) -> SideTable:
    """Returns `side` with an absolute path where `folder` has its file."""
    path = (folder / side.file).absolute()
    is_there = path.exists() or any(path.parent.glob(path.name))
    return dataclasses.replace(side, file=str(path)) if is_there else side


def _find_beside(logs: list[Path], side: SideTable) -> SideTable:
    """Returns `side` with the one file of its name that lies beside `logs` and is none of them."""
    try:
        found = expand_paths(logs[0].parent / Path(side.file).name)
    except (FileNotFoundError, ValueError):  # Nothing, or a folder.
        return side
    found = [path for path in found if path.is_file() and path not in logs]
    return dataclasses.replace(side, file=str(found[0].absolute())) if len(found) == 1 else side


def _layout_names() -> list[str]:
    return [option.name for option in own_options(FileLayout)]


def _check_keys(values: Mapping[str, Any]) -> None:
    known = [*_layout_names(), "label", *_PLAIN_COLUMNS, *_LISTS]
    for name in values:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=3)
            advice = f"did you mean {' or '.join(nearest)}?" if nearest else ""
            advice = advice or f"known are {', '.join(sorted(known))}"
            raise ValueError(f"unknown key {name!r} in a column specification: {advice}")


def _read_list(config_class: type[Config], values: Any, name: str) -> tuple[Config, ...]:
    if not isinstance(values, list | tuple):
        raise ValueError(f"{name} must be a list, got {values!r}")
    return tuple(
        _read_config(config_class, value, f"{name}[{place}]: ")
        for place, value in enumerate(values)
    )


def _read_config(config_class: type[Config], value: Any, place: str) -> Config:
    short = _SHORT_FORMS.get(config_class)
    if isinstance(value, str) and short:
        value = {short: value}
    if not isinstance(value, Mapping):
        alternative = f" or the {short} alone" if short else ""
        raise ValueError(f"{place}expected an object of options{alternative}, got {value!r}")
    try:
        return config_class(**resolve_names(config_class, value))
    except ValueError as error:
        raise ValueError(f"{place}{error}") from None


def _changed_options(part: Config) -> dict[str, Any]:
    """Returns the options of `part` that a specification must say to get it again."""
    implied = {"column": getattr(part, "name", None), "key": getattr(part, "on", None)}
    if not (getattr(part, "separator", None) or getattr(part, "tokens", False)):
        implied["max_values"] = len(getattr(part, "flags", None) or "1")
    return {
        name: value
        for name, value in part.to_dict().items()
        if value not in (None, implied.get(name)) and value != _default_of(type(part), name)
    }


def _default_of(config_class: type[Config], name: str) -> Any:
    default = next(o.default for o in own_options(config_class) if o.name == name)
    return list(default) if isinstance(default, tuple) else default


def _check_known(needed: list[str], known: list[str] | tuple[str, ...]) -> None:
    for name in needed:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=3)
            advice = f"did you mean {' or '.join(nearest)}?" if nearest else ""
            advice = advice or f"the columns are {', '.join(known)}"
            raise ValueError(f"there is no column {name!r} in column_names: {advice}")
