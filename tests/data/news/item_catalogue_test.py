"""The catalogue of items: what is learned, what is encoded, what is counted, what is refused."""

import json

import numpy as np
import pytest
import tensorflow as tf
from table_oracle import write

from tfrec_zoo import atomic_file
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.tables.table_spec import TableSpec, load_table_spec
from tfrec_zoo.vocabulary import Vocabulary

SPEC = TableSpec.from_dict(
    {
        "id": "NewsId",
        "time": "Published",
        "dense": [{"name": "length", "transform": "standard"}],
        "vectors": [{"name": "vec", "size": 2}],
        "categorical": [
            "Category",
            {"name": "id", "column": "NewsId", "min_count": 1},
            {"name": "title", "column": "Title", "tokens": True, "max_values": 3, "oov_rows": 2},
        ],
    }
)
HEADER = "NewsId\tPublished\tlength\tvec\tCategory\tTitle\n"
ITEMS = [
    "N1\t10\t1\t0.5 1\tnews\tRed Fox, red",
    "N2\t20\t3\t\tnews\tred owl and the Fox",
    "N3\t30\t\t2 3\tsport\tRed stork",
    "N4\t40\t8\t4 5\tsport\tstork stork",
]
TRAINING = Vocabulary(["N2", "N1", "gone"], [5, 2, 1])


def write_items(folder, rows=ITEMS, name="items.tsv"):
    return write(folder / name, HEADER + "".join(row + "\n" for row in rows))


@pytest.fixture
def catalogue(tmp_path):
    return ItemCatalogue.build(write_items(tmp_path), SPEC, training=TRAINING, log_ids=["N4", "x"])


def oov(text, first):
    return first + int(tf.strings.to_hash_bucket_fast(text, 2).numpy())


def test_features_are_learned_from_the_training_items(catalogue):
    names = {n: v.ids.tolist() for n, v in catalogue.vocabularies.items()}
    assert names == {"Category": ["news"], "id": ["N1", "N2"], "title": ["red"]}
    assert (catalogue.schema.dense[0].mean, catalogue.schema.dense[0].std) == (2, 1)
    assert catalogue.vocabulary.counts.tolist() == [2, 5, 0, 0]
    assert catalogue.ids.tolist() == ["N1", "N2", "N3", "N4"]
    np.testing.assert_array_equal(catalogue.times, [np.nan, 10, 20, 30, 40])


def test_rows_are_encoded_behind_the_padding(catalogue):
    fox, owl, stork = (oov(text, 2) for text in ("fox", "owl", "stork"))
    and_row = oov("and", 2)
    rows = [
        [0, 0, 0, 0, 0],
        [1, 1, 1, fox, 1],
        [1, 2, 1, owl, and_row],
        [0, 0, 1, stork, 0],
        [0, 0, stork, stork, 0],
    ]
    features = catalogue.features
    assert features.rows.tolist() == rows
    weights = [[0] * 5, [1] * 5, [1] * 5, [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]
    assert features.row_weights.tolist() == weights
    dense = [[0, 0, 0], [-1, 0.5, 1], [1, 0, 0], [0, 2, 3], [6, 4, 5]]
    assert features.dense.tolist() == dense
    taken = catalogue.take(catalogue.rows(np.array(["N4", "N9"], dtype=object)))
    assert taken.rows.tolist() == [rows[4], rows[0]]


def test_what_was_read_is_counted(catalogue):
    assert catalogue.summary["num_items"] == 4
    assert catalogue.summary["num_learned_from"] == 2
    assert (catalogue.summary["num_missing"], catalogue.summary["missing_examples"]) == (
        2,
        ["gone", "x"],
    )
    assert catalogue.summary["num_cut"] == {"title": 1}
    unknown = {"Category": 2 / 4, "id": 2 / 4, "title": 6 / 10}
    assert catalogue.summary["unknown"] == pytest.approx(unknown)
    json.dumps(catalogue.summary)


def test_all_items_may_teach(tmp_path):
    path = write_items(tmp_path)
    for options in ({"learn_from_all": True, "training": TRAINING}, {}):
        catalogue = ItemCatalogue.build(path, SPEC, **options)
        # Words behind the third are not counted, either.
        assert catalogue.vocabularies["title"].ids.tolist() == ["red", "stork"]
        assert catalogue.summary["num_learned_from"] == 4


def test_missing_items_may_be_kept_by_their_id_alone(tmp_path):
    catalogue = ItemCatalogue.build(
        write_items(tmp_path), SPEC, training=TRAINING, log_ids=["x"], missing_items="keep"
    )
    assert catalogue.ids.tolist() == ["N1", "N2", "N3", "N4", "gone", "x"]
    assert catalogue.vocabulary.counts.tolist() == [2, 5, 0, 0, 1, 0]
    assert catalogue.vocabularies["id"].ids.tolist() == ["N1", "N2", "gone"]
    assert catalogue.features.rows[5:].tolist() == [[0, 3, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert catalogue.features.row_weights[5].tolist() == [1, 1, 0, 0, 0]
    assert not catalogue.features.dense[5:].any()
    assert catalogue.summary["num_without_content"] == 2
    assert np.isnan(catalogue.times[5:]).all()


def test_an_item_without_content_is_kept_and_counted(tmp_path):
    path = write_items(tmp_path, [*ITEMS, "N5\t50\t\t\t\t", "N6\t50\t\t\tnews\t"])
    catalogue = ItemCatalogue.build(path, SPEC)
    assert catalogue.summary["num_without_content"] == 1
    assert catalogue.rows("N5") == 5 and not catalogue.features.rows[5, 2:].any()


def test_equal_duplicates_are_dropped_and_counted(tmp_path):
    paths = [write_items(tmp_path), write_items(tmp_path, [ITEMS[1], ITEMS[0]], "more.tsv")]
    catalogue = ItemCatalogue.build(paths, SPEC)
    assert catalogue.summary["num_duplicates"] == 2
    assert catalogue.ids.tolist() == ["N1", "N2", "N3", "N4"]


@pytest.mark.parametrize(
    "row",
    [
        "N2\t21\t3\t\tnews\tred owl and the Fox",
        "N2\t20\t4\t\tnews\tred owl and the Fox",
        "N2\t20\t3\t1 1\tnews\tred owl and the Fox",
        "N2\t20\t3\t\tsport\tred owl and the Fox",
        "N2\t20\t3\t\tnews\tred owl and the Dog",
        "N2\t20\t3\t\tnews\tred owl and the Fox Fox",
    ],
)
def test_different_duplicates_are_named(tmp_path, row):
    paths = [write_items(tmp_path), write_items(tmp_path, [ITEMS[0], row], "more.tsv")]
    with pytest.raises(ValueError) as error:
        ItemCatalogue.build(paths, SPEC)
    assert str(error.value) == (
        f"{paths[0]}, line 3, and {paths[1]}, line 3: item 'N2' is there twice with different "
        "content, keep the row that is right"
    )


def test_new_items_are_encoded_by_what_was_learned(tmp_path, catalogue):
    new = ["N7\t70\t2\t7 8\tnews\tRed Red", "N1\t11\t1\t0.5 1\tsport\tnew fox"]
    told = []
    bad = "N8\t70\t2\t7 8 9\tnews\tRed"
    path = write_items(tmp_path, [*new, bad], "new.tsv")
    others = catalogue.encode(path, max_bad_rows=5, on_bad_row=told.append)
    assert told == [f"{path}, line 4: item 'N8': vec has 3 numbers, expected a vector of 2"]
    assert others.schema == catalogue.schema and others.summary["num_bad_rows"] == 1
    assert others.features.rows[1].tolist() == [1, 0, 1, 1, 0]
    both = catalogue.extend(others)
    assert both.ids.tolist() == ["N1", "N2", "N3", "N4", "N7"]
    assert both.vocabulary.counts.tolist() == [2, 5, 0, 0, 0]
    sources = [others.features.rows[2], *catalogue.features.rows[2:], others.features.rows[1]]
    np.testing.assert_array_equal(both.features.rows[1:], sources)
    np.testing.assert_array_equal(both.times, [np.nan, 11, 20, 30, 40, 70])
    assert not both.features.rows[0].any()
    rest = both.remove(["N2", "N4", "nobody"])
    assert rest.ids.tolist() == ["N1", "N3", "N7"]
    np.testing.assert_array_equal(rest.features.dense, both.features.dense[[0, 1, 3, 5]])


def test_items_of_other_features_are_not_added(tmp_path, catalogue):
    other = ItemCatalogue.build(write_items(tmp_path), SPEC)
    with pytest.raises(ValueError, match="other features than the catalogue"):
        catalogue.extend(other)


def test_a_log_without_a_table_has_the_ids_alone():
    vocabulary = Vocabulary(["b", "a", "c"], [1, 5, 2])
    catalogue = ItemCatalogue.of_ids(vocabulary)
    assert catalogue.features.rows.tolist() == [[0], [1], [2], [3]]
    assert catalogue.features.row_weights is None and catalogue.features.dense.shape == (4, 0)
    assert catalogue.schema.categorical[0].num_rows == 4
    assert catalogue.vocabulary.counts.tolist() == [1, 5, 2]
    assert catalogue.rows(["c", "z"]).tolist() == [3, 0]


def test_a_saved_catalogue_is_the_same(tmp_path, catalogue):
    for saved in (catalogue, ItemCatalogue.of_ids(TRAINING)):
        saved.save(tmp_path / "catalogue")
        found = ItemCatalogue.load(tmp_path / "catalogue")
        assert found.schema == saved.schema and found.spec == saved.spec
        assert found.ids.tolist() == saved.ids.tolist()
        assert found.vocabulary.counts.tolist() == saved.vocabulary.counts.tolist()
        assert found.features.fingerprint == saved.features.fingerprint
        assert found.summary == saved.summary
        assert {n: v.ids.tolist() for n, v in found.vocabularies.items()} == {
            n: v.ids.tolist() for n, v in saved.vocabularies.items()
        }
        assert (found.times is None) == (saved.times is None)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_interrupted_save_leaves_the_old_catalogue(tmp_path, catalogue, monkeypatch):
    folder = tmp_path / "catalogue"
    catalogue.save(folder)

    def fail(*paths):
        raise OSError("no space left")

    monkeypatch.setattr(atomic_file, "_exchange", fail)
    with pytest.raises(OSError, match="no space"):
        catalogue.remove(["N1"]).save(folder)
    assert ItemCatalogue.load(folder).num_items == 4
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_folders_of_others_are_neither_read_nor_replaced(tmp_path, catalogue):
    with pytest.raises(ValueError, match="is not a catalogue of items: it lacks"):
        ItemCatalogue.load(tmp_path)
    write(tmp_path / "mine.txt", "precious")
    with pytest.raises(ValueError, match="holds 'items.tsv', which is not of a catalogue"):
        catalogue.save(tmp_path)
    with pytest.raises(ValueError, match="but .* is a file"):
        catalogue.save(tmp_path / "mine.txt")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"training": Vocabulary(["y", "z"], [1, 1])}, "none of the 2 items of the log is in the"),
        ({"missing_items": "drop"}, "missing_items must be one of skip, keep, got 'drop'"),
        ({"spec": TableSpec.from_dict({"categorical": ["Category"]})}, "names no id"),
    ],
)
def test_wrong_requests_are_refused(tmp_path, arguments, problem):
    with pytest.raises(ValueError, match=problem):
        ItemCatalogue.build(write_items(tmp_path), **{"spec": SPEC} | arguments)


def test_side_tables_are_found_again(tmp_path):
    write(tmp_path / "categories.tsv", "Category\tsection\nnews\tA\nsport\tB\n")
    spec = {"id": "NewsId", "categorical": [{"name": "section", "min_count": 1}]}
    spec["join"] = [{"file": "categories.tsv", "on": "Category"}]
    catalogue = ItemCatalogue.build(write_items(tmp_path), TableSpec.from_dict(spec))
    assert catalogue.features.rows.ravel().tolist() == [0, 1, 1, 2, 2]
    catalogue.save(tmp_path / "catalogue")
    assert load_table_spec(tmp_path / "catalogue" / "spec.json").join[0].file == str(
        tmp_path / "categories.tsv"
    )
    (tmp_path / "later").mkdir()
    later = write_items(tmp_path / "later")
    assert catalogue.encode(later).features.rows.ravel().tolist() == [0, 1, 1, 2, 2]


def test_side_tables_come_along_with_other_items(tmp_path):
    write(tmp_path / "categories.tsv", "Category\tsection\nnews\tA\nsport\tB\n")
    spec = {"id": "NewsId", "categorical": [{"name": "section", "min_count": 1}]}
    spec["join"] = [{"file": "categories.tsv", "on": "Category"}]
    catalogue = ItemCatalogue.build(write_items(tmp_path), TableSpec.from_dict(spec))
    # As on another machine, which has other tables, in another place.
    (tmp_path / "categories.tsv").unlink()
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "categories.tsv", "Category\tsection\nnews\tB\nsport\tA\n")
    moved = catalogue.encode(write_items(tmp_path / "elsewhere"))
    assert moved.features.rows.ravel().tolist() == [0, 2, 2, 1, 1]
    assert moved.spec.join[0].file == str(tmp_path / "elsewhere" / "categories.tsv")
    (tmp_path / "elsewhere" / "categories.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="join: there is no file .*categories.tsv"):
        catalogue.encode(tmp_path / "elsewhere" / "items.tsv")


def test_the_articles_of_mind(shared_data):
    title = {"name": "title", "column": "Title", "tokens": True, "max_values": 20}
    spec = TableSpec.from_dict({"id": "NewsId", "categorical": ["Category", title]})
    catalogue = ItemCatalogue.build(shared_data / "news" / "mind_items.tsv.gz", spec)
    assert catalogue.num_items == 51_282 and catalogue.summary["num_duplicates"] == 0
    row = int(catalogue.rows("N19639"))
    words = catalogue.vocabularies["title"].raw_ids(catalogue.features.rows[row, 1:6])
    assert words.tolist() == ["50", "worst", "habits", "for", "belly"]
