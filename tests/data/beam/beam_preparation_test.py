"""The Beam pipeline against the preparation on one machine: the same files, byte by byte."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

beam = pytest.importorskip("apache_beam", reason="needs the extra tfrec-zoo[beam]")

from apache_beam.io.localfilesystem import LocalFileSystem  # noqa: E402

from tfrec_zoo.data.beam import beam_numbers, beam_preparation  # noqa: E402
from tfrec_zoo.data.clicks.click_preparation import prepare_clicks  # noqa: E402
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig  # noqa: E402
from tfrec_zoo.data.clicks.number_statistics import NumberStatistics  # noqa: E402
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks  # noqa: E402
from tfrec_zoo.data.tables.table_spec import TableSpec, load_table_spec  # noqa: E402

SPEC = {
    "label": "click",
    "weight": "importance",
    "time": "when",
    "dense": [
        {"name": "age", "transform": "standard"},
        {"name": "visits", "transform": "log"},
        {"name": "age_log", "column": "age", "transform": "log_standard"},
    ],
    "categorical": [
        {"name": "user", "min_count": 1},
        {"name": "film", "oov_rows": 3},
        {"name": "tags", "separator": "|", "weight_separator": ":", "max_values": 3},
        {"name": "genre", "separator": "/", "max_values": 2, "pooling": "mean"},
        {"name": "agent", "hash_rows": 7},
        {"name": "age_group", "column": "age", "buckets": 5},
    ],
    "join": [{"file": "films.csv", "on": "film", "key": "id"}],
}


def write_table(path, num_rows, seed, bad_rows=()):
    """A table with all kinds of columns, many equal times and missing fields."""
    rng = np.random.default_rng(seed)

    def some(text):
        return text if rng.random() < 0.9 else ""

    lines = ["click,importance,when,age,visits,user,film,tags,agent"]
    for row in range(num_rows):
        tags = [f"t{t}:{w}" for t, w in zip(rng.integers(0, 30, 5), rng.random(5), strict=True)]
        fields = [
            str(int(rng.random() < 0.3)) if row not in bad_rows else "7",
            f"{rng.integers(1, 4)}",
            f"{rng.integers(-5, 40) + rng.integers(2) / 2}",
            some(f"{rng.normal(40, 12):.2f}"),
            some(f"{rng.integers(0, 99)}"),
            some(f"u{int(rng.exponential(30))}"),
            some(f"f{rng.integers(0, 40)}"),
            "|".join(tags[: rng.integers(0, 6)]),
            some(f"agent {rng.integers(0, 50)}"),
        ]
        lines.append(",".join(fields))
    text = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    films = ["id,genre", *(f"f{n},{'/'.join('abcd'[: n % 5])}" for n in range(30))]
    (path.parent / "films.csv").write_text("\n".join(films) + "\n")
    return path


@pytest.fixture
def tables(tmp_path):
    """Three files of a table, of different lengths."""
    names = ("a.csv", "b.csv.gz", "c.csv")
    return [
        write_table(tmp_path / name, num_rows, seed)
        for seed, (name, num_rows) in enumerate(zip(names, (700, 300, 500), strict=True))
    ]


def assert_same_folders(found, wanted):
    names = sorted(str(p.relative_to(wanted)) for p in wanted.rglob("*") if p.is_file())
    assert sorted(str(p.relative_to(found)) for p in found.rglob("*") if p.is_file()) == names
    for name in names:
        if name != "preparation.json":
            assert (found / name).read_bytes() == (wanted / name).read_bytes(), name
    found, wanted = (json.loads((f / "preparation.json").read_text()) for f in (found, wanted))
    for summary in (found, wanted):
        assert summary.pop("seconds") > 0 and summary.pop("rows_per_second") > 0
    assert found == wanted


def prepare_both(tmp_path, inputs, spec, config, **kwargs):
    """Prepares with Beam and on one machine; returns what Beam has prepared."""
    prepare_clicks(inputs, spec, config, tmp_path / "wanted", **kwargs)
    summary = beam_preparation.prepare_clicks_with_beam(
        inputs, spec, config, tmp_path / "found", **kwargs
    )
    assert_same_folders(tmp_path / "found", tmp_path / "wanted")
    prepared = PreparedClicks(tmp_path / "found")
    assert prepared.summary == summary
    return prepared


def test_criteo_in_the_order_of_its_rows(tmp_path, shared_data):
    config = ClickPreparationConfig(
        test_fraction=1 / 6, validation_fraction=0.1, negative_keep_rate=0.5, num_shards=3
    )
    log = shared_data / "clicks" / "criteo_60k.txt.gz"
    prepared = prepare_both(tmp_path, [log], load_table_spec("criteo"), config)
    assert prepared.parts == ["train", "validation", "test"]
    assert prepared.part("test").num_rows == 10_000


def test_all_kinds_of_columns_split_by_equal_times(tmp_path, tables, monkeypatch):
    """The sample for the buckets is smaller than the data, so that the random draws matter."""
    monkeypatch.setattr(NumberStatistics.__init__, "__defaults__", (200,))
    monkeypatch.setattr(beam_numbers, "SAMPLE_SIZE", 200)
    config = ClickPreparationConfig(test_fraction=0.2, validation_fraction=0.1, num_shards=2)
    prepared = prepare_both(tmp_path, tables, TableSpec.from_dict(SPEC), config)
    assert [prepared.part(part).num_rows for part in prepared.parts] == [1080, 120, 300]
    kinds = [feature.kind for feature in prepared.schema.categorical]
    assert kinds == ["vocabulary"] * 4 + ["hash", "buckets"]


def test_a_span_of_time_tables_hashed_and_bad_rows(tmp_path, tables):
    write_table(tables[1], 300, seed=1, bad_rows=(5, 6))
    config = ClickPreparationConfig(
        test_time=12, validation_fraction=0.2, max_rows=20, max_bad_rows=2, negative_keep_rate=0.3
    )
    prepared = prepare_both(tmp_path, [tmp_path / "?.csv*"], TableSpec.from_dict(SPEC), config)
    assert prepared.summary["input"]["num_bad_rows"] == 2
    assert prepared.schema.categorical[0].kind == "hash"
    assert not (prepared.path / "vocabularies" / "user.tsv").exists()


def test_files_of_each_part(tmp_path, tables):
    spec = TableSpec.from_dict({n: v for n, v in SPEC.items() if n not in ("time", "weight")})
    prepared = prepare_both(
        tmp_path,
        tables[:1],
        spec,
        ClickPreparationConfig(),
        validation_inputs=tables[1:2],
        test_inputs=tables[2:],
    )
    assert [prepared.part(part).num_rows for part in prepared.parts] == [700, 300, 500]


class FakeCloud(LocalFileSystem):
    """Files under `fake://`, which lie in a folder."""

    root: Path

    @classmethod
    def scheme(cls):
        return "fake"

    def match(self, patterns, limits=None):
        found = super().match([self._local(pattern) for pattern in patterns], limits)
        for metadata in (metadata for result in found for metadata in result.metadata_list):
            metadata.path = metadata.path.replace(str(self.root), "fake:/")
        return found

    def open(self, path, *args):
        return super().open(self._local(path), *args)

    def create(self, path, *args):
        Path(self._local(path)).parent.mkdir(parents=True, exist_ok=True)
        return super().create(self._local(path), *args)

    def _local(self, path):
        return path.replace("fake:/", str(self.root))


def test_files_may_lie_in_a_file_system_of_beam(tmp_path, tables):
    FakeCloud.root = tmp_path
    spec = TableSpec.from_dict(
        {n: v for n, v in SPEC.items() if n != "join"} | {"categorical": ["user", "film"]}
    )
    config = ClickPreparationConfig(test_fraction=0.2, num_shards=2)
    prepare_clicks(tables[:1], spec, config, tmp_path / "wanted")
    beam_preparation.prepare_clicks_with_beam(["fake://a.cs*"], spec, config, "fake://found")
    summary = tmp_path / "found" / "preparation.json"
    summary.write_text(summary.read_text().replace("fake://a.cs*", str(tables[0])))
    assert_same_folders(tmp_path / "found", tmp_path / "wanted")


@pytest.mark.parametrize(
    ("options", "bad_rows", "sentence"),
    [
        ({}, (5,), r"a\.csv, line 7: click is '?7'?, expected 0 or 1"),
        ({"max_bad_rows": 1}, (5, 9), r"a\.csv, line 11: .* max_bad_rows=1"),
        ({"test_time": 1e9}, (), "into test leaves none to train on"),
        ({"num_shards": 5000}, (), "too few for 5000 shards"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, options, bad_rows, sentence):
    path = write_table(tmp_path / "a.csv", 40, seed=0, bad_rows=bad_rows)
    config = ClickPreparationConfig(**options)
    with pytest.raises(ValueError, match=sentence) as caught:
        beam_preparation.prepare_clicks_with_beam(
            [path], TableSpec.from_dict(SPEC), config, tmp_path / "out"
        )
    assert "\n" not in str(caught.value) and "while running" not in str(caught.value)
    assert not (tmp_path / "out" / "preparation.json").exists()


def test_bad_rows_of_all_files_count_together(tmp_path):
    files = [write_table(tmp_path / f"{n}.csv", 40, seed=n, bad_rows=(3, 4)) for n in (1, 2)]
    config = ClickPreparationConfig(max_bad_rows=3)
    with pytest.raises(ValueError, match="together have 4 bad rows, more than max_bad_rows=3"):
        beam_preparation.prepare_clicks_with_beam(
            files, TableSpec.from_dict(SPEC), config, tmp_path / "out"
        )


def test_a_wrong_request_is_refused_before_anything_is_read(tmp_path):
    spec = TableSpec.from_dict(SPEC)
    with pytest.raises(FileNotFoundError, match="none.csv"):
        beam_preparation.prepare_clicks_with_beam(
            [tmp_path / "none.csv"], spec, ClickPreparationConfig(), tmp_path / "out"
        )
    with pytest.raises(ValueError, match="the test part is given as files and as test_fraction"):
        beam_preparation.prepare_clicks_with_beam(
            ["a"],
            spec,
            ClickPreparationConfig(test_fraction=0.5),
            tmp_path / "out",
            test_inputs="b",
        )
