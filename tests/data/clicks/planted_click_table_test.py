"""The raw table of planted clicks: read and encoded as any log is, it is the world's own rows."""

import gzip

import numpy as np
import pytest

from tfrec_zoo.data.clicks.click_encoding import encode_blocks
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.planted_click_table import (
    planted_table_spec,
    planted_vocabularies,
    write_planted_table,
)
from tfrec_zoo.data.clicks.planted_clicks import PlantedClickWorld
from tfrec_zoo.data.clicks.planted_clicks_config import PlantedClicksConfig
from tfrec_zoo.data.tables.table_files import read_table_blocks


@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bag_value_counts", [(), (8, 30)])
def test_the_table_comes_back_as_the_rows(tmp_path, pooling, weighted, bag_value_counts):
    config = PlantedClicksConfig(
        pooling=pooling, weighted_bags=weighted, bag_value_counts=bag_value_counts
    )
    world = PlantedClickWorld(config)
    rows = world.sample(3000, seed=1)
    path = tmp_path / "clicks.tsv.gz"
    write_planted_table(rows, world.schema, path)
    blocks = read_table_blocks(path, planted_table_spec(world.schema))
    vocabularies = planted_vocabularies(rows, world.schema)
    found = ClickRows.concatenate(list(encode_blocks(blocks, world.schema, vocabularies)))
    np.testing.assert_array_equal(found.labels, rows.labels)
    np.testing.assert_array_equal(found.dense, rows.dense)
    np.testing.assert_array_equal(found.rows, rows.rows)
    if bag_value_counts:
        np.testing.assert_allclose(found.row_weights, rows.row_weights, rtol=1e-6)
    else:
        assert found.row_weights is None


def test_lines_hold_texts_counts_and_weights(tmp_path):
    config = PlantedClicksConfig(
        num_dense=1, value_counts=(3,), bag_value_counts=(4,), pooling="sum", weighted_bags=True
    )
    rows = ClickRows(
        labels=np.array([1, 0], np.float32),
        dense=np.log1p(np.array([[7], [0]], np.float32)),
        rows=np.array([[3, 1, 4, 0, 0], [1, 0, 0, 0, 0]], np.int32),
        row_weights=np.array([[1, 0.5, 2, 0, 0], [1, 0, 0, 0, 0]], np.float32),
    )
    path = tmp_path / "clicks.tsv.gz"
    write_planted_table(rows, PlantedClickWorld(config).schema, path)
    assert gzip.decompress(path.read_bytes()).decode().splitlines() == [
        "click\tx1\tc1\tbag1",
        "1\t7\tc1-00002\tbag1-00000:0.5|bag1-00003:2",
        "0\t\tc1-00000\t",
    ]


def test_vocabularies_hold_all_values_with_their_counts():
    world = PlantedClickWorld(PlantedClicksConfig())
    rows = world.sample(500, seed=1)
    vocabularies = planted_vocabularies(rows, world.schema)
    assert list(vocabularies) == ["c1", "c2", "c3", "c4", "bag1"]
    assert vocabularies["c4"].num_rows == 101
    assert vocabularies["c1"].counts.sum() == 500
    assert vocabularies["bag1"].counts.sum() == np.count_nonzero(rows.rows[:, 4:])
    row = int(rows.rows[3, 1])
    assert vocabularies["c2"].raw_ids([row])[0] == f"c2-{row - 1:05d}"
