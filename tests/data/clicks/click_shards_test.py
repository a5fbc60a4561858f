"""Shards against the arrays that were written into them."""

import numpy as np
import pyarrow as pa
import pytest

from tfrec_zoo.data.clicks import click_shards
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_shards import ClickRows, ClickShards, ShardWriter

PLAIN = ClickSchema(
    (DenseFeature("a", "a"), DenseFeature("b", "b")), (CategoricalFeature("c", "c", 9),)
)
RICH = ClickSchema(
    (), (CategoricalFeature("c", "c", 9), CategoricalFeature("d", "d", 9, max_values=3)), True
)
NUMBERS_ONLY = ClickSchema((DenseFeature("a", "a"),), ())
FIELDS = ("labels", "dense", "rows", "row_weights", "weights")


def draw_rows(schema, count, seed=0):
    rng = np.random.default_rng(seed)
    slots = (count, schema.num_slots)
    return ClickRows(
        labels=rng.integers(0, 2, count).astype(np.float32),
        dense=rng.random((count, schema.num_dense), np.float32),
        rows=rng.integers(0, 9, slots, dtype=np.int32),
        row_weights=rng.random(slots, np.float32) if schema.needs_row_weights else None,
        weights=rng.random(count, np.float32) if schema.has_weights else None,
    )


def write_shards(folder, schema, rows, ends, piece=7):
    """Writes `rows` into a file up to each of `ends`, in pieces; returns the paths."""
    paths, start = [], 0
    for number, end in enumerate(ends):
        paths.append(folder / f"part-{number}.arrow")
        with ShardWriter(paths[-1], schema) as writer:
            for first in range(start, end, piece):
                writer.write(rows.slice(first, min(first + piece, end)))
        start = end
    return paths


def assert_equal(found, expected):
    for name in FIELDS:
        left, right = getattr(found, name), getattr(expected, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert left.dtype == right.dtype and left.shape == right.shape, name
            np.testing.assert_array_equal(left, right, name)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(click_shards, "BATCH_ROWS", 10)


@pytest.mark.parametrize("schema", [PLAIN, RICH, NUMBERS_ONLY])
@pytest.mark.parametrize("piece", [1, 7, 10, 64])
def test_shards_hold_what_was_written(tmp_path, schema, piece):
    rows = draw_rows(schema, 64)
    shards = ClickShards(write_shards(tmp_path, schema, rows, (31, 64), piece), schema)
    assert shards.num_rows == 64
    assert_equal(shards.slice(0, 64), rows)
    rng = np.random.default_rng(1)
    for indices in (rng.integers(0, 64, 200), rng.permutation(64), np.array([63]), np.arange(0)):
        assert_equal(shards.take(indices), rows.take(indices))
    for start, stop in [(0, 10), (9, 11), (10, 20), (28, 34), (60, 99), (64, 70), (5, 5), (9, 3)]:
        assert_equal(shards.slice(start, stop), rows.slice(start, stop))


def test_a_record_batch_has_the_stated_size(tmp_path):
    rows = draw_rows(PLAIN, 64)
    (path,) = write_shards(tmp_path, PLAIN, rows, (64,), 25)
    with pa.ipc.open_file(str(path)) as file:
        sizes = [file.get_batch(number).num_rows for number in range(file.num_record_batches)]
        assert sizes == [10] * 6 + [4]
        assert file.schema.names == ["label", "dense", "rows"]
        labels = file.read_all()["label"].to_numpy()
    np.testing.assert_array_equal(labels, rows.labels)


def test_reading_copies_nothing_until_it_must(tmp_path):
    shards = ClickShards(write_shards(tmp_path, PLAIN, draw_rows(PLAIN, 30), (30,)), PLAIN)
    part = shards.slice(10, 20)
    assert np.shares_memory(part.rows, shards.slice(12, 14).rows)
    assert not part.rows.flags.writeable
    assert shards.take(np.array([1, 2])).rows.flags.writeable


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    rows = draw_rows(RICH, 64)
    shards = ClickShards(write_shards(tmp_path, RICH, rows, (64,)), RICH)
    assert shards.fingerprint == rows.fingerprint == draw_rows(RICH, 64).fingerprint
    found = {rows.fingerprint, rows.slice(0, 63).fingerprint, rows.slice(0, 0).fingerprint}
    for name in FIELDS:
        array = getattr(rows, name).copy()
        if array.size:
            array.flat[-1] += 1
            found.add(ClickRows(**{**vars(rows), name: array}).fingerprint)
    assert len(found) == 7
    (tmp_path / "other").mkdir()
    paths = write_shards(tmp_path / "other", RICH, draw_rows(RICH, 64, seed=1), (64,))
    assert ClickShards(paths, RICH).fingerprint not in found


def test_a_shard_of_another_writer_needs_no_hashes(tmp_path):
    rows = draw_rows(NUMBERS_ONLY, 10)
    (path,) = write_shards(tmp_path, NUMBERS_ONLY, rows, (10,))
    with pa.ipc.open_file(str(path)) as file:
        table = file.read_all()
    with pa.ipc.new_file(str(tmp_path / "bare.arrow"), table.schema) as writer:
        writer.write_table(table)
    shards = ClickShards([tmp_path / "bare.arrow"], NUMBERS_ONLY)
    assert shards.fingerprint == rows.fingerprint


def test_no_shards_are_no_examples():
    shards = ClickShards([], RICH)
    assert shards.num_rows == 0
    assert_equal(shards.slice(0, 5), draw_rows(RICH, 0))
    assert_equal(shards.take(np.arange(0)), draw_rows(RICH, 0))


@pytest.mark.parametrize("indices", [[0, 64], [-1, 3]])
def test_indices_outside_are_refused(tmp_path, indices):
    shards = ClickShards(write_shards(tmp_path, PLAIN, draw_rows(PLAIN, 64), (64,)), PLAIN)
    with pytest.raises(IndexError, match="of 64 examples"):
        shards.take(np.array(indices))


def test_a_file_that_is_no_whole_shard(tmp_path):
    (path,) = write_shards(tmp_path, PLAIN, draw_rows(PLAIN, 64), (64,))
    whole = path.read_bytes()
    for content in (b"", b"label\n", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="part-0.arrow is not a whole shard of click data: "):
            ClickShards([path], PLAIN)
    with pytest.raises(FileNotFoundError):
        ClickShards([tmp_path / "none.arrow"], PLAIN)


def test_a_shard_of_another_schema(tmp_path):
    (path,) = write_shards(tmp_path, PLAIN, draw_rows(PLAIN, 4), (4,))
    message = (
        r"expected columns label float, weight float, dense float \[0\], rows int32 \[4\], "
        r"row_weights float \[4\], found label float, dense float \[2\], rows int32 \[1\]; prepare"
    )
    with pytest.raises(ValueError, match=message):
        ClickShards([path], RICH)


def test_arrays_of_other_lengths_are_refused():
    with pytest.raises(
        ValueError, match="expected arrays of one length, got {'labels': 2, 'dense'"
    ):
        ClickRows(np.zeros(2), np.zeros((3, 1)), np.zeros((2, 1)))
