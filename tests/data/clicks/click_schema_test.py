"""Features: their arithmetic against plain Python, their file, and what is refused."""

import json
import math

import numpy as np
import pytest

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature

SCHEMA = ClickSchema(
    (DenseFeature("age", "Age"), DenseFeature("price", "price", "standard", 3.5, 0.25)),
    (
        CategoricalFeature("user", "uid", 101),
        CategoricalFeature(
            "tags", "tags", 11, "hash", 4, "mean", True, separator="|", weight_separator=":"
        ),
        CategoricalFeature("hour", "hour", 4, "buckets", boundaries=(6.0, 18.5)),
    ),
    has_weights=True,
)


def test_transforms():
    raw = [-3.0, 0.0, 0.5, 7.0, 1e9, math.nan]
    values = np.array(raw, np.float32)
    expected = [0.0, 0.0, math.log(1.5), math.log(8), math.log(1 + 1e9), 0.0]
    np.testing.assert_allclose(DenseFeature("x", "x", "log").apply(values), expected, rtol=1e-6)
    np.testing.assert_array_equal(DenseFeature("x", "x", "none").apply(values), [*raw[:5], 0.0])
    scaled = DenseFeature("x", "x", "standard", mean=2.0, std=4.0).apply(values)
    np.testing.assert_allclose(scaled, [*((x - 2) / 4 for x in raw[:5]), 0.0], rtol=1e-6)
    assert scaled.dtype == np.float32
    both = DenseFeature("x", "x", "log_standard", mean=2.0, std=4.0).apply(values)
    np.testing.assert_allclose(both[:5], [(x - 2) / 4 for x in expected[:5]], rtol=1e-5)
    assert both[5] == 0


def test_buckets():
    feature = CategoricalFeature("x", "x", 5, "buckets", boundaries=(-1.0, 0.0, 2.5))
    values = np.array([math.nan, -9, -1, -0.5, 0, 2.4, 2.5, 1e30], np.float32)
    assert feature.bucket_rows(values).tolist() == [0, 1, 2, 2, 3, 3, 4, 4]
    lone = CategoricalFeature("x", "x", 2, "buckets")
    assert lone.bucket_rows(values[:3]).tolist() == [0, 1, 1]


def test_slots():
    assert SCHEMA.num_dense == 2
    assert SCHEMA.num_slots == 6
    assert SCHEMA.slot_offsets == (0, 1, 5, 6)
    assert SCHEMA.needs_row_weights
    assert not ClickSchema((), (CategoricalFeature("user", "uid", 101),)).needs_row_weights
    assert ClickSchema((DenseFeature("x", "x"),), ()).num_slots == 0


def test_the_file_gives_the_same_schema(tmp_path):
    SCHEMA.save(tmp_path / "features.json")
    assert ClickSchema.load(tmp_path / "features.json") == SCHEMA
    assert ClickSchema.from_dict(SCHEMA.to_dict()) == SCHEMA
    assert [file.name for file in tmp_path.iterdir()] == ["features.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("dense"), "a schema lacks the field 'dense', it has categorical"),
        (lambda v: v.update(dens=[]), "unknown field 'dens' in a schema: did you mean dense?"),
        (lambda v: v.update(dense={}), "expected a list of features"),
        (lambda v: v["dense"].append(3), "expected a feature as an object, got 3"),
        (lambda v: v["dense"][0].pop("column"), "a feature lacks the field 'column'"),
        (lambda v: v["dense"][0].update(zzz=1), "unknown field 'zzz' in a feature: known are name"),
        (
            lambda v: v["dense"][0].update(transform="exp"),
            "age: transform must be one of none, log",
        ),
        (lambda v: v["dense"][1].update(std=0.0), "expected a finite mean and a positive std"),
        (lambda v: v["categorical"][0].update(num_rows=0), "num_rows of vocabulary must be from 1"),
        (
            lambda v: v["categorical"][1].update(num_rows=1),
            "num_rows of hash must be from 2 to 2147",
        ),
        (
            lambda v: v["categorical"][2].update(num_rows=9),
            "num_rows of buckets must be from 4 to 4",
        ),
        (lambda v: v["categorical"][2].update(boundaries=[9, 9]), "boundaries must ascend"),
        (lambda v: v["categorical"][0].update(max_values=0), "max_values must be 1 or more"),
        (lambda v: v["categorical"][0].update(kind="x"), "kind must be one of vocabulary, hash"),
        (lambda v: v["categorical"][0].update(pooling="max"), "pooling must be one of sum, mean"),
        (lambda v: v["categorical"][0].update(name="a/b"), "made of letters, digits.*got 'a/b'"),
        (lambda v: v["categorical"][0].update(name="age"), "feature age is in the schema twice"),
        (lambda v: v.update(dense=[], categorical=[]), "one feature or more, got none"),
    ],
)
def test_what_is_refused(tmp_path, change, message):
    values = SCHEMA.to_dict()
    change(values)
    path = tmp_path / "features.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message) as error:
        ClickSchema.load(path)
    assert str(error.value).startswith(f"{path} is not a list of features: ")


def test_a_file_that_is_no_json(tmp_path):
    (tmp_path / "features.json").write_text("{")
    with pytest.raises(
        ValueError, match="features.json is not a list of features: expected a JSON"
    ):
        ClickSchema.load(tmp_path / "features.json")
