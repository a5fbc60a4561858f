"""Side tables: their columns reach the rows of the log by key, or are missing."""

import gzip
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_oracle import read, write

from tfrec_zoo.data.tables import text_blocks
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec, load_table_spec

LOG = "user,film\nu1,7\nu2,8\nu3,\nu4,9\nu5,7\n"
FILMS = """\
film_id,title,length,kinds,A,B,user
8,Eight,80.5,x:2|y,0,1,?
7,Seven,,x,1,1,?
,None,1,z,1,0,?
"""
SPEC = {
    "dense": ["length"],
    "categorical": [
        "user",
        "film",
        "title",
        {"name": "kinds", "separator": "|", "weight_separator": ":", "max_values": 3},
        {"name": "flags", "flags": ["A", "B"]},
        {"name": "long", "column": "length", "buckets": 4},
    ],
    "join": [{"file": "films.csv", "on": "film", "key": "film_id"}],
}
EXPECTED = {
    "user": ["u1", "u2", "u3", "u4", "u5"],
    "film": ["7", "8", "", "9", "7"],
    "length": [None, 80.5, None, None, None],
    "title": ["Seven", "Eight", "", "", "Seven"],
    "kinds": [(("x", 1),), (("x", 2), ("y", 1)), (), (), (("x", 1),)],
    "flags": [("A", "B"), ("B",), (), (), ("A", "B")],
    "num_bad_rows": 0,
}


@pytest.mark.parametrize("block_bytes", [1 << 24, 16])
def test_columns_of_a_side_table(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", block_bytes)
    write(tmp_path / "films.csv", FILMS)
    path = write(tmp_path / "log.csv", LOG)
    assert read(path, SPEC, needs_label=False) == EXPECTED


def test_a_side_table_of_integers_in_parquet(tmp_path):
    films = {"film_id": [8, 7], "title": ["Eight", "Seven"], "length": [80.5, None]}
    pq.write_table(pa.table(films), tmp_path / "films.parquet")
    pq.write_table(pa.table({"film": [7, 8, None, 9, 7]}), tmp_path / "log.parquet")
    spec = {
        "dense": ["length"],
        "categorical": ["film", "title"],
        "join": [SPEC["join"][0] | {"file": "films.parquet"}],
    }
    table = read(tmp_path / "log.parquet", spec, needs_label=False)
    assert table == {name: EXPECTED[name] for name in table}


def test_two_side_tables_and_a_wildcard_of_one_file(tmp_path):
    write(tmp_path / "films.csv.gz", FILMS)
    write(tmp_path / "people.csv", "user,age\nu2,30\nu5,50\n")
    path = write(tmp_path / "log.csv", LOG)
    spec = SPEC | {"dense": ["length", "age"]}
    people = {"file": str(tmp_path / "people.csv"), "on": "user"}
    spec["join"] = [SPEC["join"][0] | {"file": "films.csv*"}, people]
    table = read(path, spec, needs_label=False)
    assert table.pop("age") == [None, 30, None, None, 50]
    assert table == EXPECTED
    write(tmp_path / "films.csv", FILMS)
    with pytest.raises(ValueError, match=r"join: films.csv\* is a side table in one file, but"):
        read(path, spec, needs_label=False)


def test_a_block_holds_only_its_own_texts_of_a_side_table(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 16)
    write(tmp_path / "films.csv", FILMS)
    path = write(tmp_path / "log.csv", LOG)
    blocks = list(read_table_blocks(path, TableSpec.from_dict(SPEC), needs_label=False))
    assert len(blocks) > 2
    for block in blocks:
        values = block.categorical["title"]
        assert set(values.texts) == set(values.texts[values.codes])


@pytest.mark.parametrize(
    ("films", "message"),
    [
        ("id,title\n1,a\n", "films.csv has no column 'film_id', the columns found are id, title"),
        (
            FILMS.replace("title", "name"),
            "log.csv has no column 'title', .* are user, film, and in",
        ),
        (FILMS + "8,Again,1,,0,0,?\n", "films.csv, line 5: film_id '8' is there a second time"),
        (FILMS + "9,a\n", "films.csv, line 5: expected 7 fields, found 2"),
        (FILMS + "9,a,long,,0,0,?\n", "films.csv, line 5: length is 'long', expected a number"),
        (FILMS + "9,a,1,,0,2,?\n", "films.csv, line 5: B is 2, expected 0 or 1"),
        ("", "films.csv is empty"),
        (FILMS.replace("A,B", "A,Z"), "log.csv has no column 'B'"),
    ],
)
def test_faults_of_a_side_table(tmp_path, films, message):
    write(tmp_path / "films.csv", films)
    path = write(tmp_path / "log.csv", LOG)
    with pytest.raises(ValueError, match=message):
        read(path, SPEC, needs_label=False, max_bad_rows=100)


def test_other_faults_of_joins(tmp_path):
    path = write(tmp_path / "log.csv", LOG)
    with pytest.raises(FileNotFoundError, match="join: there is no file .*films.csv, to be joined"):
        read(path, SPEC, needs_label=False)
    write(tmp_path / "films.csv", FILMS)
    spec = SPEC | {"join": [SPEC["join"][0] | {"on": "movie"}]}
    with pytest.raises(ValueError, match="log.csv has no column 'movie'"):
        read(path, spec, needs_label=False)
    write(path, LOG.replace("user", "A"))
    spec = SPEC | {"categorical": [{"name": "flags", "flags": ["A", "B", "film"]}]}
    with pytest.raises(
        ValueError, match="the columns A, B, film of one feature must be in one tab"
    ):
        read(path, spec, needs_label=False)


def test_movielens_by_its_specification_alone(shared_data):
    folder = shared_data / "ratings"
    table = read(folder / "u.data.gz", load_table_spec("movielens"))
    ratings = [line.split("\t") for line in gzip.open(folder / "u.data.gz", "rt")]
    assert table["user"] == [row[0] for row in ratings]
    assert table["film"] == [row[1] for row in ratings]
    assert table["label"] == [float(row[2] in "45") for row in ratings]
    assert table["time"] == [int(row[3]) for row in ratings]
    feature = load_table_spec("movielens").categorical[2]
    lines = [line.split("|") for line in gzip.open(folder / "u.item.gz", "rt", encoding="latin-1")]
    genres = {
        fields[0]: tuple(f for f, text in zip(feature.flags, fields[5:], strict=True) if int(text))
        for fields in lines
    }
    assert table["genres"] == [genres[film] for film in table["film"]]
    assert max(map(len, genres.values())) == feature.max_values
    assert genres["1"] == ("Animation", "Children's", "Comedy")
    assert math.isclose(sum(table["label"]) / len(ratings), 0.55375)


def test_a_specification_with_its_side_table_beside_it(tmp_path):
    folder = tmp_path / "specs"
    folder.mkdir()
    write(folder / "films.csv", FILMS)
    write(folder / "spec.json", json.dumps(SPEC))
    path = write(tmp_path / "log.csv", LOG)
    assert read(path, load_table_spec(folder / "spec.json"), needs_label=False) == EXPECTED
