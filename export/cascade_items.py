"""What a ranker reads of the items that a retriever knows: found in a table, encoded once.

A ranker's features are the item's where a table of items has their columns, and the request's where
it has not. In logs that were joined with such a table by the column of the item's ids it is that
one; otherwise it is a table with that column among others.
"""

import dataclasses
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrec_zoo.config import own_options
from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.log_format import expand_paths
from tfrec_zoo.data.news.item_features import encode_items
from tfrec_zoo.data.news.item_table import ItemTable, Paths, read_item_table
from tfrec_zoo.data.tables.table_block import TableBlock
from tfrec_zoo.data.tables.table_columns import (
    CategoricalColumn,
    DenseColumn,
    FileLayout,
    SideTable,
)
from tfrec_zoo.data.tables.table_sources import check_column, open_table
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.export.restored import RestoredDLRM
from tfrec_zoo.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """The features of a ranker, and those that are the item's of all items.

    Attributes:
        item_column: the column of the ranker's log that holds the ids of items.
        schema: the item's features, in the order of the ranker's.
        request_schema: the others; None where there are none.
        rows: the item's features of each row of the retriever, [V + 1]; row 0 is zeros.
        num_missing: items that the table lacks: but for the id, all their features are missing.
    """

    item_column: str
    schema: ClickSchema
    request_schema: ClickSchema | None
    rows: ClickRows
    num_missing: int


def read_item_features(
    ranker: RestoredDLRM, ids: np.ndarray, item_column: str, paths: Paths | None = None
) -> ItemFeatures:
    """Reads a table of items, and encodes what the ranker knows it by.

    Args:
        ranker: the model, its features, and the specification of its log's columns.
        ids: the retriever's items in the order of their rows, object [V].
        item_column: the column of that log that holds the ids of items.
        paths: the table: a file or several, wildcards allowed. A file of the name of the side table
            that the log was joined with by `item_column` is written as that one, any other as its
            ending says, with `item_column` in its header line. None: that side table itself.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: there is no such table, it is not what it should be, it has no feature of the
            ranker's, or none of the items.
    """
    if ranker.spec is None:
        raise ValueError(
            "the ranker's run has no spec.json, so the columns of its features are not known: "
            "train it on a log with a column specification"
        )
    spec = TableSpec.from_dict(ranker.spec)
    side = next((side for side in spec.join if side.on == item_column), None)
    if paths is None:
        if side is None:
            raise ValueError(
                f"the ranker's log was joined with no table by {item_column!r}: pass the table of "
                "items"
            )
        paths = side.file
    files = expand_paths(paths)
    layout, key = _find_layout(files, side, item_column)
    names = _list_columns(files[0], layout, key, item_column)
    item_spec = _choose_features(spec, layout, key, item_column, names)
    item_features = [feature.name for feature in (*item_spec.dense, *item_spec.categorical)]
    schema, request_schema = split_schema(ranker.schema, item_features)
    table = read_item_table(files, item_spec)
    known = Vocabulary(table.ids, np.zeros(len(table.ids), np.int64))
    missing = ids[known.rows(ids) == 0]
    if len(missing) == len(ids):
        raise ValueError(
            f"none of the {len(ids)} items of the retriever is in the table of items: the "
            f"retriever has, for example, {ids[0]!r} and the table {table.ids[0]!r}; is "
            f"{item_column!r} the right column?"
        )
    if len(missing):
        table = table.append_ids(missing, item_spec)
    rows = encode_items(_arrange(table, ids, key, item_column), schema, ranker.vocabularies)
    return ItemFeatures(item_column, schema, request_schema, rows, len(missing))


def split_schema(
    schema: ClickSchema, item_features: Iterable[str]
) -> tuple[ClickSchema, ClickSchema | None]:
    """Returns the features of the item, which are given by name, and the others."""
    names = set(item_features)

    def take(is_item: bool) -> ClickSchema | None:
        dense = [feature for feature in schema.dense if (feature.name in names) == is_item]
        categorical = [f for f in schema.categorical if (f.name in names) == is_item]
        return ClickSchema(dense, categorical) if dense or categorical else None

    return take(True), take(False)


def _find_layout(
    files: Iterable[Path], side: SideTable | None, item_column: str
) -> tuple[FileLayout, str]:
    """Returns how the files of the table of items are written, and the column of their ids."""
    if side is not None and all(fnmatch.fnmatch(path.name, Path(side.file).name) for path in files):
        options = {option.name: getattr(side, option.name) for option in own_options(FileLayout)}
        return FileLayout(**options), side.key
    return FileLayout(), item_column


def _list_columns(path: Path, layout: FileLayout, key: str, item_column: str) -> set[str]:
    """Returns the columns of a table of items, that of the ids under the name the log has."""
    table = open_table(path, layout)
    check_column(key, table)
    return {*table.names, item_column} - ({key} - {item_column})


def _choose_features(
    spec: TableSpec, layout: FileLayout, key: str, item_column: str, names: set[str]
) -> TableSpec:
    """Returns what is read of the table of items: the features whose columns it has."""

    def choose(features: Iterable[DenseColumn | CategoricalColumn]) -> list:
        chosen = [
            feature
            for feature in features
            if set(getattr(feature, "columns", (feature.column,))) <= names
        ]
        return [
            dataclasses.replace(feature, column=key) if feature.column == item_column else feature
            for feature in chosen
        ]

    dense, categorical = choose(spec.dense), choose(spec.categorical)
    if not dense and not categorical:
        columns = [feature.column for feature in spec.dense]
        columns += [column for feature in spec.categorical for column in feature.columns]
        raise ValueError(
            f"the table of items has no column of a feature of the ranker: it has "
            f"{', '.join(sorted(names))}, and the features are read from {', '.join(columns)}"
        )
    return TableSpec(layout=layout, id=key, dense=dense, categorical=categorical)


def _arrange(table: ItemTable, ids: np.ndarray, key: str, item_column: str) -> TableBlock:
    """Returns the block of items `ids`, in this order, numbers under the names of the log."""
    places = Vocabulary(table.ids, np.zeros(len(table.ids), np.int64)).rows(ids) - 1
    block = table.block.take(places)
    dense = {item_column if name == key else name: column for name, column in block.dense.items()}
    return dataclasses.replace(block, dense=dense)
