"""The parts of a column specification: how files are written, and what each column is for."""

import codecs
from dataclasses import dataclass

from tfrec_zoo.config import Config, option

FORMATS = ("csv", "tsv", "parquet")
TRANSFORMS = ("none", "log", "standard", "log_standard")
POOLINGS = ("sum", "mean")


@dataclass(frozen=True, kw_only=True)
class FileLayout(Config):
    """How the files of a table are written."""

    format: str | None = option(
        None, "csv, tsv or parquet; null goes by the ending of each file.", choices=FORMATS
    )
    delimiter: str | None = option(
        None, "Character between the fields of a text file; null goes by the format."
    )
    encoding: str = option("utf-8", "Of text files, by a name that Python knows.")
    column_names: tuple[str, ...] = option(
        (), "Columns of a text file that has no header line; empty where it has one."
    )

    def __post_init__(self) -> None:
        """Checks delimiter, encoding and names."""
        super().__post_init__()
        delimiter = self.delimiter
        if delimiter is not None and (
            len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'
        ):
            raise ValueError(
                f"delimiter must be one ASCII character, no quote and no line break, "
                f"got {delimiter!r}"
            )
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"encoding {self.encoding!r} is unknown, try utf-8") from None
        repeated = [n for n in self.column_names if self.column_names.count(n) > 1]
        if repeated:
            raise ValueError(f"column_names has {repeated[0]!r} more than once")
        if self.format == "parquet" and self.column_names:
            raise ValueError("column_names are for text files, a Parquet file has names of its own")


@dataclass(frozen=True, kw_only=True)
class LabelColumn(Config):
    """The column that says whether there was a click."""

    column: str = option("", "Name of the column.")
    at_least: float | None = option(
        None, "Values from here on are 1, others 0; null where the column holds 0 and 1."
    )


@dataclass(frozen=True, kw_only=True)
class DenseColumn(Config):
    """A feature that is a number."""

    name: str = option("", "Of the feature.")
    column: str | None = option(None, "Where it is read from; null is the column of its name.")
    transform: str = option(
        "none",
        "none; log = log(1 + max(x, 0)); standard = less the mean, by the deviation; "
        "log_standard = the log, then standard.",
        choices=TRANSFORMS,
    )

    def __post_init__(self) -> None:
        """Puts the name where no column is named."""
        super().__post_init__()
        object.__setattr__(self, "column", self.column or self.name)


@dataclass(frozen=True, kw_only=True)
class CategoricalColumn(Config):
    """A feature that is a text (or several), looked up in a table."""

    name: str = option("", "Of the feature.")
    column: str | None = option(None, "Where it is read from; null is the column of its name.")
    separator: str | None = option(
        None, "Stands between the values of one row; null where a row has one value."
    )
    weight_separator: str | None = option(
        None, "Stands between a value and its weight, as the colon in a:0.5|b:2."
    )
    max_values: int | None = option(
        None, "Values kept of a row, the first ones; null is 1, with flags their number."
    )
    pooling: str = option("sum", "How the vectors of a row's values become one.", choices=POOLINGS)
    min_count: int | None = option(
        None, "Rarer values share the row of unknown ones; null takes the program's number."
    )
    hash_rows: int | None = option(
        None, "Rows that values are hashed to, without a vocabulary; null builds a vocabulary."
    )
    buckets: int | None = option(
        None, "Reads a number and cuts it into at most so many buckets of equal counts."
    )
    flags: tuple[str, ...] | None = option(
        None, "Columns of 0 and 1: the values of a row are the names of those that are 1."
    )
    tokens: bool = option(
        False, "Whether the values of a row are the words of its text, see `tokens`."
    )
    oov_rows: int | None = option(
        None, "Rows that values outside the vocabulary are hashed to; null gives all of them row 0."
    )

    def __post_init__(self) -> None:
        """Completes the defaults and checks the options against each other."""
        super().__post_init__()
        object.__setattr__(self, "column", self.column or self.name)
        self._check_combinations()
        if self.max_values is None:
            if self.separator:
                raise ValueError("a separator needs max_values, the most values kept of a row")
            if self.tokens:
                raise ValueError("tokens need max_values, the most words kept of a text")
            object.__setattr__(self, "max_values", len(self.flags) if self.flags else 1)
        for name in ("max_values", "min_count", "hash_rows", "oov_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.buckets is not None and self.buckets < 2:
            raise ValueError(f"buckets must be 2 or more, got {self.buckets}")

    def _check_combinations(self) -> None:
        if self.separator == "" or self.weight_separator == "":
            raise ValueError("a separator must not be empty, use null where there is none")
        if self.flags is not None and len(set(self.flags)) != max(len(self.flags), 1):
            raise ValueError(f"flags must be different columns, got {list(self.flags)}")
        if self.flags and (self.separator or self.weight_separator):
            raise ValueError("flags have no separator: each column is one value")
        if self.weight_separator and self.weight_separator == self.separator:
            raise ValueError(f"separator and weight_separator are both {self.separator!r}")
        if self.tokens and (self.separator or self.weight_separator or self.flags):
            raise ValueError("tokens are words of a text: they go without separators and flags")
        if self.oov_rows and (self.hash_rows or self.buckets):
            raise ValueError(
                "oov_rows are for values outside the vocabulary: hash_rows and buckets have none"
            )
        if self.buckets and (self.hash_rows or self.min_count or self.is_multi_valued):
            raise ValueError(
                "buckets read one number a row, without hash_rows, min_count, separator, flags, "
                "tokens and max_values"
            )

    @property
    def is_multi_valued(self) -> bool:
        """Whether a row has any number of values, rather than one."""
        return bool(self.separator or self.flags or self.tokens) or (self.max_values or 1) > 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is read from."""
        return self.flags or (self.column,)


@dataclass(frozen=True, kw_only=True)
class VectorColumn(Config):
    """A feature that is a ready-made vector, such as the one that a text encoder gives."""

    name: str = option("", "Of the feature.")
    column: str | None = option(None, "Where it is read from; null is the column of its name.")
    size: int = option(
        0, "Numbers of each vector: in a text with blanks, commas or semicolons between them."
    )

    def __post_init__(self) -> None:
        """Puts the name where no column is named, and checks the size."""
        super().__post_init__()
        object.__setattr__(self, "column", self.column or self.name)
        if self.size < 1:
            raise ValueError(f"size, the numbers of a vector, must be positive, got {self.size}")


@dataclass(frozen=True, kw_only=True)
class SideTable(FileLayout):
    """A file with more columns, joined to the rows of the log by a key."""

    file: str = option("", "Path, relative to the specification's file or to the log's folder.")
    on: str = option("", "Column of the log that is looked up.")
    key: str | None = option(None, "Column of the file that it is looked up in; null is `on`.")

    def __post_init__(self) -> None:
        """Takes the log's name of the key where none is given."""
        super().__post_init__()
        object.__setattr__(self, "key", self.key or self.on)
