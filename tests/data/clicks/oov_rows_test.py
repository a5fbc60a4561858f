"""Values outside the vocabulary in rows of their own: in preparation, encoding and the graph."""

import numpy as np
import pytest
import tensorflow as tf
from table_oracle import write

from tfrec_zoo.data.clicks.click_encoding import encode_blocks, find_rows
from tfrec_zoo.data.clicks.click_preparation import prepare_clicks
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_schema import (
    MISSING,
    CategoricalFeature,
    ClickSchema,
    VectorFeature,
)
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.export.click_inputs import TextEncoder, join_features
from tfrec_zoo.vocabulary import Vocabulary

NUM_ITEMS, NUM_OOV = 3, 4
FEATURE = CategoricalFeature("f", "f", 1 + NUM_ITEMS + NUM_OOV, oov_rows=NUM_OOV)
VOCABULARY = Vocabulary(["a", "b", "c"], [3, 2, 1])


def expect_row(text, items=("a", "b", "c"), num_oov=NUM_OOV):
    if text in items:
        return 1 + items.index(text)
    bucket = tf.strings.to_hash_bucket_fast(text, num_oov).numpy() if num_oov else None
    return 0 if bucket is None else 1 + len(items) + int(bucket)


def test_unknown_values_are_hashed_behind_the_vocabulary():
    texts = np.array(["a", "x", "c", "yy", MISSING, "z" * 99], dtype=object)
    rows = find_rows(FEATURE, texts, VOCABULARY)
    assert rows.dtype == np.int32
    assert rows.tolist() == [expect_row(text) for text in texts]
    assert (rows > 0).all() and (rows < FEATURE.num_rows).all()


def test_the_size_counts_the_rows_of_unknown_values():
    assert FEATURE.first_oov_row == 1 + NUM_ITEMS
    with pytest.raises(ValueError, match="num_rows of vocabulary must be from 5"):
        CategoricalFeature("f", "f", 4, oov_rows=4)
    with pytest.raises(ValueError, match="oov_rows are of a vocabulary, 0 or more, got 2 of hash"):
        CategoricalFeature("f", "f", 9, "hash", oov_rows=2)
    schema = ClickSchema([], [FEATURE], vectors=[VectorFeature("v", "v", 3)])
    assert ClickSchema.from_dict(schema.to_dict()) == schema
    assert schema.num_dense == 3 and schema.vector_offsets == (0, 3)


def test_preparation_counts_and_encodes_them(tmp_path):
    common, rare = ["a"] * 6 + ["b"] * 4, ["x", "y", "z"]
    values = common + rare + common
    lines = [f"{place % 2}\t{value}\t{value}\n" for place, value in enumerate(values)]
    path = write(tmp_path / "log.tsv", "click\tf\tplain\n" + "".join(lines))
    spec = {"label": "click", "categorical": [{"name": "f", "oov_rows": 5}, "plain"]}
    config = ClickPreparationConfig(min_count=2, test_fraction=None)
    summary = prepare_clicks(path, TableSpec.from_dict(spec), config, tmp_path / "out")
    prepared = PreparedClicks(tmp_path / "out")
    assert [f.num_rows for f in prepared.schema.categorical] == [1 + 2 + 5, 3]
    rows = prepared.part("train").slice(0, len(values)).rows
    assert rows[:, 0].tolist() == [expect_row(text, ("a", "b"), 5) for text in values]
    assert rows[:, 1].tolist() == [expect_row(text, ("a", "b"), 0) for text in values]
    shares = [summary["features"][name]["unknown"]["train"] for name in ("f", "plain")]
    assert shares == pytest.approx([3 / len(values)] * 2)


def test_a_vocabulary_that_outgrows_max_rows_is_hashed_instead(tmp_path):
    lines = [f"{place % 2}\tv{place % 9}\n" for place in range(40)]
    path = write(tmp_path / "log.tsv", "click\tf\n" + "".join(lines))
    spec = TableSpec.from_dict({"label": "click", "categorical": [{"name": "f", "oov_rows": 5}]})
    config = ClickPreparationConfig(test_fraction=None, max_rows=14)
    prepare_clicks(path, spec, config, tmp_path / "out")
    (feature,) = PreparedClicks(tmp_path / "out").schema.categorical
    assert (feature.kind, feature.num_rows, feature.oov_rows) == ("hash", 14, 0)


def make_schema(oov_rows):
    size = 1 + NUM_ITEMS + oov_rows
    words = {"tokens": True, "max_values": 4, "pooling": "mean", "oov_rows": oov_rows}
    return ClickSchema(
        [],
        [
            CategoricalFeature("one", "one", size, oov_rows=oov_rows),
            CategoricalFeature("title", "title", size, **words),
            CategoricalFeature("first", "first", size, **words | {"max_values": 1}),
        ],
    )


@pytest.mark.parametrize("oov_rows", [0, 1, 7])
def test_the_graph_encodes_texts_as_python_does(tmp_path, oov_rows):
    schema = make_schema(oov_rows)
    titles = ["A b, C!", "", " -- ", "a x y z b c", "X'Y", "b", "ΟΔΟΣ c", "zz-a"]
    words = [["a", "b", "c"], [], [], ["a", "x", "y", "z", "b", "c"], ["x", "y"], ["b"]]
    words += [["οδοσ", "c"], ["zz", "a"]]
    ones = ["a", "", "q", "c", "A", "b", "zz", "a b"]
    vocabularies = {name: VOCABULARY for name in ("one", "title", "first")}
    values = {"one": as_values([[text] for text in ones])}
    values["one"] = Values(values["one"].codes, values["one"].texts)
    values |= {name: as_values(words) for name in ("title", "first")}
    block = TableBlock(len(ones), None, None, None, {}, values)
    (expected,) = encode_blocks([block], schema, vocabularies)
    encoder = TextEncoder(schema, vocabularies, tmp_path)
    texts = tf.constant(np.array([ones, titles, titles], dtype=object).T)
    found = join_features(encoder.encode(texts), schema)
    np.testing.assert_array_equal(found.rows.numpy(), expected.rows)
    np.testing.assert_allclose(found.weights.numpy(), expected.row_weights, rtol=1e-6)
    assert expected.rows[0, 1:5].tolist() == [1, 2, 3, 0]
    assert expected.rows[3, 2] == expect_row("x", num_oov=oov_rows)
    assert expected.rows[1, 0] == expect_row(MISSING, num_oov=oov_rows)


def as_values(lists):
    texts = sorted({text for words in lists for text in words})
    codes = np.array([texts.index(text) for words in lists for text in words], np.int32)
    offsets = np.cumsum([0, *map(len, lists)])
    return Values(codes, np.array(texts, dtype=object), offsets)
