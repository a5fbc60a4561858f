"""Changes of a catalogue of items that leave the model as it is: other items, more, fewer.

Clicks in training, how much an item is being shown, and its time where a table has none, are those
that the catalogue knows; what is new then came up now.
"""

from dataclasses import dataclass, replace

import numpy as np

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.vocabulary import Vocabulary


@dataclass(frozen=True)
class ItemChanges:
    """What became of the items.

    Attributes:
        catalogue: the items now.
        num_new: items that were not there before.
        num_changed: items that were there, with content that has been read anew.
        num_removed: items that are no longer there.
    """

    catalogue: ItemCatalogue
    num_new: int
    num_changed: int
    num_removed: int


def change_items(
    catalogue: ItemCatalogue,
    *,
    replacement: ItemCatalogue | None = None,
    added: ItemCatalogue | None = None,
    removed_ids: np.ndarray | None = None,
    now: float | None = None,
) -> ItemChanges:
    """Returns a catalogue after all changes, in this order: what is removed stays out.

    Args:
        catalogue: the items so far.
        replacement: of `catalogue.encode`, the only items that are left, with their content.
        added: of `catalogue.encode`, items in addition, or with new content in their old places.
        removed_ids: object [n]; ids that are not there are passed over.
        now: the time that new items came up at, where their table has no times; None: not known.

    Raises:
        ValueError: no item would be left.
    """
    found, read_ids = catalogue, []
    if replacement is not None:
        found = _inherit_counts(_inherit_times(replacement, catalogue, now), catalogue)
        read_ids.append(replacement.ids)
    if added is not None:
        found = found.extend(_inherit_times(added, catalogue, now))
        read_ids.append(added.ids)
    if removed_ids is not None:
        found = found.remove(removed_ids)
    if not found.num_items:
        raise ValueError(
            f"no item would be left of {catalogue.num_items:,}: keep some, for a model without "
            "items has no answer"
        )
    num_new = int(np.count_nonzero(catalogue.rows(found.ids) == 0))
    read_ids = np.unique(np.concatenate(read_ids)) if read_ids else np.zeros(0, object)
    is_changed = (catalogue.rows(read_ids) > 0) & (found.rows(read_ids) > 0)
    num_removed = catalogue.num_items - (found.num_items - num_new)
    return ItemChanges(found, num_new, int(np.count_nonzero(is_changed)), num_removed)


def _inherit_counts(items: ItemCatalogue, known: ItemCatalogue) -> ItemCatalogue:
    """Returns `items` with the clicks and shows that `known` has of them; of new ones none."""
    rows = np.concatenate([[0], known.rows(items.ids)])
    vocabulary = Vocabulary(items.ids, known.vocabulary.row_counts()[rows[1:]])
    shows = None if known.shows is None else np.where(rows > 0, known.shows[rows], 0.0)
    lifts = known.click_lifts
    lifts = None if lifts is None else np.where(rows > 0, lifts[rows], 1.0)
    return replace(items, vocabulary=vocabulary, shows=shows, click_lifts=lifts)


def _inherit_times(items: ItemCatalogue, known: ItemCatalogue, now: float | None) -> ItemCatalogue:
    """Returns `items` with times wherever `known` has some."""
    if known.times is None:
        return items
    rows = np.concatenate([[0], known.rows(items.ids)])
    times = known.times[rows]
    if items.times is not None:
        times = np.where(np.isnan(items.times), times, items.times)
    elif now is not None:
        times[1:][rows[1:] == 0] = now
    return replace(items, times=times)
