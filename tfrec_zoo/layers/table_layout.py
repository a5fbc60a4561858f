"""Where the tables of categorical features lie: side by side in few large ones.

Looking up F features in F tables takes F gathers and F scatters a step. Tables of equal width are
therefore stored as one, a *store*, each as a range of its rows: one gather and one scatter serve
them all. Row 0 of a store is padding and belongs to no feature.

A table of more than `qr_threshold` rows is split by the quotient-remainder trick (Shi et al. 2020):
row i becomes row i // c of a quotient table and row i % c of a remainder table, c being
`qr_collisions`, so that no two rows share both.

Free of TensorFlow, for the input pipeline locates rows, too.
"""

import functools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema

PADDING_ROW = 0

_BYTES_A_NUMBER = 4
_NO_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class TableSettings:
    """How tables are stored.

    Attributes:
        embedding_dim: D, the width in which features meet.
        widths: features whose tables have another width.
        num_extra_columns: numbers behind each row's vector.
        qr_threshold: tables of more rows are split, unless they have a width of their own; 0: none.
        qr_collisions: c.
        qr_operation: `mult`, `add` or `concat` (whose two tables are half as wide).
    """

    embedding_dim: int
    widths: dict[str, int]
    num_extra_columns: int = 0
    qr_threshold: int = 0
    qr_collisions: int = 4
    qr_operation: str = "mult"

    def is_split(self, feature: CategoricalFeature) -> bool:
        """Returns whether a feature's table is a quotient and a remainder table."""
        has_own_width = self.widths.get(feature.name, self.embedding_dim) != self.embedding_dim
        return 0 < self.qr_threshold < feature.num_rows and not has_own_width


@dataclass(frozen=True)
class TablePart:
    """A feature's table, or one of the two that it is split into, inside a store.

    A value's row r has the row `first_row + r // divisor % modulus` of the store. `slots` are those
    of the feature; `categories` are the rows that it would have unsplit. The name is the feature's,
    or that with `.quotient` or `.remainder` behind it.
    """

    name: str
    feature: str
    slots: tuple[int, ...]
    first_row: int
    num_rows: int
    categories: int
    divisor: int = 1
    modulus: int = _NO_LIMIT


@dataclass(frozen=True)
class Store:
    """Tables of one width: either all whole, or all split.

    Attributes:
        width: columns of a row, the extra ones included.
        tables: the whole tables, or the quotient tables.
        remainders: the remainder tables, in the same order; none if the tables are whole.
        features: the features' positions in the schema.
    """

    width: int
    tables: tuple[TablePart, ...]
    remainders: tuple[TablePart, ...]
    features: tuple[int, ...]

    @property
    def parts(self) -> tuple[TablePart, ...]:
        """All parts, in the order of their lookups."""
        return (*self.tables, *self.remainders)

    @property
    def num_rows(self) -> int:
        """Rows, the padding row included."""
        return 1 + sum(part.num_rows for part in self.parts)

    @property
    def num_bytes(self) -> int:
        """Size in memory."""
        return self.num_rows * self.width * _BYTES_A_NUMBER

    @property
    def slots(self) -> list[int]:
        """The schema's slots of the features, in their order."""
        return [slot for table in self.tables for slot in table.slots]

    @functools.cached_property
    def lookups(self) -> "Lookups":
        """What is looked up for an example, part after part."""
        places = [(part, slot) for part in self.parts for slot in part.slots]
        return Lookups(
            slots=np.array([slot for _, slot in places], np.int32),
            first_rows=np.array([part.first_row for part, _ in places], np.int32),
            divisors=np.array([part.divisor for part, _ in places], np.int32),
            moduli=np.array([part.modulus for part, _ in places], np.int32),
        )

    def locate(self, rows: np.ndarray, row_weights: np.ndarray | None = None) -> np.ndarray:
        """Returns the rows of the store that examples look up, int32 [..., L].

        Args:
            rows: int32 [..., S], of the features' own tables.
            row_weights: float [..., S]; a slot without weight is padding and has row 0. None: no
                slot is.
        """
        looked_up = self.lookups
        located = rows[..., looked_up.slots]
        if self.remainders:
            located = located // looked_up.divisors % looked_up.moduli
        located += looked_up.first_rows
        if row_weights is not None:
            located[row_weights[..., looked_up.slots] == 0] = PADDING_ROW
        return located


class Lookups(NamedTuple):
    """Of each of an example's L lookups in a store: int32 [L] each.

    The row is `first_rows + rows[slots] // divisors % moduli`.
    """

    slots: np.ndarray
    first_rows: np.ndarray
    divisors: np.ndarray
    moduli: np.ndarray


def lay_out(schema: ClickSchema, settings: TableSettings) -> tuple[Store, ...]:
    """Returns the stores of all categorical features, the widest first.

    Raises:
        ValueError: a width is given for a feature that the schema lacks, or a store has more rows
            than an int32 counts.
    """
    names = [feature.name for feature in schema.categorical]
    if unknown := sorted(set(settings.widths) - set(names)):
        raise ValueError(
            f"table_dims names {unknown[0]!r}, the categorical features are {', '.join(names)}"
        )
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, feature in enumerate(schema.categorical):
        width = settings.widths.get(feature.name, settings.embedding_dim)
        is_split = settings.is_split(feature)
        if is_split and settings.qr_operation == "concat":
            width //= 2
        groups.setdefault((width, is_split), []).append(index)
    return tuple(
        _lay_out_store(schema, settings, width, is_split, features)
        for (width, is_split), features in sorted(groups.items(), reverse=True)
    )


def _lay_out_store(
    schema: ClickSchema, settings: TableSettings, width: int, is_split: bool, features: list[int]
) -> Store:
    collisions, offsets = settings.qr_collisions, schema.slot_offsets
    parts: list[list[TablePart]] = [[], []]
    next_row = PADDING_ROW + 1
    for remainder in range(1 + is_split):
        for index in features:
            feature = schema.categorical[index]
            part = TablePart(
                name=feature.name,
                feature=feature.name,
                slots=tuple(range(offsets[index], offsets[index + 1])),
                first_row=next_row,
                num_rows=feature.num_rows,
                categories=feature.num_rows,
            )
            if is_split and not remainder:
                part = replace(
                    part,
                    name=f"{feature.name}.quotient",
                    num_rows=-(-feature.num_rows // collisions),
                    divisor=collisions,
                )
            elif is_split:
                part = replace(
                    part,
                    name=f"{feature.name}.remainder",
                    num_rows=collisions,
                    modulus=collisions,
                )
            next_row += part.num_rows
            parts[remainder].append(part)
    if next_row > _NO_LIMIT:
        raise ValueError(
            f"the tables of width {width} have {next_row:,} rows together, more than "
            f"{_NO_LIMIT:,}: lower max_rows at preparation, or set qr_threshold"
        )
    width += settings.num_extra_columns
    return Store(width, tuple(parts[0]), tuple(parts[1]), tuple(features))


def mixed_widths(schema: ClickSchema, embedding_dim: int, temperature: float) -> dict[str, int]:
    """Returns the widths of the mixed-dimension rule (Ginart et al. 2019) by feature.

    `D * (smallest / rows) ** temperature`, rounded to the nearest power of 2 and at least 1, where
    `smallest` are the rows of the smallest table.
    """
    smallest = min((feature.num_rows for feature in schema.categorical), default=1)
    widths = {}
    for feature in schema.categorical:
        width = embedding_dim * (smallest / feature.num_rows) ** temperature
        widths[feature.name] = min(max(1, 2 ** round(np.log2(width))), embedding_dim)
    return widths
