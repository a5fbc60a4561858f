"""What becomes of ids, clicks, times and content as items come and go."""

from dataclasses import replace

import numpy as np
import pytest
from table_oracle import write

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.export.item_changes import change_items
from tfrec_zoo.vocabulary import Vocabulary

SPEC = {"id": "Id", "time": "Published", "categorical": [{"name": "topic", "min_count": 1}]}
HEADER = "Id\tPublished\ttopic\n"
OLD = "a\t10\tx\nb\t20\ty\nd\t40\ty\n"
NEW = "b\t25\tx\ne\t50\ty\nf\t70\tz\nc\t60\tx\n"


def read(folder, text, name):
    return write(folder / name, HEADER + text)


@pytest.fixture
def catalogue(tmp_path):
    path = read(tmp_path, OLD, "old.tsv")
    training = Vocabulary(["b", "a", "c"], [5, 2, 1])
    # Of c nothing is known but the id.
    return ItemCatalogue.build(
        path, TableSpec.from_dict(SPEC), training=training, missing_items="keep"
    )


@pytest.fixture
def new(catalogue, tmp_path):
    return catalogue.encode(read(tmp_path, NEW, "new.tsv"))


def without_times(catalogue):
    return replace(catalogue, times=None)


def describe(catalogue):
    """Returns id -> (clicks, time, topic) of each item; of an unknown topic ""."""
    topics = catalogue.vocabularies["topic"].raw_ids(catalogue.features.rows[:, 0])[1:]
    times = np.full(catalogue.num_items, None) if catalogue.times is None else catalogue.times[1:]
    times = [None if time is None or np.isnan(time) else time for time in times]
    parts = zip(catalogue.vocabulary.counts.tolist(), times, topics, strict=True)
    return dict(zip(catalogue.ids, parts, strict=True))


def test_added_items_follow_and_changed_ones_stay_in_place(catalogue, new):
    changes = change_items(catalogue, added=new)
    assert list(describe(changes.catalogue).items()) == [
        ("a", (2, 10, "x")),
        ("b", (5, 25, "x")),
        ("d", (0, 40, "y")),
        ("c", (1, 60, "x")),
        ("e", (0, 50, "y")),
        ("f", (0, 70, "")),
    ]
    assert (changes.num_new, changes.num_changed, changes.num_removed) == (2, 2, 0)


def test_a_replacement_keeps_the_clicks_of_training(catalogue, new):
    changes = change_items(catalogue, replacement=new)
    assert list(describe(changes.catalogue).items()) == [
        ("b", (5, 25, "x")),
        ("e", (0, 50, "y")),
        ("f", (0, 70, "")),
        ("c", (1, 60, "x")),
    ]
    assert (changes.num_new, changes.num_changed, changes.num_removed) == (2, 2, 2)


def test_what_is_removed_stays_out(catalogue, new):
    ids = np.array(["b", "f", "nobody", "d"], dtype=object)
    for changes in (
        change_items(catalogue, added=new, removed_ids=ids),
        change_items(catalogue, added=new, replacement=catalogue, removed_ids=ids),
    ):
        assert set(describe(changes.catalogue)) == {"a", "c", "e"}
        assert (changes.num_new, changes.num_removed) == (1, 2)


def test_without_a_column_of_times_new_items_came_up_now(catalogue, new):
    bare = without_times(new)
    found = describe(change_items(catalogue, added=bare, now=99.0).catalogue)
    assert {item: part[1] for item, part in found.items()} == {
        **{"a": 10, "b": 20, "c": None, "d": 40},
        **{"e": 99, "f": 99},
    }
    found = describe(change_items(catalogue, replacement=bare, now=99.0).catalogue)
    assert {item: part[1] for item, part in found.items()} == {"b": 20, "e": 99, "f": 99, "c": None}
    found = describe(change_items(catalogue, added=bare).catalogue)
    assert found["e"][1] is None and found["a"][1] == 10


def test_how_much_items_are_shown_stays(catalogue, new):
    shown = replace(catalogue, shows=np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    found = change_items(shown, added=new, removed_ids=np.array(["a"], object)).catalogue
    assert dict(zip(found.ids, found.shows[1:], strict=True)) == {
        **{"b": 2.0, "d": 3.0, "c": 4.0},
        **{"e": 0.0, "f": 0.0},
    }
    found = change_items(shown, replacement=new).catalogue
    shows = dict(zip(found.ids, found.shows[1:], strict=True))
    assert shows == {"b": 2.0, "e": 0.0, "f": 0.0, "c": 4.0}


def test_items_without_any_times(catalogue, new):
    bare = without_times(catalogue)
    changes = change_items(bare, added=without_times(new), now=99.0)
    assert changes.catalogue.times is None and changes.catalogue.num_items == 6


def test_some_item_must_remain(catalogue):
    with pytest.raises(ValueError, match="no item would be left of 4"):
        change_items(catalogue, removed_ids=catalogue.ids)
    same = change_items(catalogue)
    assert describe(same.catalogue) == describe(catalogue)
    assert (same.num_new, same.num_changed, same.num_removed) == (0, 0, 0)
