"""The features of click data, as `features.json` has them: what a model's inputs are made of.

An example is a label (0 or 1), Dn dense numbers, those of its vectors behind those that stand
alone, and S slots of rows. A single-valued categorical
feature takes one slot, a multi-valued one `max_values` of them, in the order of the features. Rows
count from 0 in each feature's own table:

    vocabulary  row 0 is every value outside the vocabulary (rare, or never seen in training),
                row i + 1 its item i; a missing value is the ordinary value `MISSING`. With
                `oov_rows` the values outside are hashed to that many rows behind the items instead
    hash        row 1 + hash(value) % (num_rows - 1); a missing value is `MISSING`, row 0 is padding
    buckets     row 0 is a missing number, row 1 + i the i-th range between `boundaries`

A multi-valued feature has no `MISSING`: its slots without a value are padding, which is row 0 with
the weight 0.
"""

import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tfrec_zoo.atomic_file import replace_file
from tfrec_zoo.config import parse_json_object

MISSING = "<missing>"
FEATURES_NAME = "features.json"
TRANSFORMS = ("none", "log", "standard", "log_standard")
KINDS = ("vocabulary", "hash", "buckets")
POOLINGS = ("sum", "mean")
# Rows are int32.
MAX_ROWS = 2**31 - 1

_NAME = re.compile(r"[A-Za-z0-9_.-]+")

Feature = TypeVar("Feature", "DenseFeature", "VectorFeature", "CategoricalFeature")


@dataclass(frozen=True)
class DenseFeature:
    """A number, and how it is brought into a model's range.

    Attributes:
        name: of the feature.
        column: of the table.
        transform: `none`; `log`, log(1 + max(x, 0)), as DLRM has it; `standard`, (x - mean) / std;
            `log_standard`, the same of the log.
        mean: of the training data (of their logs), for `standard` and `log_standard`.
        std: of the same, positive.
    """

    name: str
    column: str
    transform: str = "log"
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Checks name, transform and scale."""
        _check_name(self.name)
        _check_choice(self.name, "transform", self.transform, TRANSFORMS)
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise ValueError(
                f"feature {self.name}: expected a finite mean and a positive std, got {self.mean} "
                f"and {self.std}"
            )

    @property
    def is_log(self) -> bool:
        """Whether the logarithm is taken."""
        return self.transform in ("log", "log_standard")

    @property
    def is_scaled(self) -> bool:
        """Whether mean and deviation are taken out."""
        return self.transform in ("standard", "log_standard")

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Returns what the model is fed for raw `values` (NaN: missing); float32, the same shape.

        A missing value is 0 after the transform.
        """
        values = np.asarray(values, np.float32)
        if self.is_log:
            values = log_numbers(values)
        if self.is_scaled:
            values = (values - np.float32(self.mean)) / np.float32(self.std)
        return np.where(np.isnan(values), np.float32(0), values)


def log_numbers(values: np.ndarray) -> np.ndarray:
    """Returns log(1 + max(x, 0)) of float32 numbers; NaN stays NaN."""
    return np.log1p(np.maximum(values, np.float32(0)))


@dataclass(frozen=True)
class VectorFeature:
    """A ready-made vector, fed to the model as it is; a missing one is zeros.

    Attributes:
        name: of the feature.
        column: of the table.
        size: numbers of the vector.
    """

    name: str
    column: str
    size: int

    def __post_init__(self) -> None:
        """Checks name and size."""
        _check_name(self.name)
        if self.size < 1:
            raise ValueError(f"feature {self.name}: size must be positive, got {self.size}")


@dataclass(frozen=True)
class CategoricalFeature:
    """A value or several out of many, each a row of the feature's table.

    Attributes:
        name: of the feature, and of its vocabulary file.
        column: of the table.
        num_rows: of the feature's table, row 0 included.
        kind: `vocabulary`, `hash` or `buckets`, see the head of this module.
        max_values: slots of an example: values beyond these are dropped.
        pooling: what becomes of the rows of several values: their `sum` or `mean`.
        is_weighted: whether the values carry weights of their own.
        separator: between the values in a text; None where a text is one value.
        weight_separator: between a value and its weight; None without weights.
        boundaries: float32 values, ascending, for `buckets`: bucket i holds the numbers x with
            boundaries[i - 1] <= x < boundaries[i].
        oov_rows: rows, the last ones of the table, of values outside the vocabulary.
        tokens: whether the values are the words of a text, see `tfrec_zoo.data.tables.tokens`.
    """

    name: str
    column: str
    num_rows: int
    kind: str = "vocabulary"
    max_values: int = 1
    pooling: str = "sum"
    is_weighted: bool = False
    separator: str | None = None
    weight_separator: str | None = None
    boundaries: tuple[float, ...] = ()
    oov_rows: int = 0
    tokens: bool = False

    def __post_init__(self) -> None:
        """Checks the attributes against each other."""
        object.__setattr__(self, "boundaries", tuple(float(value) for value in self.boundaries))
        _check_name(self.name)
        _check_choice(self.name, "kind", self.kind, KINDS)
        _check_choice(self.name, "pooling", self.pooling, POOLINGS)
        if self.max_values < 1:
            raise ValueError(
                f"feature {self.name}: max_values must be 1 or more, got {self.max_values}"
            )
        if self.oov_rows < 0 or (self.oov_rows and self.kind != "vocabulary"):
            raise ValueError(
                f"feature {self.name}: oov_rows are of a vocabulary, 0 or more, got "
                f"{self.oov_rows} of {self.kind}"
            )
        least = {"vocabulary": 1, "hash": 2, "buckets": 2 + len(self.boundaries)}[self.kind]
        least += self.oov_rows
        most = least if self.kind == "buckets" else MAX_ROWS
        if not least <= self.num_rows <= most:
            raise ValueError(
                f"feature {self.name}: num_rows of {self.kind} must be from {least} to {most}, got "
                f"{self.num_rows}"
            )
        if any(
            low >= high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False)
        ):
            raise ValueError(f"feature {self.name}: boundaries must ascend, got {self.boundaries}")

    @property
    def has_bag(self) -> bool:
        """Whether its slots may be padding or weigh anything but 1."""
        return self.max_values > 1 or self.is_weighted

    @property
    def first_oov_row(self) -> int:
        """The row behind the vocabulary's, where those of values outside it begin."""
        return self.num_rows - self.oov_rows

    def bucket_rows(self, values: np.ndarray) -> np.ndarray:
        """Returns the row of each raw number (NaN: missing) of a `buckets` feature; int32 [n]."""
        values = np.asarray(values, np.float32)
        edges = np.asarray(self.boundaries, np.float32)
        rows = 1 + np.searchsorted(edges, values, side="right")
        return np.where(np.isnan(values), 0, rows).astype(np.int32)


@dataclass(frozen=True)
class ClickSchema:
    """All features of an example.

    Attributes:
        dense: numbers, the first columns of an example's `dense`, in this order.
        categorical: F features, in the order of their slots.
        has_weights: whether examples carry weights.
        vectors: their numbers are the other columns of `dense`.
    """

    dense: tuple[DenseFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    has_weights: bool = False
    vectors: tuple[VectorFeature, ...] = ()

    def __post_init__(self) -> None:
        """Checks that names differ and that there is something to learn from."""
        object.__setattr__(self, "dense", tuple(self.dense))
        object.__setattr__(self, "categorical", tuple(self.categorical))
        object.__setattr__(self, "vectors", tuple(self.vectors))
        names = [feature.name for feature in (*self.dense, *self.vectors, *self.categorical)]
        if not names:
            raise ValueError("a schema needs one feature or more, got none")
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"feature {repeated} is in the schema twice: names must differ")

    @property
    def num_dense(self) -> int:
        """Dn, the dense numbers of an example, those of vectors included."""
        return self.vector_offsets[-1]

    @property
    def vector_offsets(self) -> tuple[int, ...]:
        """Where each vector begins among the Dn numbers, and where the last one ends."""
        offsets = [len(self.dense)]
        for feature in self.vectors:
            offsets.append(offsets[-1] + feature.size)
        return tuple(offsets)

    @property
    def num_slots(self) -> int:
        """S, the slots of all categorical features together."""
        return self.slot_offsets[-1]

    @property
    def slot_offsets(self) -> tuple[int, ...]:
        """F + 1 numbers: feature f takes the slots from number f up to number f + 1."""
        offsets = [0]
        for feature in self.categorical:
            offsets.append(offsets[-1] + feature.max_values)
        return tuple(offsets)

    @property
    def has_vocabulary(self) -> np.ndarray:
        """Which slots have a vocabulary, so that row 0 is their unknown values; bool [S]."""
        kinds = [(f.kind == "vocabulary", f.max_values) for f in self.categorical]
        return np.concatenate([np.zeros(0, bool), *(np.full(n, has) for has, n in kinds)])

    @property
    def needs_row_weights(self) -> bool:
        """Whether slots may be padding or weigh anything but 1, so that weights are stored."""
        return any(feature.has_bag for feature in self.categorical)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClickSchema":
        """Returns the schema that `to_dict` gave; ValueError in one sentence for anything else."""
        _check_fields(cls, values, "a schema")
        return cls(
            dense=_read_features(DenseFeature, values["dense"]),
            categorical=_read_features(CategoricalFeature, values["categorical"]),
            has_weights=bool(values.get("has_weights", False)),
            vectors=_read_features(VectorFeature, values.get("vectors", [])),
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes `features.json`, atomically."""
        with replace_file(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ClickSchema":
        """Reads what `save` wrote.

        Raises:
            ValueError: the file is not a schema.
            FileNotFoundError: there is none.
        """
        text = Path(path).read_text(encoding="utf-8")
        try:
            return cls.from_dict(parse_json_object(text))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{os.fspath(path)} is not a list of features: {error}") from None


def _read_features(kind: type[Feature], values: Any) -> tuple[Feature, ...]:
    if not isinstance(values, list):
        raise ValueError(f"expected a list of features, got {values!r}")
    for value in values:
        _check_fields(kind, value, "a feature")
    return tuple(kind(**value) for value in values)


def _check_fields(kind: type, values: Any, what: str) -> None:
    """Raises ValueError unless `values` has the fields of `kind`: all needed ones, no others."""
    if not isinstance(values, Mapping):
        raise ValueError(f"expected {what} as an object, got {values!r}")
    known = {field.name: field.default for field in fields(kind)}
    for name in values:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
            raise ValueError(f"unknown field {name!r} in {what}: {advice}")
    for name, default in known.items():
        if default is NO_DEFAULT and name not in values:
            raise ValueError(f"{what} lacks the field {name!r}, it has {', '.join(values)}")


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"a feature's name is made of letters, digits, '_', '.' and '-', got {name!r}"
        )


def _check_choice(feature: str, what: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ValueError(
            f"feature {feature}: {what} must be one of {', '.join(choices)}, got {value!r}"
        )
