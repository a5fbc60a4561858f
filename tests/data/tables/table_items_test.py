"""Tables of items: ids, words of texts, ready-made vectors."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_oracle import decode, write

from tfrec_zoo.data.tables.table_columns import CategoricalColumn, VectorColumn
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec

SPEC = {
    "id": "NewsId",
    "time": "Published",
    "categorical": [
        "Category",
        {"name": "title", "column": "Title", "tokens": True, "max_values": 3, "oov_rows": 5},
    ],
    "vectors": [{"name": "bert", "column": "vec", "size": 3}],
}
HEADER = "NewsId\tPublished\tCategory\tTitle\tvec\n"
NAN = float("nan")


def read_block(path, spec=SPEC, **options):
    spec = TableSpec.from_dict(spec)
    (block,) = read_table_blocks(path, spec, needs_label=False, **options)
    return block


def test_a_table_of_items_is_read(tmp_path):
    rows = 'N1\t5\tnews\tThe "Cost" of Trump\'s Aid\t1 2.5,-3\nN2\t7\t\t\t\n'
    rows += "N1\t6\tsports\t 50 Worst\t0.5; 1e-3  ,2\n"
    block = read_block(write(tmp_path / "items.tsv.gz", HEADER + rows))
    assert block.ids.tolist() == ["N1", "N2", "N1"]
    assert block.numbers.tolist() == [2, 3, 4]
    assert block.place == f"{tmp_path}/items.tsv.gz, line"
    assert block.times.tolist() == [5, 7, 6]
    title = [("the", "cost", "of", "trump", "s", "aid"), (), ("50", "worst")]
    assert decode(block.categorical["title"]) == title
    assert decode(block.categorical["Category"]) == ["news", "", "sports"]
    expected = [[1, 2.5, -3], [NAN] * 3, [0.5, 1e-3, 2]]
    np.testing.assert_array_equal(block.vectors["bert"], np.array(expected, np.float32))


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 3), pa.string()])
def test_vectors_of_parquet(tmp_path, kind):
    vectors = [[1.0, 2.0, 3.0], None, [4.0, 5.0, 6.0]]
    if pa.types.is_fixed_size_list(kind) and int(pa.__version__.split(".")[0]) < 26:
        pytest.skip("pyarrow before 26 cannot read a missing list of a fixed size from Parquet")
    if pa.types.is_string(kind):
        vectors = ["1 2 3", None, "4,5,6"]
    table = {"NewsId": pa.array([7, 8, 9]), "vec": pa.array(vectors, kind)}
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    spec = {"id": "NewsId", "vectors": [{"name": "vec", "size": 3}]}
    block = read_block(tmp_path / "items.parquet", spec)
    assert block.ids.tolist() == ["7", "8", "9"]
    assert block.numbers.tolist() == [1, 2, 3]
    expected = [[1, 2, 3], [NAN] * 3, [4, 5, 6]]
    np.testing.assert_array_equal(block.vectors["vec"], np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("N9\t1\tx\ty\t1 2", "item 'N9': vec has 2 numbers, expected a vector of 3"),
        ("N9\t1\tx\ty\t1 2 3 4", "item 'N9': vec has 4 numbers, expected a vector of 3"),
        ("N9\t1\tx\ty\t1 b 3", "item 'N9': number 2 of vec is 'b', expected a number"),
        ("N9\t1\tx\ty\t1 2 inf", "item 'N9': number 3 of vec is 'inf', expected a finite number"),
        ("N9\t1\tx\ty\tnan 2 3", "item 'N9': number 1 of vec is missing, expected a number"),
        ("\t1\tx\ty\t", "NewsId, the item's id, is missing"),
        ("N9\tnoon\tx\ty\t", "item 'N9': Published is 'noon', expected a number or a timestamp"),
        ("N9\t1\tx", "expected 5 fields, found 3"),
    ],
)
def test_a_bad_item_is_named_with_its_line(tmp_path, row, problem):
    good = "N1\t1\tx\ty\t1 2 3\n"
    path = write(tmp_path / "items.tsv", HEADER + good + row + "\n" + good)
    with pytest.raises(ValueError) as error:
        read_block(path)
    sentence = f"{path}, line 3: {problem}"
    assert str(error.value) == sentence + " (max_bad_rows lets some such rows pass)"
    told = []
    block = read_block(path, max_bad_rows=1, on_bad_row=told.append)
    assert told == [sentence]
    assert block.numbers.tolist() == [2, 4] and block.num_bad_rows == 1


def test_a_column_that_holds_no_vectors_is_refused(tmp_path):
    table = pa.table({"NewsId": ["a"], "vec": pa.array([3])})
    pq.write_table(table, tmp_path / "items.parquet")
    spec = {"id": "NewsId", "vectors": [{"name": "vec", "size": 3}]}
    with pytest.raises(ValueError, match="column 'vec' must hold vectors, lists or texts"):
        read_block(tmp_path / "items.parquet", spec)


def test_words_of_lists_are_refused(tmp_path):
    table = pa.table({"NewsId": ["a"], "t": [["b", "c"]]})
    pq.write_table(table, tmp_path / "items.parquet")
    feature = {"name": "t", "tokens": True, "max_values": 2}
    with pytest.raises(ValueError, match="column 't' holds lists, expected texts to cut"):
        read_block(tmp_path / "items.parquet", {"id": "NewsId", "categorical": [feature]})


def test_a_missing_id_column_is_named(tmp_path):
    path = write(tmp_path / "items.tsv", "Id\tCategory\tTitle\tvec\tPublished\na\tb\tc\t1 2 3\t4\n")
    with pytest.raises(ValueError, match="no column 'NewsId', the columns found are Id, Category"):
        read_block(path)


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    rows = b"N1\t1\tx\ty\t\n" + "N2\t1\tx\té\t\n".encode("latin-1")
    path = write(tmp_path / "items.tsv", HEADER.encode() + rows)
    with pytest.raises(ValueError, match=r"items\.tsv, line 3: the text is not UTF-8"):
        read_block(path)
    title = decode(read_block(path, SPEC | {"encoding": "latin-1"}).categorical["title"])
    assert title == [("y",), ("é",)]


def test_specifications_of_items_survive_json():
    spec = TableSpec.from_dict(SPEC)
    named = [{"name": "Category"}, SPEC["categorical"][1]]
    assert spec.to_dict() == SPEC | {"categorical": named}
    assert TableSpec.from_dict(spec.to_dict()) == spec
    assert spec.vectors == (VectorColumn(name="bert", column="vec", size=3),)
    one_word = {"name": "t", "tokens": True, "max_values": 1}
    one_value = {"name": "s", "separator": "|", "max_values": 1}
    values = {"id": "i", "categorical": [one_word, one_value]}
    assert TableSpec.from_dict(values).to_dict() == values


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"label": "click"}, "a table has a label, if its rows are examples, or an id"),
        ({"id": 3}, "id must be the name of a column or null, got 3"),
        ({"vectors": ["bert"]}, r"vectors\[0\]: expected an object of options, got 'bert'"),
        ({"vectors": [{"name": "v"}]}, r"vectors\[0\]: size, the numbers of a vector, must be"),
        ({"vectors": [{"name": "Category", "size": 2}]}, "two features are named 'Category'"),
        ({"column_names": ["NewsId", "Published", "Category", "Title"]}, "no column 'vec'"),
    ],
)
def test_wrong_specifications_are_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        TableSpec.from_dict(SPEC | changes)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tokens": True}, "tokens need max_values"),
        ({"tokens": True, "max_values": 3, "separator": "|"}, "they go without separators"),
        ({"oov_rows": 0}, "oov_rows must be positive, got 0"),
        ({"oov_rows": 3, "hash_rows": 5}, "oov_rows are for values outside the vocabulary"),
        ({"oov_rows": 3, "buckets": 5}, "oov_rows are for values outside the vocabulary"),
        ({"tokens": True, "max_values": 3, "buckets": 5}, "buckets read one number a row"),
    ],
)
def test_wrong_options_of_a_column_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        CategoricalColumn(name="c", **options)


def test_examples_have_no_vectors(tmp_path):
    path = write(tmp_path / "log.tsv", "click\tvec\n1\t1 2 3\n")
    spec = TableSpec.from_dict({"label": "click", "vectors": [{"name": "vec", "size": 3}]})
    with pytest.raises(ValueError, match="vectors are features of items"):
        list(read_table_blocks(path, spec))
