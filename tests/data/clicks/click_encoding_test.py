"""Encoding, example by example, by the rules in the head of `click_schema`."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.data.clicks.click_encoding import encode_blocks, fit_slots
from tfrec_zoo.data.clicks.click_schema import (
    MISSING,
    CategoricalFeature,
    ClickSchema,
    DenseFeature,
)
from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.vocabulary import Vocabulary

SCHEMA = ClickSchema(
    (DenseFeature("n", "n", "log"), DenseFeature("m", "m", "standard", 1.0, 2.0)),
    (
        CategoricalFeature("one", "one", 4),
        CategoricalFeature("bag", "bag", 4, max_values=3, separator="|"),
        CategoricalFeature("mean", "mean", 4, max_values=2, pooling="mean", separator="|"),
        CategoricalFeature(
            "weighed", "w", 8, "hash", 2, "mean", True, separator="|", weight_separator=":"
        ),
        CategoricalFeature("first", "first", 8, "hash", separator="|"),
        CategoricalFeature("range", "n", 4, "buckets", boundaries=(1.0, 5.0)),
    ),
)
VOCABULARIES = {
    "one": Vocabulary(["x", MISSING, "y"], [9, 5, 2]),
    "bag": Vocabulary(["a", "b", "c"], [3, 2, 1]),
    "mean": Vocabulary(["c", "b", "a"], [3, 2, 1]),
}
ROWS = [
    {"n": 3.0, "m": 5.0, "one": "x", "bag": "abc", "mean": "ab", "weighed": [("q", 3), ("r", 1)]},
    {"n": -1.0, "m": math.nan, "one": "", "bag": "", "mean": "", "weighed": []},
    {"n": math.nan, "m": 1.0, "one": "zzz", "bag": "zaab", "mean": "z", "weighed": [("q", 0)]},
    {"n": 9.0, "m": 0.0, "one": "y", "bag": "c", "mean": "cab", "weighed": [("s", 2)] * 3},
]
FIRST = ["pq", "", "q", "rp"]


def make_values(bags, weights=None):
    texts = sorted({text for bag in bags for text in bag} | {"unused"})
    codes = np.array([texts.index(text) for bag in bags for text in bag], np.int32)
    offsets = np.cumsum([0, *map(len, bags)])
    return Values(codes, np.array(texts, dtype=object), offsets, weights)


def make_block(rows=ROWS, first=FIRST):
    ones = [row["one"] for row in rows]
    texts = np.array(sorted(set(ones)), dtype=object)
    codes = np.array([texts.tolist().index(text) for text in ones], np.int32)
    weighed = [row["weighed"] for row in rows]
    weights = np.array([weight for bag in weighed for _, weight in bag], np.float32)
    return TableBlock(
        num_rows=len(rows),
        labels=np.arange(len(rows), dtype=np.float32) % 2,
        weights=None,
        times=None,
        dense={name: np.array([row[name] for row in rows], np.float32) for name in ("n", "m")},
        categorical={
            "one": Values(codes, texts),
            "bag": make_values([row["bag"] for row in rows]),
            "mean": make_values([row["mean"] for row in rows]),
            "weighed": make_values([[text for text, _ in bag] for bag in weighed], weights),
            "first": make_values(first),
        },
    )


def look_up(name, text):
    return [*VOCABULARIES[name].ids].index(text) + 1 if text in VOCABULARIES[name].ids else 0


def hash_row(text):
    return 1 + int(tf.strings.to_hash_bucket_fast(text, 7))


def fill(pairs, size, *, is_mean):
    """Rows and weights of a bag's slots."""
    pairs = pairs[:size]
    total = sum(weight for _, weight in pairs) if is_mean else 1
    weights = [weight / total if total else weight for _, weight in pairs]
    padding = [0] * (size - len(pairs))
    return [row for row, _ in pairs] + padding, weights + padding


def expect(row, first):
    slots = [([look_up("one", row["one"] or MISSING)], [1])]
    slots.append(fill([(look_up("bag", t), 1) for t in row["bag"]], 3, is_mean=False))
    slots.append(fill([(look_up("mean", t), 1) for t in row["mean"]], 2, is_mean=True))
    slots.append(fill([(hash_row(t), weight) for t, weight in row["weighed"]], 2, is_mean=True))
    slots.append(([hash_row(first[0] if first else MISSING)], [1]))
    number = row["n"]
    slots.append(([0 if math.isnan(number) else 1 + (number >= 1) + (number >= 5)], [1]))
    dense = [0 if math.isnan(number) else math.log(1 + max(number, 0))]
    dense.append(0 if math.isnan(row["m"]) else (row["m"] - 1) / 2)
    return dense, sum((rows for rows, _ in slots), []), sum((weights for _, weights in slots), [])


def test_every_kind_of_feature():
    (rows,) = encode_blocks([make_block()], SCHEMA, VOCABULARIES)
    expected = [expect(row, first) for row, first in zip(ROWS, FIRST, strict=True)]
    np.testing.assert_allclose(rows.dense, [dense for dense, _, _ in expected], rtol=1e-6)
    assert rows.rows.tolist() == [slots for _, slots, _ in expected]
    np.testing.assert_allclose(rows.row_weights, [weights for *_, weights in expected], rtol=1e-6)
    assert rows.labels.tolist() == [0, 1, 0, 1]
    assert rows.weights is None
    assert rows.rows.dtype == np.int32
    assert {rows.dense.dtype, rows.row_weights.dtype, rows.labels.dtype} == {np.dtype(np.float32)}


def test_blocks_are_encoded_one_by_one():
    blocks = [make_block(ROWS[:1], FIRST[:1]), make_block(ROWS[1:], FIRST[1:])]
    (whole,) = encode_blocks([make_block()], SCHEMA, VOCABULARIES)
    parts = list(encode_blocks(blocks, SCHEMA, VOCABULARIES))
    np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), whole.rows)


def test_labels_and_weights_that_are_not_there():
    schema = ClickSchema((DenseFeature("n", "n"),), (), has_weights=True)
    numbers = {"n": np.zeros(2, np.float32)}
    (rows,) = encode_blocks([TableBlock(2, None, None, None, numbers, {})], schema, {})
    assert np.isnan(rows.labels).all()
    assert rows.weights.tolist() == [1, 1]
    weights = np.array([2, 3], np.float32)
    (rows,) = encode_blocks([TableBlock(2, weights, weights, None, numbers, {})], schema, {})
    assert rows.weights.tolist() == [2, 3]
    assert rows.rows.shape == (2, 0)


def test_a_vocabulary_that_is_not_there():
    with pytest.raises(ValueError, match="feature mean has no vocabulary: pass it with the others"):
        list(encode_blocks([make_block()], SCHEMA, {k: VOCABULARIES[k] for k in ("one", "bag")}))


@pytest.mark.parametrize("has_bag", [True, False])
def test_texts_of_a_side_table_that_no_row_has_are_left_out(has_bag):
    texts = np.array([f"t{n}" for n in range(100)], dtype=object)
    values = Values(
        np.array([70, 7, 70], np.int32), texts, np.array([0, 2, 2, 3]) if has_bag else None
    )
    fitted = fit_slots(values, 9, has_bag)
    assert fitted.texts.tolist() == ["t7", "t70"]
    assert fitted.texts[fitted.codes].tolist() == ["t70", "t7", "t70"]
