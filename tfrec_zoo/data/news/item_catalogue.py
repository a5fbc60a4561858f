"""The catalogue of items: ids, encoded content, and how new items are encoded.

catalogue = ItemCatalogue.build("articles.tsv", spec, training=vocabulary)
catalogue = catalogue.extend(catalogue.encode("new_articles.tsv"))
catalogue.save("catalogue")
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.news.catalogue_folder import read_catalogue_folder, write_catalogue_folder
from tfrec_zoo.data.news.item_features import (
    count_cut,
    count_unknown,
    encode_items,
    learn_item_features,
)
from tfrec_zoo.data.news.item_table import (
    ItemTable,
    Paths,
    make_items_of_ids,
    read_item_table,
)
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.vocabulary import Vocabulary, as_text_ids

MISSING_ITEMS = ("skip", "keep")
ID_FEATURE = "item"


@dataclass(frozen=True, eq=False)
class ItemCatalogue:
    """Items by row: item i has row i + 1, row 0 is padding and every unknown item.

    Attributes:
        vocabulary: the ids, and how often each item was clicked in training (0: never).
        features: the content of each row, [V + 1]; row 0 and all labels are 0.
        schema: what the features are.
        vocabularies: name of a feature -> its vocabulary, for those that have one.
        spec: the columns of the tables that items come from.
        times: float64 [V + 1], when each item was published, NaN where that is not known; None
            where the specification has no time.
        shows: float64 [V + 1], how much each item is being shown (`Exposures.levels`) at the time
            that the catalogue is of; None where that is not known.
        click_lifts: float64 [V + 1], by how many times more often than others each item is clicked
            when it is shown (`Exposures.click_lifts`); None where that is not known.
        summary: plain JSON values: what was counted when the items were read.
    """

    vocabulary: Vocabulary
    features: ClickRows
    schema: ClickSchema
    vocabularies: Mapping[str, Vocabulary]
    spec: TableSpec
    times: np.ndarray | None = None
    shows: np.ndarray | None = None
    click_lifts: np.ndarray | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that there is a row for each item."""
        if self.features.num_rows != self.vocabulary.num_rows:
            raise ValueError(
                f"got {self.vocabulary.num_items} ids and features of {self.features.num_rows} "
                "rows, expected one row more than ids"
            )

    @classmethod
    def build(
        cls,
        paths: Paths,
        spec: TableSpec,
        *,
        training: Vocabulary | None = None,
        learn_from_all: bool = False,
        min_count: int = 2,
        log_ids: Any = (),
        missing_items: str = "skip",
        max_bad_rows: int = 0,
        on_bad_row: Callable[[str], None] = lambda sentence: None,
    ) -> "ItemCatalogue":
        """Reads a table of items, and learns how items are encoded.

        Args:
            paths: the table: a file or several, wildcards allowed.
            spec: what its columns are.
            training: the items of the training log and their clicks; None: all items, no clicks.
            learn_from_all: learn vocabularies and scales from all items, rather than from those
                that occur in training.
            min_count: how often a value must occur in these to get a row of its own, where the
                specification says nothing.
            log_ids: ids of other logs, such as the test's, to be looked for in the table.
            missing_items: what becomes of items of the logs that the table lacks: `skip` leaves
                them out, `keep` gives them a row without any content but the id.
            max_bad_rows: rows that may be passed over because of what is wrong with them.
            on_bad_row: is told what is wrong with each of those.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is not what it should be, or no item of the training log is in it.
        """
        if missing_items not in MISSING_ITEMS:
            raise ValueError(
                f"missing_items must be one of {', '.join(MISSING_ITEMS)}, got {missing_items!r}"
            )
        spec = spec.pin_side_tables(paths)
        table = read_item_table(paths, spec, max_bad_rows=max_bad_rows, on_bad_row=on_bad_row)
        known = Vocabulary(table.ids, np.zeros(len(table.ids), np.int64))
        log_ids = as_text_ids(np.asarray(log_ids, dtype=object))
        if training is not None:
            _require_known(known, training)
            log_ids = np.concatenate([training.ids, log_ids])
        missing = np.array(list(dict.fromkeys(log_ids[known.rows(log_ids) == 0])), dtype=object)
        if missing_items == "keep" and len(missing):
            table = table.append_ids(missing, spec)
        is_training = np.ones(len(table.ids), bool)
        if training is not None and not learn_from_all:
            is_training = training.rows(table.ids) > 0
        schema, vocabularies = learn_item_features(table.block, spec, is_training, min_count)
        counts = {
            "num_learned_from": int(np.count_nonzero(is_training)),
            "num_missing": len(missing),
            "missing_items": missing_items,
            "missing_examples": missing[:3].tolist(),
        }
        return cls._from_table(table, schema, vocabularies, spec, training, counts)

    @classmethod
    def of_ids(cls, vocabulary: Vocabulary) -> "ItemCatalogue":
        """Returns the catalogue of a log without a table of items: of each item the id alone.

        Args:
            vocabulary: the items of the training log. An item that it lacks cannot be encoded: it
                becomes row 0 of the one feature `item`.
        """
        spec = TableSpec.from_dict({"id": ID_FEATURE, "categorical": [ID_FEATURE]})
        table = ItemTable(make_items_of_ids(vocabulary.ids, spec))
        feature = CategoricalFeature(ID_FEATURE, ID_FEATURE, vocabulary.num_rows)
        schema = ClickSchema([], [feature])
        return cls._from_table(table, schema, {ID_FEATURE: vocabulary}, spec, vocabulary, {})

    @property
    def num_items(self) -> int:
        """The number of items, V."""
        return self.vocabulary.num_items

    @property
    def num_rows(self) -> int:
        """The rows of the features: the items and row 0."""
        return self.vocabulary.num_rows

    @property
    def ids(self) -> np.ndarray:
        """The ids in the order of the rows, object [V]; read-only."""
        return self.vocabulary.ids

    def __repr__(self) -> str:
        """Returns the size in words."""
        return f"ItemCatalogue of {self.num_items:,} items"

    def rows(self, ids: Any) -> np.ndarray:
        """Returns the row of each id, int32 of the same shape; 0 for unknown ones."""
        return self.vocabulary.rows(ids)

    def take(self, rows: np.ndarray) -> ClickRows:
        """Returns the features of `rows`, integer [n], in that order."""
        return self.features.take(rows)

    def encode(
        self,
        paths: Paths,
        *,
        max_bad_rows: int = 0,
        on_bad_row: Callable[[str], None] = lambda sentence: None,
    ) -> "ItemCatalogue":
        """Returns the items of another table, encoded as these are; nothing is learned.

        Side tables that lie beside it come before those that these items were joined with. The
        arguments and errors are those of `build`.
        """
        spec = self.spec.prefer_side_tables(paths)
        table = read_item_table(paths, spec, max_bad_rows=max_bad_rows, on_bad_row=on_bad_row)
        return self._from_table(table, self.schema, self.vocabularies, spec, None, {})

    def extend(self, other: "ItemCatalogue") -> "ItemCatalogue":
        """Returns a catalogue with the items of `other`, too: old rows stay, new ones follow.

        An item that is in both has the content of `other`, and the clicks of both.

        Raises:
            ValueError: the features are not the same.
        """
        if other.schema != self.schema:
            raise ValueError(
                "the items to add have other features than the catalogue: encode them by it"
            )
        vocabulary = self.vocabulary.extend(other.ids, other.vocabulary.counts)
        # The row, in the features of both one after the other, that each row's content comes from.
        source = np.arange(vocabulary.num_rows)
        source[vocabulary.rows(other.ids)] = self.num_rows + np.arange(1, other.num_rows)
        features = ClickRows.concatenate([self.features, other.features]).take(source)
        times = None
        if self.times is not None and other.times is not None:
            times = np.concatenate([self.times, other.times])[source]
        # Other content does not change how much an item is shown. Of new ones nothing is known.
        num_new = vocabulary.num_rows - self.num_rows
        shows = None if self.shows is None else np.pad(self.shows, (0, num_new))
        click_lifts = self.click_lifts
        if click_lifts is not None:
            click_lifts = np.pad(click_lifts, (0, num_new), constant_values=1)
        return replace(
            self,
            vocabulary=vocabulary,
            features=features,
            times=times,
            shows=shows,
            click_lifts=click_lifts,
            summary={},
        )

    def remove(self, ids: Any) -> "ItemCatalogue":
        """Returns a catalogue without the items `ids`; those behind them move up.

        Ids that the catalogue lacks are passed over.
        """
        is_kept = np.ones(self.num_rows, bool)
        is_kept[self.rows(ids)] = False
        is_kept[0] = True
        return replace(
            self,
            vocabulary=Vocabulary(self.ids[is_kept[1:]], self.vocabulary.counts[is_kept[1:]]),
            features=self.features.take(np.flatnonzero(is_kept)),
            times=None if self.times is None else self.times[is_kept],
            shows=None if self.shows is None else self.shows[is_kept],
            click_lifts=None if self.click_lifts is None else self.click_lifts[is_kept],
            summary={},
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the folder `path`, whole or not at all; a catalogue that is there is replaced.

        Raises:
            ValueError: `path` is something else than a catalogue.
        """
        write_catalogue_folder(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ItemCatalogue":
        """Reads what `save` wrote; the features stay on the disk until they are used.

        Raises:
            ValueError: the folder holds no catalogue.
        """
        return cls(**read_catalogue_folder(path))

    @classmethod
    def _from_table(
        cls,
        table: ItemTable,
        schema: ClickSchema,
        vocabularies: Mapping[str, Vocabulary],
        spec: TableSpec,
        training: Vocabulary | None,
        counts: Mapping[str, Any],
    ) -> "ItemCatalogue":
        features = encode_items(table.block, schema, vocabularies)
        clicks = np.zeros(len(table.ids), np.int64)
        if training is not None:
            clicks = training.row_counts()[training.rows(table.ids)]
        times = table.block.times
        if times is not None:
            times = np.concatenate([[np.nan], times.astype(np.float64)])
        summary = {
            "num_items": len(table.ids),
            "num_duplicates": table.num_duplicates,
            "num_bad_rows": table.num_bad_rows,
            "num_without_content": int(np.count_nonzero(table.is_empty(spec))),
            "num_cut": count_cut(table.block, spec),
            "unknown": count_unknown(features, schema),
            **counts,
        }
        vocabulary = Vocabulary(table.ids, clicks)
        return cls(vocabulary, features, schema, vocabularies, spec, times, summary=summary)


def _require_known(known: Vocabulary, training: Vocabulary) -> None:
    if training.num_items and not known.rows(training.ids).any():
        raise ValueError(
            f"none of the {training.num_items} items of the log is in the table of items: the log "
            f"has, for example, {training.ids[0]!r} and the table {known.ids[0]!r}; is the id "
            "column the right one?"
        )
