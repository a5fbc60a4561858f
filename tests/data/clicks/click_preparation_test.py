"""Whole preparations against dictionaries and loops of plain Python."""

import gzip
import json
import math
from collections import Counter

import numpy as np
import pytest

from tfrec_zoo.data.clicks.click_encoding import encode_blocks
from tfrec_zoo.data.clicks.click_preparation import prepare_clicks
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.farm_hash import hash_rows
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks, is_prepared_clicks
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec, load_table_spec

SPEC = {
    "label": {"column": "stars", "at_least": 4},
    "weight": "weight",
    "time": "when",
    "dense": [
        {"name": "age", "transform": "log"},
        {"name": "scaled", "column": "price", "transform": "standard"},
        {"name": "log_scaled", "column": "price", "transform": "log_standard"},
    ],
    "categorical": [
        {"name": "user", "min_count": 1},
        {"name": "city"},
        {"name": "tags", "separator": "|", "weight_separator": ":", "max_values": 3},
        {"name": "site", "hash_rows": 20},
        {"name": "range", "column": "price", "buckets": 4},
    ],
}


def draw_table(count=400, seed=1):
    """Rows of raw texts, in no order of time."""
    rng = np.random.default_rng(seed)

    def draw_tags():
        tags = rng.zipf(1.5, rng.integers(0, 6)) % 15
        return "|".join(f"t{tag}:{rng.integers(1, 5)}" for tag in tags)

    def maybe(value):
        return "" if rng.random() < 0.1 else str(value)

    return [
        {
            "stars": str(rng.integers(1, 6)),
            "weight": str(rng.integers(1, 4)),
            "when": str(rng.integers(0, 50)),
            "age": maybe(rng.integers(-2, 90)),
            "price": maybe(round(float(rng.lognormal()), 3)),
            "user": maybe(f"u{rng.zipf(1.4) % 100}"),
            "city": maybe(f"é{rng.zipf(1.3) % 60}"),
            "tags": draw_tags(),
            "site": maybe(f"s{rng.integers(0, 90)}"),
        }
        for _ in range(count)
    ]


def write_csv(path, rows):
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def prepare(folder, inputs, spec=SPEC, *, files=None, **options):
    spec = TableSpec.from_dict(spec)
    summary = prepare_clicks(
        inputs, spec, ClickPreparationConfig(**options), folder, **(files or {})
    )
    return PreparedClicks(folder), summary


def read_part(data, part):
    shards = data.part(part)
    return shards.slice(0, shards.num_rows)


def rank_values(counts, min_count):
    """Value -> row: frequent ones first, those of one count by their text."""
    kept = sorted((-count, value) for value, count in counts.items() if count >= min_count)
    return {value: row for row, (_, value) in enumerate(kept, start=1)}


def split_tags(text):
    return [(tag.split(":")[0], float(tag.split(":")[1])) for tag in text.split("|") if tag][:3]


def encode_table(rows, train):
    """(label, weight, dense, rows, row weights) of each of `rows`, learned from `train`."""
    users = rank_values(Counter(row["user"] or "<missing>" for row in train), 1)
    cities = rank_values(Counter(row["city"] or "<missing>" for row in train), 2)
    tags = rank_values(Counter(t for row in train for t, _ in split_tags(row["tags"])), 2)
    prices = np.float64([np.float32(row["price"]) for row in train if row["price"]])
    logs = np.log1p(prices)
    ordered = sorted(prices)
    edges = {ordered[k * len(ordered) // 4] for k in (1, 2, 3)} - {ordered[0]}
    encoded = []
    for row in rows:
        price = np.float32(row["price"]) if row["price"] else None
        dense = [math.log(1 + max(float(row["age"] or 0), 0))]
        dense.append(0 if price is None else (price - np.mean(prices)) / np.std(prices))
        dense.append(0 if price is None else (math.log(1 + price) - logs.mean()) / logs.std())
        bag = split_tags(row["tags"])
        padding = [0] * (3 - len(bag))
        slots = [
            users.get(row["user"] or "<missing>", 0),
            cities.get(row["city"] or "<missing>", 0),
        ]
        slots += [tags.get(tag, 0) for tag, _ in bag] + padding
        slots.append(int(hash_rows([row["site"] or "<missing>"], 21)[0]))
        slots.append(0 if price is None else 1 + sum(edge <= price for edge in edges))
        weights = [1, 1, *(weight for _, weight in bag), *padding, 1, 1]
        encoded.append((int(row["stars"]) >= 4, float(row["weight"]), dense, slots, weights))
    return encoded


def assert_rows(found, expected):
    labels, weights, dense, rows, row_weights = zip(*expected, strict=True)
    assert found.labels.tolist() == list(labels)
    assert found.weights.tolist() == list(weights)
    np.testing.assert_allclose(found.dense, dense, rtol=1e-5, atol=1e-6)
    assert found.rows.tolist() == list(rows)
    assert found.row_weights.tolist() == list(row_weights)


def test_a_table_of_all_kinds_of_features(tmp_path):
    table = draw_table()
    path = write_csv(tmp_path / "log.csv", table)
    data, summary = prepare(tmp_path / "out", path, test_time=10.0, validation_fraction=0.2)
    times = [int(row["when"]) for row in table]
    test = [row for row in table if int(row["when"]) > max(times) - 10]
    older = sorted((int(row["when"]), place) for place, row in enumerate(table) if row not in test)
    newest = {place for _, place in older[len(older) - round(0.2 * len(older)) :]}
    train = [table[place] for _, place in sorted(older, key=lambda p: p[1]) if place not in newest]
    validation = [table[place] for place in sorted(newest)]
    assert data.parts == ["train", "validation", "test"]
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        assert_rows(read_part(data, name), encode_table(rows, train))
        part = summary["parts"][name]
        labels = [int(row["stars"]) >= 4 for row in rows]
        whens = [int(row["when"]) for row in rows]
        assert (part["num_rows"], part["num_clicks"]) == (len(rows), sum(labels))
        assert part["click_rate"] == pytest.approx(np.mean(labels))
        weights = [int(row["weight"]) for row in rows]
        assert part["weighted_click_rate"] == pytest.approx(np.average(labels, weights=weights))
        assert part["times"] == [min(whens), max(whens)]
    cities = Counter(row["city"] or "<missing>" for row in train)
    described = summary["features"]["city"]
    assert described["num_values"] == len(cities)
    assert described["num_kept"] == sum(count >= 2 for count in cities.values())
    known = {city for city, count in cities.items() if count >= 2}
    for name, rows in (("train", train), ("test", test)):
        share = np.mean([(row["city"] or "<missing>") not in known for row in rows])
        assert described["unknown"][name] == pytest.approx(share)
    many = sum(len(row["tags"].split("|")) > 3 for row in table)
    assert summary["features"]["tags"]["num_cut_rows"] == many > 0
    assert f"feature tags: {many} rows have more values than max_values" in summary["warnings"][0]
    assert dict(zip(data.vocabulary("city").ids, data.vocabulary("city").counts, strict=True)) == {
        city: count for city, count in cities.items() if count >= 2
    }
    assert summary["input"]["num_rows"] == len(table)
    assert json.loads((tmp_path / "out" / "preparation.json").read_text()) == summary
    assert data.spec() == TableSpec.from_dict(SPEC)


def test_new_raw_data_are_encoded_alike(tmp_path):
    table = draw_table()
    path = write_csv(tmp_path / "log.csv", table)
    new_path = write_csv(tmp_path / "new.csv", draw_table(100, seed=2))
    data, _ = prepare(tmp_path / "out", path, files={"test_inputs": new_path})
    assert data.part("train").num_rows == len(table)
    blocks = read_table_blocks(new_path, data.spec())
    encoded = ClickRows.concatenate(list(encode_blocks(blocks, data.schema, data.vocabularies())))
    assert encoded.fingerprint == read_part(data, "test").fingerprint
    assert encoded.num_rows == 100


def test_side_tables_are_found_again(tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "cities.csv").write_text("city,country\nx,X\ny,Y\n")
    (tmp_path / "logs" / "log.csv").write_text("click,city\n1,y\n0,x\n1,y\n0,z\n")
    spec = {"label": "click", "categorical": ["country"]}
    spec["join"] = [{"file": "cities.csv", "on": "city"}]
    monkeypatch.chdir(tmp_path)
    data, _ = prepare(tmp_path / "out", "logs/log.csv", spec, min_count=1)
    assert data.vocabulary("country").ids.tolist() == ["Y", "<missing>", "X"]
    assert read_part(data, "train").rows[:, 0].tolist() == [1, 3, 1, 2]
    new = tmp_path / "new.csv"
    new.write_text("click,city\n0,y\n")
    (rows,) = encode_blocks(read_table_blocks(new, data.spec()), data.schema, data.vocabularies())
    assert rows.rows.tolist() == [[1]]


def test_criteo_as_plain_python_has_it(tmp_path, shared_data):
    path = shared_data / "clicks" / "criteo_60k.txt.gz"
    data, summary = prepare(
        tmp_path, path, load_table_spec("criteo").to_dict(), min_count=2, test_fraction=1 / 6
    )
    with gzip.open(path, "rt") as file:
        lines = [line.rstrip("\n").split("\t") for line in file]
    assert len(lines) == 60_000
    vocabularies = [
        rank_values(Counter(fields[column] or "<missing>" for fields in lines[:50_000]), 2)
        for column in range(14, 40)
    ]
    for name, part_lines in (("train", lines[:50_000]), ("test", lines[50_000:])):
        found = read_part(data, name)
        assert found.labels.tolist() == [int(fields[0]) for fields in part_lines]
        dense = [[math.log(1 + max(int(x or 0), 0)) for x in fields[1:14]] for fields in part_lines]
        np.testing.assert_allclose(found.dense, dense, rtol=1e-6)
        for place, vocabulary in enumerate(vocabularies):
            values = [fields[14 + place] or "<missing>" for fields in part_lines]
            assert found.rows[:, place].tolist() == [vocabulary.get(v, 0) for v in values]
    assert [f.num_rows for f in data.schema.categorical] == [len(v) + 1 for v in vocabularies]
    assert (found.row_weights, found.weights, summary["warnings"]) == (None, None, [])


@pytest.mark.parametrize("num_shards", [2, 3])
def test_shards_one_after_the_other_are_the_single_file(tmp_path, num_shards):
    path = write_csv(tmp_path / "log.csv", draw_table())
    one, _ = prepare(tmp_path / "one", path, test_fraction=0.1)
    many, summary = prepare(tmp_path / "many", path, test_fraction=0.1, num_shards=num_shards)
    for part in ("train", "test"):
        files = summary["parts"][part]["files"]
        assert files == [f"{part}-{n:05d}-of-{num_shards:05d}.arrow" for n in range(num_shards)]
        assert read_part(many, part).fingerprint == read_part(one, part).fingerprint
    assert not (tmp_path / "many" / "train.arrow").exists()
    assert list((tmp_path / "many").glob(".spill*")) == []


def test_large_tables_are_hashed(tmp_path):
    table = draw_table()
    path = write_csv(tmp_path / "log.csv", table)
    data, summary = prepare(tmp_path / "out", path, max_rows=12)
    kinds = {feature.name: (feature.kind, feature.num_rows) for feature in data.schema.categorical}
    tags = Counter(tag for row in table for tag, _ in split_tags(row["tags"]))
    assert sum(count >= 2 for count in tags.values()) > 11
    assert kinds["city"] == kinds["user"] == kinds["tags"] == ("hash", 12)
    assert kinds["site"] == ("hash", 21)
    expected = hash_rows([row["city"] or "<missing>" for row in table], 12)
    assert read_part(data, "train").rows[:, 1].tolist() == expected.tolist()
    num_tags = summary["features"]["tags"]["num_values"]
    assert num_tags == len(tags) and "num_kept" not in summary["features"]["tags"]
    roomy, _ = prepare(tmp_path / "roomy", path, max_rows=1 + sum(c >= 2 for c in tags.values()))
    assert roomy.schema.categorical[2].kind == "vocabulary"
    assert list((tmp_path / "out" / "vocabularies").iterdir()) == []


def test_kept_negatives_weigh_for_those_left_out(tmp_path):
    table = draw_table(4000)
    path = write_csv(tmp_path / "log.csv", table)
    spec = {key: value for key, value in SPEC.items() if key != "weight"}
    whole, _ = prepare(tmp_path / "whole", path, spec, test_fraction=0.25)
    data, summary = prepare(
        tmp_path / "part", path, spec, test_fraction=0.25, negative_keep_rate=0.125
    )
    assert data.schema.has_weights and not whole.schema.has_weights
    train, full = read_part(data, "train"), read_part(whole, "train")
    assert train.labels.sum() == full.labels.sum()
    np.testing.assert_array_equal(train.weights, np.where(train.labels == 1, 1, 8))
    assert summary["input"]["num_dropped_negatives"] == full.num_rows - train.num_rows
    part = summary["parts"]["train"]
    assert part["click_rate"] == pytest.approx(train.labels.mean())
    assert part["weighted_click_rate"] == pytest.approx(full.labels.mean(), rel=0.15)
    test = read_part(data, "test")
    assert (test.weights == 1).all() and test.num_rows == 1000
    counts = data.vocabulary("user").counts
    assert counts.sum() == train.num_rows


def test_bad_rows_are_counted_over_all_files(tmp_path):
    table = draw_table(30)
    broken = [*table, {**table[0], "stars": "many"}]
    paths = [write_csv(tmp_path / f"{name}.csv", broken) for name in ("log", "test")]
    files = {"test_inputs": [paths[1]]}
    _, summary = prepare(tmp_path / "out", [paths[0]], files=files, max_bad_rows=2)
    assert summary["input"] | {"files": 0} == {
        "files": 0,
        "num_rows": 60,
        "num_bad_rows": 2,
        "num_dropped_negatives": 0,
    }
    with pytest.raises(ValueError, match=r"test.csv, line 32: .*'many'"):
        prepare(tmp_path / "strict", [paths[0]], files=files, max_bad_rows=1)
    assert not is_prepared_clicks(tmp_path / "strict")


def test_files_of_nothing_but_bad_rows(tmp_path):
    rows = [{**row, "stars": "x"} for row in draw_table(3)]
    path = write_csv(tmp_path / "log.csv", rows)
    with pytest.raises(ValueError, match="the files of train have no good row, only 3 bad ones"):
        prepare(tmp_path / "out", path, max_bad_rows=3)


def test_labels_without_a_difference_are_told(tmp_path):
    rows = [{**row, "stars": "5"} for row in draw_table(20)]
    _, summary = prepare(tmp_path / "out", write_csv(tmp_path / "log.csv", rows))
    assert (
        "all 20 labels of train are 1: there is nothing to rank, and the AUC is undefined"
        in summary["warnings"]
    )
    _, summary = prepare(tmp_path / "rare", tmp_path / "log.csv", min_count=20)
    assert any(
        warning.startswith("feature city has 1") and "none of them frequent enough" in warning
        for warning in summary["warnings"]
    )


@pytest.mark.parametrize(
    ("change", "files", "options", "message"),
    [
        ({"label": None}, {}, {}, "names no label"),
        ({}, {"test_inputs": ["log.csv"]}, {"test_fraction": 0.1}, "as test_fraction=0.1: choose"),
        (
            {},
            {"test_inputs": ["log.csv"]},
            {"test_time": 5.0},
            "the test part is given as files and",
        ),
        (
            {},
            {"validation_inputs": ["log.csv"]},
            {"validation_fraction": 0.1},
            "the validation part is given as files and as validation_fraction=0.1: choose one",
        ),
        ({"time": None}, {}, {"test_time": 5.0}, "test_time needs the column of times"),
        ({}, {}, {"num_shards": 401}, "train has 400 examples, too few for 401 shards: lower num_"),
    ],
)
def test_requests_that_cannot_be_met(tmp_path, monkeypatch, change, files, options, message):
    monkeypatch.chdir(tmp_path)
    path = write_csv(tmp_path / "log.csv", draw_table())
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "out", path, SPEC | change, files=files, **options)
    assert list((tmp_path / "out").glob(".spill*")) == []


def test_a_folder_that_holds_no_preparation(tmp_path):
    with pytest.raises(ValueError, match="is not a folder of prepared click data: it lacks"):
        PreparedClicks(tmp_path)
    data, _ = prepare(tmp_path / "out", write_csv(tmp_path / "log.csv", draw_table(20)))
    with pytest.raises(ValueError, match="out has no part test, it has train"):
        data.part("test")
