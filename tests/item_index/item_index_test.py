import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo import atomic_file
from tfrec_zoo.export.vocabulary_table import make_vocabulary_table
from tfrec_zoo.item_index.item_index import ItemIndex

WIDTH = 3


def draw_vectors(num_vectors, seed=0):
    return np.random.default_rng(seed).standard_normal((num_vectors, WIDTH)).astype(np.float32)


def make_index(*ids, seed=0):
    return ItemIndex(list(ids), draw_vectors(len(ids), seed))


def as_dict(index):
    return {
        item_id: vector.tolist() for item_id, vector in zip(index.ids, index.vectors, strict=True)
    }


def test_rows_are_those_of_a_vocabulary():
    index = make_index("a", "b", "é/ü 1")
    assert (index.num_items, index.width) == (3, WIDTH)
    assert index.rows([["b", "unknown"], ["", "é/ü 1"]]).tolist() == [[2, 0], [0, 3]]
    assert index.raw_ids([[3, 0]]).tolist() == [["é/ü 1", ""]]
    assert ItemIndex(np.array([7, 5]), draw_vectors(2)).ids.tolist() == ["7", "5"]


def test_changes_are_those_of_a_dictionary():
    rng = np.random.default_rng(1)
    index, expected = ItemIndex([], np.empty((0, WIDTH))), {}
    for step in range(200):
        before, content_before = index, as_dict(index)
        new_ids = [f"{step}-{i}" for i in range(rng.integers(0, 4))]
        old_ids = rng.choice(list(expected) or [""], min(2, len(expected)), replace=False)
        vectors = draw_vectors(len(new_ids), step)
        index = index.add(new_ids, vectors)
        expected |= {item_id: v.tolist() for item_id, v in zip(new_ids, vectors, strict=True)}
        vectors = draw_vectors(len(old_ids), -step % 1000)
        index = index.update(old_ids, vectors)
        expected |= {item_id: v.tolist() for item_id, v in zip(old_ids, vectors, strict=True)}
        for item_id in old_ids[:1]:
            index = index.remove([item_id])
            del expected[item_id]
        assert as_dict(index) == expected
        # The order, too: items that remain keep theirs, new ones follow.
        assert index.ids.tolist() == list(expected)
        assert as_dict(before) == content_before


def test_search_names_the_items():
    index = ItemIndex(["a", "b", "c"], [[1, 0], [3, 0], [2, 5]])
    ids, scores = index.search([[1.0, 0.0], [0.0, 1.0]], 2)
    assert ids.tolist() == [["b", "c"], ["c", "a"]]
    assert scores.tolist() == [[3.0, 2.0], [5.0, 0.0]]
    ids, scores = index.search([[1.0, 0.0]], 3, exclude_rows=index.rows([["b", "", "unknown"]]))
    assert ids.tolist() == [["c", "a", ""]]
    assert scores.tolist() == [[2.0, 1.0, -np.inf]]
    ids, _ = index.search([[1.0, 0.0]], 2, include_rows=index.rows([["a", "a", "unknown"]]))
    assert ids.tolist() == [["a", ""]]


def test_a_removed_item_is_never_answered_and_a_new_one_is():
    query = np.ones((1, WIDTH), np.float32)
    index = make_index("a", "b").add(["best"], 10 * query)
    assert index.search(query, 5)[0][0, 0] == "best"
    removed = index.remove(["best"])
    assert set(removed.search(query, 5)[0][0]) == {"a", "b", ""}
    # The index before goes on answering.
    assert index.search(query, 5)[0][0, 0] == "best"
    assert set(removed.remove(["a", "b"]).search(query, 2)[0][0]) == {""}


def test_removals_can_be_repeated_on_request():
    index = make_index("a", "b", "c")
    assert index.remove(["b", "gone"], missing_ok=True).ids.tolist() == ["a", "c"]
    assert index.remove(["b", "b"]).ids.tolist() == ["a", "c"]


def test_rebuild_takes_the_new_items_alone():
    rebuilt = make_index("a", "b").rebuild(["c", "a"], draw_vectors(2, seed=5))
    assert rebuilt.ids.tolist() == ["c", "a"]
    np.testing.assert_array_equal(rebuilt.vectors, draw_vectors(2, seed=5))


def test_an_index_cannot_be_written_to():
    index = make_index("a", "b")
    for array in (index.vectors, index.ids):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "b", "a"], np.zeros((3, 2)), "item 'a' is named twice"),
        (["a", ""], np.zeros((2, 2)), "item id '' cannot"),
        (["a\tb"], np.zeros((1, 2)), "no tab"),
        (["a"], np.zeros((2, 2)), "got 1 ids and vectors [2, 2], expected [1, D]"),
        (["a"], np.zeros(2), "got 1 ids and vectors [2], expected [1, D]"),
        (["a", "b"], [[1, 2], [1, 2, 3]], "item 'b' has 3 numbers, that of 'a' has 2"),
        (["a", "b"], [[1, 2], [1, np.nan]], "the vector of item 'b' is not finite"),
        (["a"], [[1e300]], "the vector of item 'a' is not finite"),
        ([1.5], [[1.0]], "must be texts or integers"),
    ],
)
def test_what_is_no_index_is_refused(ids, vectors, message):
    with pytest.raises(ValueError) as caught:
        ItemIndex(ids, vectors)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.add(["b"], draw_vectors(1)), "item 'b' is in the index already"),
        (lambda index: index.add(["c", "c"], draw_vectors(2)), "item 'c' is named twice"),
        (lambda index: index.add(["c"], [[1.0]]), "vectors of 1 numbers, those of the index have"),
        (lambda index: index.update(["c"], draw_vectors(1)), "item 'c' is not in the index"),
        (lambda index: index.update(["a", "a"], draw_vectors(2)), "item 'a' is named twice"),
        (lambda index: index.update(["a"], np.ones((1, 4))), "vectors of 4 numbers"),
        (lambda index: index.remove(["a", "c"]), "item 'c' is not in the index"),
        (lambda index: index.rebuild(["c"], np.ones((1, 4))), "vectors of 4 numbers"),
        (lambda index: index.search(np.ones((1, 4)), 1), "vectors of 3 numbers"),
        (lambda index: index.search(np.ones(3), 1), "got [3]"),
        (lambda index: index.search(np.ones((1, 3)), 0), "k must be at least 1, got 0"),
    ],
)
def test_changes_that_cannot_be_are_refused(change, message):
    index = make_index("a", "b")
    with pytest.raises(ValueError) as caught:
        change(index)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert as_dict(index) == as_dict(make_index("a", "b"))


def test_a_folder_holds_what_was_saved(tmp_path):
    index = make_index("a", "é/ü 1", "N7")
    index.save(tmp_path / "new" / "index")
    assert sorted(os.listdir(tmp_path / "new" / "index")) == ["ids.tsv", "vectors.npy"]
    assert as_dict(ItemIndex.load(tmp_path / "new" / "index")) == as_dict(index)
    # What other services read.
    np.testing.assert_array_equal(
        np.load(tmp_path / "new" / "index" / "vectors.npy"), index.vectors
    )
    text = (tmp_path / "new" / "index" / "ids.tsv").read_text(encoding="utf-8")
    assert text == "a\né/ü 1\nN7\n"


def test_the_ids_are_a_lookup_table_of_the_served_graph(tmp_path):
    make_index("a", "b", "c").save(tmp_path / "index")
    table = make_vocabulary_table(tmp_path / "index" / "ids.tsv", 3, unknown_row=-1)
    rows = table.lookup(tf.constant(["c", "unknown", "", "a"])) + 1
    assert rows.numpy().tolist() == [3, 0, 0, 1]


def test_an_empty_index_is_saved_too(tmp_path):
    make_index("a").remove(["a"]).save(tmp_path / "index")
    loaded = ItemIndex.load(tmp_path / "index")
    assert (loaded.num_items, loaded.width) == (0, WIDTH)


def test_a_saved_index_is_replaced_also_by_what_is_read_from_it(tmp_path):
    make_index("a", "b").save(tmp_path / "index")
    loaded = ItemIndex.load(tmp_path / "index")
    loaded.add(["c"], draw_vectors(1)).save(tmp_path / "index")
    loaded.remove(["a"]).save(tmp_path / "index")
    assert as_dict(ItemIndex.load(tmp_path / "index")) == as_dict(loaded.remove(["a"]))
    assert os.listdir(tmp_path) == ["index"]


def test_without_an_exchange_of_folders_they_are_renamed(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_file.ctypes, "CDLL", lambda name: object())
    make_index("a").save(tmp_path / "index")
    make_index("b").save(tmp_path / "index")
    assert ItemIndex.load(tmp_path / "index").ids.tolist() == ["b"]
    assert os.listdir(tmp_path) == ["index"]


def test_a_failed_save_leaves_the_index_that_was_there(tmp_path, monkeypatch):
    make_index("a").save(tmp_path / "index")
    monkeypatch.setattr(
        atomic_file, "_force_to_disk", lambda file: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError, match="full"):
        make_index("b").save(tmp_path / "index")
    assert ItemIndex.load(tmp_path / "index").ids.tolist() == ["a"]
    assert os.listdir(tmp_path) == ["index"]


def test_other_folders_are_not_replaced(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds 'diary.txt', which is not of an index"):
        make_index("a").save(tmp_path / "notes")
    with pytest.raises(ValueError, match="is a file"):
        make_index("a").save(tmp_path / "notes" / "diary.txt")
    assert (tmp_path / "notes" / "diary.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ids.tsv", b"a\n", "got 1 ids and vectors [2, 3]"),
        ("ids.tsv", b"a\na\n", "item 'a' is named twice"),
        ("ids.tsv", b"a\n\xff\n", "utf-8"),
        ("vectors.npy", b"no array", "not an item index"),
        ("vectors.npy", b"", "not an item index"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, name, content, message):
    make_index("a", "b").save(tmp_path / "index")
    (tmp_path / "index" / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        ItemIndex.load(tmp_path / "index")
    assert message in str(caught.value) and str(tmp_path / "index") in str(caught.value)


def test_other_arrays_are_no_vectors(tmp_path):
    make_index("a").save(tmp_path / "index")
    np.save(tmp_path / "index" / "vectors.npy", np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"must be float32 \[V, D\], got float64 \[1, 2\]"):
        ItemIndex.load(tmp_path / "index")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing here"):
        ItemIndex.load(tmp_path / "nothing here")


SAVE_FOR_EVER = """
import sys, numpy as np
from tfrec_zoo.item_index.item_index import ItemIndex
for round in range(10 ** 9):
    ids = [f"{round}-{i}" for i in range(2000)]
    ItemIndex(ids, np.full((2000, 32), round, np.float32)).save(sys.argv[1])
    print(round, flush=True)
"""


def test_readers_see_whole_indexes_also_when_the_writer_is_killed(tmp_path):
    path = tmp_path / "index"
    writer = subprocess.Popen(
        [sys.executable, "-c", SAVE_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout.readline() == "0\n"
        seen, deadline = set(), time.monotonic() + 60
        while len(seen) < 20 and time.monotonic() < deadline:
            index = ItemIndex.load(path)
            rounds = {item_id.split("-")[0] for item_id in index.ids}
            assert rounds == {str(int(value)) for value in np.unique(index.vectors)}
            assert index.num_items == 2000
            seen |= rounds
        assert len(seen) == 20
        writer.send_signal(signal.SIGKILL)
    finally:
        writer.kill()
        writer.communicate()
    assert ItemIndex.load(path).num_items == 2000
    ItemIndex.load(path).add(["new"], np.zeros((1, 32))).save(path)
    assert ItemIndex.load(path).ids[-1] == "new"
