"""TFDS builders of clicks: what goes in through `download_and_prepare` comes back."""

import dataclasses
import gzip

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfrec_zoo.data.clicks import tfds_clicks
from tfrec_zoo.data.clicks.click_encoding import encode_blocks
from tfrec_zoo.data.clicks.click_preparation import prepare_clicks
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.planted_click_table import planted_table_spec, write_planted_table
from tfrec_zoo.data.clicks.planted_clicks import PlantedClickWorld
from tfrec_zoo.data.clicks.planted_clicks_config import PlantedClicksConfig
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import load_table_spec

WORLD = PlantedClicksConfig(value_counts=(5, 9), seed=1)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A prepared builder of 90 and 20 planted clicks; the first split lies in three files."""
    config = tfds_clicks.PlantedClicksBuilderConfig(
        name="small", world=WORLD, num_train_rows=90, num_test_rows=20
    )
    builder = tfds.builder(
        "planted_clicks", config=config, data_dir=tmp_path_factory.mktemp("tfds")
    )
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=3))
    return builder


def assert_same(rows, wanted):
    for field in dataclasses.fields(ClickRows):
        found, expected = getattr(rows, field.name), getattr(wanted, field.name)
        assert (found is None) == (expected is None), field.name
        if expected is not None:
            np.testing.assert_array_equal(found, expected, err_msg=field.name)
            assert found.dtype == expected.dtype, field.name


def prepare(name, data_dir, manual_dir=None, **kwargs):
    builder = tfds.builder(name, data_dir=data_dir, **kwargs)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    builder.download_and_prepare(download_config=config)
    return builder


def make_criteo_lines(num_rows, seed):
    """Raw lines; about a third of the fields are missing."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(num_rows):
        numbers = [str(value) for value in rng.integers(-2, 500, 13)]
        texts = [f"{value:08x}" for value in rng.integers(0, 9, 26)]
        fields = [f if rng.random() < 0.7 else "" for f in numbers + texts]
        lines.append("\t".join([str(rng.integers(2)), *fields]))
    return lines


def test_planted_clicks_come_back_unchanged(planted):
    world = PlantedClickWorld(WORLD)
    assert_same(tfds_clicks.click_rows_from_tfds(planted), world.sample(90, seed=1))
    test = tfds_clicks.click_rows_from_tfds(planted, "test")
    assert_same(test, world.sample(20, seed=2))
    assert tfds_clicks.click_schema_from_tfds(planted) == world.schema
    assert world.best_possible(test) == world.best_possible(world.sample(20, seed=2))


def test_shares_together_are_the_whole(planted):
    shares = [
        tfds_clicks.click_rows_from_tfds(planted, num_shards=4, shard=shard) for shard in range(4)
    ]
    assert sorted(share.num_rows for share in shares) == [22, 22, 23, 23]
    assert_same(ClickRows.concatenate(shares), PlantedClickWorld(WORLD).sample(90, seed=1))


def test_workers_share_the_files_by_their_input_context(planted):
    shares = []
    for worker in range(3):
        context = tf.distribute.InputContext(num_input_pipelines=3, input_pipeline_id=worker)
        dataset = planted.as_dataset(
            split="train", read_config=tfds.ReadConfig(input_context=context)
        )
        shares.append(tfds_clicks.click_rows_from_tfds(dataset))
    assert_same(ClickRows.concatenate(shares), PlantedClickWorld(WORLD).sample(90, seed=1))


def test_a_folder_serves_as_well(planted):
    builder = tfds.builder_from_directory(planted.data_dir)
    wanted = PlantedClickWorld(WORLD).sample(20, seed=2).slice(5, 10)
    assert_same(tfds_clicks.click_rows_from_tfds(builder, "test[5:10]"), wanted)
    assert tfds_clicks.click_schema_from_tfds(builder) == PlantedClickWorld(WORLD).schema


def test_any_prepared_folder_comes_back(tmp_path):
    world = PlantedClickWorld(dataclasses.replace(WORLD, weighted_bags=True))
    write_planted_table(world.sample(500, seed=3), world.schema, tmp_path / "clicks.tsv")
    rules = ClickPreparationConfig(test_fraction=0.2, negative_keep_rate=0.5, num_shards=2)
    spec = planted_table_spec(world.schema)
    prepare_clicks(tmp_path / "clicks.tsv", spec, rules, tmp_path / "prepared")
    config = tfds_clicks.PreparedClicksConfig(name="mine", folder=tmp_path / "prepared")
    builder = prepare("prepared_clicks", tmp_path / "data", config=config)
    folder = PreparedClicks(tmp_path / "prepared")
    assert set(builder.info.splits) == {"train", "test"}
    assert tfds_clicks.click_schema_from_tfds(builder) == folder.schema
    for part in ("train", "test"):
        table = folder.part(part)
        found = tfds_clicks.click_rows_from_tfds(builder, part)
        assert_same(found, table.slice(0, table.num_rows))
        assert found.weights is not None and found.row_weights is not None


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_criteo_is_read_from_the_manual_folder(tmp_path, ending):
    lines = make_criteo_lines(40, seed=0)
    text = "".join(f"{line}\n" for line in lines).encode()
    path = tmp_path / f"train.txt{ending}"
    path.write_bytes(gzip.compress(text) if ending else text)
    builder = prepare("criteo_clicks", tmp_path / "data", tmp_path)
    examples = list(builder.as_dataset(split="train").as_numpy_iterator())
    assert len(examples) == 40
    for example, line in zip(examples, lines, strict=True):
        label, *fields = line.split("\t")
        assert example["label"] == float(label)
        numbers = ["" if np.isnan(x) else str(int(x)) for x in example["dense"]]
        assert numbers + [text.decode() for text in example["categorical"]] == fields


def test_criteo_goes_the_way_of_a_file(tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(make_criteo_lines(300, seed=1)) + "\n")
    spec = load_table_spec("criteo")
    rules = ClickPreparationConfig(test_fraction=0.5)
    prepare_clicks(tmp_path / "train.txt", spec, rules, tmp_path / "prepared")
    folder = PreparedClicks(tmp_path / "prepared")
    builder = prepare("criteo_clicks", tmp_path / "data", tmp_path)
    with_vocabularies = (folder.schema, folder.vocabularies())
    wanted = encode_blocks(read_table_blocks(tmp_path / "train.txt", spec), *with_vocabularies)
    found = [
        *encode_blocks(
            tfds_clicks.table_blocks_from_tfds(builder, num_shards=2, shard=0), *with_vocabularies
        ),
        *encode_blocks(
            tfds_clicks.table_blocks_from_tfds(builder, num_shards=2, shard=1), *with_vocabularies
        ),
    ]
    assert_same(ClickRows.concatenate(found), ClickRows.concatenate(list(wanted)))


def test_each_day_of_criteo_is_a_split(tmp_path):
    days = {0: "day_0", 2: "day_2.gz", 10: "day_10"}
    for day, name in days.items():
        text = "\n".join(make_criteo_lines(5 + day, seed=day)).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    (tmp_path / "day_x").write_text("something else")
    builder = prepare("criteo_clicks", tmp_path / "data", tmp_path)
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert counts == {"day_0": 5, "day_2": 7, "day_10": 15}


def test_what_is_missing_is_said(tmp_path, planted):
    with pytest.raises(FileNotFoundError, match="no train.txt and no day_0 in .*Kaggle"):
        prepare("criteo_clicks", tmp_path / "data", tmp_path)
    with pytest.raises(ValueError, match="prepared_clicks was given no folder"):
        prepare("prepared_clicks", tmp_path)
    config = tfds_clicks.PreparedClicksConfig(name="none", folder=tmp_path)
    with pytest.raises(ValueError, match="is not a folder of prepared click data"):
        prepare("prepared_clicks", tmp_path, config=config)
    with pytest.raises(ValueError, match="planted_clicks is no data set of raw click data"):
        next(tfds_clicks.table_blocks_from_tfds(planted))


@pytest.mark.parametrize(("num_shards", "shard"), [(2, 2), (2, -1), (0, 0)])
def test_a_share_that_does_not_exist_is_refused(planted, num_shards, shard):
    with pytest.raises(ValueError, match=f"shard={shard} of num_shards={num_shards}"):
        tfds_clicks.click_rows_from_tfds(planted, num_shards=num_shards, shard=shard)


def test_an_empty_share_is_refused(planted):
    dataset = planted.as_dataset(split="test").take(20)
    with pytest.raises(ValueError, match="no examples in shard 29 of 30"):
        tfds_clicks.click_rows_from_tfds(dataset, num_shards=30, shard=29)
