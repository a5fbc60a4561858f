"""TFDS builders: what goes in through `download_and_prepare` comes back, whole or in shares."""

import gzip

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfrec_zoo.data.sessions import tfds_sessions
from tfrec_zoo.data.sessions.planted_sessions import PlantedConfig, PlantedWorld
from tfrec_zoo.data.sessions.session_log import (
    SessionLog,
    session_log_from_frame,
    write_session_log,
)

WORLD = PlantedConfig(num_items=50, num_successors=20, items_per_group=10, seed=1)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A prepared builder of 90 and 20 planted sessions; the first split lies in three files."""
    config = tfds_sessions.PlantedSessionsConfig(
        name="small", world=WORLD, num_train_sessions=90, num_test_sessions=20
    )
    builder = tfds.builder(
        "planted_sessions", config=config, data_dir=tmp_path_factory.mktemp("tfds")
    )
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=3))
    return builder


def assert_same(log, wanted):
    for name in ("item_codes", "item_ids", "times", "offsets", "session_ids"):
        np.testing.assert_array_equal(getattr(log, name), getattr(wanted, name), err_msg=name)
        assert getattr(log, name).dtype == getattr(wanted, name).dtype


def list_sessions(log):
    """(session id, item ids, times) of each session, in plain Python."""
    times = [None] * log.num_clicks if log.times is None else log.times.tolist()
    items = log.item_ids[log.item_codes].tolist()
    return [
        (session_id, items[start:end], times[start:end])
        for session_id, start, end in zip(
            log.session_ids, log.offsets[:-1], log.offsets[1:], strict=True
        )
    ]


def prepare(name, data_dir, **kwargs):
    builder = tfds.builder(name, data_dir=data_dir, **kwargs)
    builder.download_and_prepare()
    return builder


def test_planted_sessions_come_back_unchanged(planted):
    world = PlantedWorld(WORLD)
    train = tfds_sessions.session_log_from_tfds(planted)
    test = tfds_sessions.session_log_from_tfds(planted, "test")
    assert_same(train, world.sample(90, seed=1))
    assert_same(test, world.sample(20, seed=2))


def test_an_example_is_a_session(planted):
    wanted = list_sessions(PlantedWorld(WORLD).sample(20, seed=2))
    examples = tfds.as_numpy(planted.as_dataset(split="test"))
    found = [
        (
            example["session_id"].decode(),
            [item_id.decode() for item_id in example["item_ids"]],
            example["times"].tolist(),
        )
        for example in examples
    ]
    assert found == wanted


def test_shares_together_are_the_whole(planted):
    whole = list_sessions(tfds_sessions.session_log_from_tfds(planted))
    shares = [
        list_sessions(tfds_sessions.session_log_from_tfds(planted, num_shards=4, shard=shard))
        for shard in range(4)
    ]
    assert sum(shares, []) == whole
    assert sorted(map(len, shares)) == [22, 22, 23, 23]


def test_workers_share_the_files_by_their_input_context(planted):
    assert planted.info.splits["train"].num_shards == 3
    shares = []
    for worker in range(3):
        context = tf.distribute.InputContext(num_input_pipelines=3, input_pipeline_id=worker)
        dataset = planted.as_dataset(
            split="train", read_config=tfds.ReadConfig(input_context=context)
        )
        shares += list_sessions(tfds_sessions.session_log_from_tfds(dataset))
    assert shares == list_sessions(PlantedWorld(WORLD).sample(90, seed=1))


def test_a_dataset_and_a_folder_serve_as_well(planted):
    dataset = planted.as_dataset(split="test")
    assert_same(
        tfds_sessions.session_log_from_tfds(dataset, num_shards=2, shard=1),
        tfds_sessions.session_log_from_tfds(dataset.shard(2, 1)),
    )
    from_folder = tfds.builder_from_directory(planted.data_dir)
    part = tfds_sessions.session_log_from_tfds(from_folder, "test[5:10]")
    wanted = list_sessions(PlantedWorld(WORLD).sample(20, seed=2))[5:10]
    assert list_sessions(part) == wanted


@pytest.mark.parametrize("is_compressed", [False, True])
def test_yoochoose_is_read_from_the_manual_folder(tmp_path, is_compressed):
    text = (
        "2,2014-04-07T13:56:37.614Z,214662742,0\n"
        "1,2014-04-07T10:51:09.277Z,214536502,0\n"
        "2,2014-04-07T13:57:19.373Z,214662742,S\n"
        "1,2014-04-07T10:54:09.868Z,214536500,12\n"
        "2,2014-04-07T13:56:36.000Z,0214,0\n"
    )
    path = tmp_path / f"yoochoose-clicks.dat{'.gz' if is_compressed else ''}"
    path.write_bytes(gzip.compress(text.encode()) if is_compressed else text.encode())
    builder = tfds.builder("yoochoose_sessions", data_dir=tmp_path / "data")
    config = tfds.download.DownloadConfig(manual_dir=tmp_path)
    builder.download_and_prepare(download_config=config)
    first = int(pd.Timestamp("2014-04-07T10:51:09Z").timestamp())
    second = int(pd.Timestamp("2014-04-07T13:56:36Z").timestamp())
    assert list_sessions(tfds_sessions.session_log_from_tfds(builder)) == [
        ("2", ["0214", "214662742", "214662742"], [second, second + 1, second + 43]),
        ("1", ["214536502", "214536500"], [first, first + 180]),
    ]


def test_yoochoose_says_what_is_missing(tmp_path):
    builder = tfds.builder("yoochoose_sessions", data_dir=tmp_path / "data")
    config = tfds.download.DownloadConfig(manual_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="no yoochoose-clicks.dat in .*RecSys Challenge"):
        builder.download_and_prepare(download_config=config)


def test_movielens_users_are_sessions(tmp_path, monkeypatch):
    """TFDS' own MovieLens builder takes the files of the test for the fetched archive."""
    rng = np.random.default_rng(0)
    ratings = pd.DataFrame(
        {
            "user": rng.integers(1, 6, 80),
            "film": rng.permutation(80) % 30 + 1,
            "rating": rng.integers(1, 6, 80),
            "time": 880_000_000 + rng.integers(0, 40, 80),
        }
    ).drop_duplicates(["user", "film"])
    archive = tmp_path / "archive" / "ml-100k"
    archive.mkdir(parents=True)
    ratings.to_csv(archive / "u.data", sep="\t", header=False, index=False)
    flags = "|".join(["0"] * 18 + ["1"])
    films = [f"{film}|Film {film} (1995)|01-Jan-1995||url|{flags}" for film in range(1, 31)]
    (archive / "u.item").write_text("\n".join(films) + "\n", encoding="latin-1")
    users = [f"{user}|24|M|technician|85711" for user in range(1, 6)]
    (archive / "u.user").write_text("\n".join(users) + "\n", encoding="latin-1")
    monkeypatch.setattr(
        tfds.download.DownloadManager, "download_and_extract", lambda *_: str(archive.parent)
    )
    builder = prepare("movielens_sessions/100k", tmp_path / "data")

    wanted = {}
    order = sorted(
        ratings.astype(str).itertuples(index=False), key=lambda r: (r.time, r.user, r.film)
    )
    for rating in order:
        items, times = wanted.setdefault(rating.user, ([], []))
        items.append(rating.film)
        times.append(int(rating.time))
    log = tfds_sessions.session_log_from_tfds(builder)
    assert list_sessions(log) == [(user, *columns) for user, columns in wanted.items()]


@pytest.mark.parametrize("ending", ["tsv", "parquet", "txt"])
def test_any_log_can_be_prepared(tmp_path, ending):
    frame = pd.DataFrame(
        {
            "SessionId": ["b", "a", "b", "ä", "a"],
            "ItemId": ["x", "y", "ü z" if ending != "txt" else "ü", "x", "y"],
            "Time": [5, 6, 7, 7, 9],
        }
    )
    log = session_log_from_frame(frame)
    write_session_log(log, tmp_path / f"log-1.{ending}")
    config = tfds_sessions.PreparedSessionsConfig(
        name=f"my_{ending}", paths={"train": tmp_path / f"log-*.{ending}"}
    )
    builder = prepare("prepared_sessions", tmp_path / "data", config=config)
    found = tfds_sessions.session_log_from_tfds(builder)
    wanted = list_sessions(log)
    if ending == "txt":
        wanted = [
            (str(line), items, [None] * len(items)) for line, (_, items, _) in enumerate(wanted, 1)
        ]
    assert list_sessions(found) == wanted


def test_fractions_of_a_second_are_cut_off(tmp_path):
    log = SessionLog(
        item_codes=np.array([0, 0, 1], np.int32),
        item_ids=np.array(["x", "y"], object),
        times=np.array([1.25, 1.75, 2.0]),
        offsets=np.array([0, 3]),
        session_ids=np.array(["s"], object),
    )
    write_session_log(log, tmp_path / "log.parquet")
    config = tfds_sessions.PreparedSessionsConfig(
        name="fractions", paths={"train": tmp_path / "log.parquet"}
    )
    builder = prepare("prepared_sessions", tmp_path / "data", config=config)
    assert tfds_sessions.session_log_from_tfds(builder).times.tolist() == [1, 1, 2]


def test_prepared_sessions_need_files(tmp_path):
    with pytest.raises(ValueError, match="prepared_sessions was given no files"):
        prepare("prepared_sessions", tmp_path)


@pytest.mark.parametrize(("num_shards", "shard"), [(2, 2), (2, -1), (0, 0)])
def test_a_share_that_does_not_exist_is_refused(planted, num_shards, shard):
    with pytest.raises(ValueError, match=f"shard={shard} of num_shards={num_shards}"):
        tfds_sessions.session_log_from_tfds(planted, num_shards=num_shards, shard=shard)


def test_an_empty_share_is_refused(planted):
    with pytest.raises(ValueError, match="no sessions in shard 29 of 30"):
        dataset = planted.as_dataset(split="test").take(20)
        tfds_sessions.session_log_from_tfds(dataset, num_shards=30, shard=29)
