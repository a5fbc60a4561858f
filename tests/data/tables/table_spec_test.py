"""Column specifications: what JSON means, what comes back, and what is refused in one sentence."""

import json

import pytest

from tfrec_zoo.data.tables.table_columns import CategoricalColumn, DenseColumn, LabelColumn
from tfrec_zoo.data.tables.table_spec import PACKAGED_SPECS, TableSpec, load_table_spec

WHOLE = {
    "format": "csv",
    "delimiter": ";",
    "encoding": "latin-1",
    "column_names": ["click", "when", "share", "user", "tags", "age", "A", "B", "film"],
    "label": {"column": "click", "at_least": 2.0},
    "weight": "share",
    "time": "when",
    "dense": [{"name": "age", "transform": "log"}, {"name": "age2", "column": "age"}],
    "categorical": [
        {"name": "user", "min_count": 5},
        {"name": "tag", "column": "tags", "separator": "|", "weight_separator": ":",
         "max_values": 4, "pooling": "mean", "hash_rows": 1000},
        {"name": "age_bucket", "column": "age", "buckets": 10},
        {"name": "kinds", "flags": ["A", "B"]},
        {"name": "director"},
    ],
    "join": [{"file": "films.tsv", "on": "film", "key": "id"}],
}  # fmt: skip


def test_every_option_survives_json():
    spec = TableSpec.from_dict(WHOLE)
    assert spec.to_dict() == WHOLE
    assert TableSpec.from_json(json.dumps(spec.to_dict())) == spec


def test_defaults_and_short_forms():
    spec = TableSpec.from_dict({"label": "click", "dense": ["age"], "categorical": ["user"]})
    assert spec.label == LabelColumn(column="click")
    assert spec.dense == (DenseColumn(name="age", column="age", transform="none"),)
    (user,) = spec.categorical
    assert (user.column, user.max_values, user.pooling) == ("user", 1, "sum")
    assert not user.is_multi_valued and user.columns == ("user",)
    assert spec.to_dict() == {
        "label": {"column": "click"},
        "dense": [{"name": "age"}],
        "categorical": [{"name": "user"}],
    }


def test_flags_keep_all_their_values_unless_told_otherwise():
    kinds = CategoricalColumn(name="kinds", flags=("A", "B", "C"))
    assert kinds.max_values == 3 and kinds.is_multi_valued and kinds.columns == ("A", "B", "C")
    assert CategoricalColumn(name="kinds", flags=("A", "B"), max_values=1).is_multi_valued


def test_numeric_columns_are_those_of_dense_features_and_buckets_each_once():
    assert TableSpec.from_dict(WHOLE).numeric_columns == ("age",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categorial": []}, "unknown key 'categorial' .*did you mean categorical"),
        ({"zzz": 1}, "unknown key 'zzz' .*known are categorical, column_names, delimiter"),
        ({"dense": [{"nme": "x"}]}, r"dense\[0\]: unknown option 'nme' .*did you mean name"),
        ({"dense": "age"}, "dense must be a list, got 'age'"),
        ({"dense": [3]}, r"dense\[0\]: expected an object of options or the name alone, got 3"),
        ({"dense": [{"name": "x", "transform": "sqrt"}]}, "transform must be one of none, log"),
        ({"categorical": [{"name": "a/b"}]}, "'a/b' becomes part of file names"),
        ({"categorical": [""]}, "'' becomes part of file names"),
        ({"categorical": ["age"]}, "two features are named 'age'"),
        ({"dense": []}, "needs a dense or a categorical feature"),
        ({"weight": 3}, "weight must be the name of a column or null, got 3"),
        ({"label": {"at_least": 3}}, "label: column is missing"),
        ({"label": ["click"]}, "label: expected an object of options or the column alone"),
        ({"delimiter": "::"}, "delimiter must be one ASCII character"),
        ({"encoding": "utf-9"}, "encoding 'utf-9' is unknown"),
        ({"column_names": ["a", "b", "a"]}, "column_names has 'a' more than once"),
        ({"format": "parquet", "column_names": ["age"]}, "column_names are for text files"),
        ({"join": [{"file": "films.tsv"}]}, r"join\[0\] needs file"),
    ],
)
def test_refused_specifications(change, message):
    with pytest.raises(ValueError, match=message) as error:
        TableSpec.from_dict({"dense": ["age"]} | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "|"}, "a separator needs max_values"),
        ({"separator": "", "max_values": 2}, "separator must not be empty"),
        ({"separator": ":", "weight_separator": ":", "max_values": 2}, "are both ':'"),
        ({"flags": []}, "flags must be different columns"),
        ({"flags": ["A", "A"]}, "flags must be different columns"),
        ({"flags": ["A"], "separator": "|"}, "flags have no separator"),
        ({"max_values": 0}, "max_values must be positive, got 0"),
        ({"hash_rows": 0}, "hash_rows must be positive, got 0"),
        ({"min_count": -1}, "min_count must be positive, got -1"),
        ({"buckets": 1}, "buckets must be 2 or more, got 1"),
        ({"buckets": 9, "hash_rows": 9}, "buckets read one number a row"),
        ({"buckets": 9, "max_values": 9}, "buckets read one number a row"),
    ],
)
def test_options_of_a_categorical_feature_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=rf"categorical\[0\]: .*{message}"):
        TableSpec.from_dict({"categorical": [{"name": "x", **options}]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "clicked"}, "no column 'clicked' in column_names: did you mean click"),
        ({"time": "zzz"}, "no column 'zzz' in column_names: the columns are click, age, film"),
        ({"dense": ["agee"]}, "no column 'agee' in column_names: did you mean age"),
        ({"categorical": [{"name": "k", "flags": ["A"]}]}, "no column 'A' in column_names"),
        ({"join": [{"file": "f.tsv", "on": "flim"}]}, "no column 'flim' .*did you mean film"),
    ],
)
def test_a_column_that_is_not_among_the_names(change, message):
    spec = {"column_names": ["click", "age", "film"], "dense": ["age"]}
    with pytest.raises(ValueError, match=message):
        TableSpec.from_dict(spec | change)


def test_a_side_table_may_have_what_the_log_has_not():
    spec = {"column_names": ["film"], "dense": ["length"]}
    side = {"file": "films.tsv", "on": "film"}
    TableSpec.from_dict(spec | {"join": [side]})
    TableSpec.from_dict(spec | {"join": [side | {"column_names": ["film", "length"]}]})
    with pytest.raises(ValueError, match="no column 'length'"):
        TableSpec.from_dict(spec | {"join": [side | {"column_names": ["film", "width"]}]})


def test_packaged_specifications_are_found_by_name():
    criteo = load_table_spec("criteo")
    assert [feature.name for feature in criteo.dense] == [f"I{k}" for k in range(1, 14)]
    assert {feature.transform for feature in criteo.dense} == {"log"}
    assert [feature.name for feature in criteo.categorical] == [f"C{k}" for k in range(1, 27)]
    assert (criteo.label.column, len(criteo.layout.column_names)) == ("label", 40)
    names = {path.stem for path in PACKAGED_SPECS.glob("*.json")}
    assert names == {"criteo", "criteo_buckets", "mind", "movielens"}
    for name in names:
        spec = load_table_spec(name)
        assert TableSpec.from_dict(spec.to_dict()) == spec


def test_a_file_comes_before_a_packaged_specification_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "criteo").write_text('{"dense": ["age"]}')
    monkeypatch.chdir(tmp_path)
    assert load_table_spec("criteo").dense[0].name == "age"


def test_side_tables_beside_the_specification_are_found_wherever_it_is_used(tmp_path):
    side = {"file": "films*", "on": "film"}
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"dense": ["length"], "join": [side]}))
    assert load_table_spec(path).join[0].file == "films*"
    (tmp_path / "films.tsv").touch()
    spec = load_table_spec(path)
    assert spec.join[0].file == str(tmp_path / "films*")
    assert TableSpec.from_dict(spec.to_dict()) == spec


def test_side_tables_beside_a_log_come_before_those_elsewhere(tmp_path):
    sides = [{"file": f"/old/{name}", "on": "film"} for name in ("films*", "prices.csv")]
    spec = TableSpec.from_dict({"dense": ["length"], "join": sides})
    log = tmp_path / "films_seen.csv"
    log.touch()
    (tmp_path / "prices.csv").mkdir()
    assert spec.prefer_side_tables(log) == spec
    (tmp_path / "films.tsv").touch()
    found = spec.prefer_side_tables([str(tmp_path / "films_s*.csv")])
    assert [side.file for side in found.join] == [str(tmp_path / "films.tsv"), "/old/prices.csv"]
    # Which one it would be, nobody says.
    (tmp_path / "films.csv").touch()
    assert spec.prefer_side_tables(log) == spec


def test_files_that_are_no_specification(tmp_path):
    with pytest.raises(
        ValueError,
        match="no column specification kriteo.*one of criteo, criteo_buckets, mind, movielens",
    ):
        load_table_spec("kriteo")
    path = tmp_path / "spec.json"
    for text, message in [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"dense": [{"name": "a", "colum": "b"}]}', "did you mean column"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as error:
            load_table_spec(path)
        assert str(error.value).startswith(str(path))
    path.write_bytes(b'{"dense": ["\xff"]}')
    with pytest.raises(ValueError, match="spec.json: .*utf-8"):
        load_table_spec(path)
