"""TensorFlow Datasets builders of session logs, and the way back to a `SessionLog`.

Importing this module registers the builders, so that TFDS finds them by name:

    import tensorflow_datasets as tfds
    import tfrec_zoo.data.sessions.tfds_sessions

    sessions = tfds.load("planted_sessions", split="train")
    builder = tfds.builder("yoochoose_sessions")
    builder.download_and_prepare()
    log = session_log_from_tfds(builder, "train")

One example is one session: `session_id` string, `item_ids` string [T] and `times` int64 [T], the
clicks in their order; `times` is empty for a log without times, and fractions of a second are cut
off. The examples keep the order of the log. Workers share a split between them by
`tfds.ReadConfig(input_context=...)`, which gives each some of the files (there must be no fewer
files than workers), or by `tfds.even_splits`, which cuts anywhere (`session_log_from_tfds`).

TFDS keeps prepared data by name, configuration name and version: give another log another
configuration name.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow_datasets as tfds

from tfrec_zoo.data.log_format import SessionColumns
from tfrec_zoo.data.sessions.planted_sessions import PlantedConfig, PlantedWorld
from tfrec_zoo.data.sessions.session_log import SessionLog, read_session_log, session_log_from_frame

_TRAIN_SEED, _TEST_SEED = 1, 2
_SESSIONS_A_BATCH = 1024
_RATINGS_A_BATCH = 65_536
_YOOCHOOSE_FILES = ("yoochoose-clicks.dat", "yoochoose-clicks.dat.gz")
_YOOCHOOSE_COLUMNS = SessionColumns(
    time="Timestamp",
    names=("SessionId", "Timestamp", "ItemId", "Category"),
    file_format="csv",
)


class _SessionsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the builders share: the features of an example, and examples out of a log."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "session_id": tfds.features.Text(),
                "item_ids": tfds.features.Sequence(tfds.features.Text()),
                "times": tfds.features.Sequence(np.int64),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self, description=type(self).__doc__, features=features, disable_shuffling=True
        )

    def _generate_examples(self, log: SessionLog) -> Iterator[tuple[int, dict[str, Any]]]:
        times = None if log.times is None else np.floor(log.times).astype(np.int64)
        for session, session_id in enumerate(log.session_ids):
            clicks = slice(log.offsets[session], log.offsets[session + 1])
            yield (
                session,
                {
                    "session_id": session_id,
                    "item_ids": log.item_ids[log.item_codes[clicks]].tolist(),
                    "times": [] if times is None else times[clicks],
                },
            )


@dataclasses.dataclass(eq=False, kw_only=True)
class PlantedSessionsConfig(tfds.core.BuilderConfig):
    """Which planted sessions: a world, and how many sessions to draw from it.

    Attributes:
        world: the world of the sessions.
        num_train_sessions: sessions of the split `train`.
        num_test_sessions: sessions of the split `test`.
    """

    world: PlantedConfig = PlantedConfig()
    num_train_sessions: int = 40_000
    num_test_sessions: int = 5_000


class PlantedSessions(_SessionsBuilder):
    """Artificial sessions whose best possible recall is known, see `planted_sessions`.

    Other worlds than the default one: `tfds.builder("planted_sessions",
    config=PlantedSessionsConfig(name="large", world=PlantedConfig(num_items=100_000)))`.
    """

    BUILDER_CONFIGS = (PlantedSessionsConfig(name="default"),)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self.builder_config
        world = PlantedWorld(config.world)
        return {
            "train": self._generate_examples(world.sample(config.num_train_sessions, _TRAIN_SEED)),
            "test": self._generate_examples(world.sample(config.num_test_sessions, _TEST_SEED)),
        }


class YoochooseSessions(_SessionsBuilder):
    """Clicks of the RecSys Challenge 2015, as they are: unfiltered, in one split, `train`.

    Needs `yoochoose-clicks.dat` (or `.dat.gz`) in TFDS' manual download folder: lines
    `SessionId,Timestamp,ItemId,Category` without a header, the timestamps as ISO 8601.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get the data of the RecSys Challenge 2015 (yoochoose-data.7z) and put "
        "yoochoose-clicks.dat, or yoochoose-clicks.dat.gz, into the manual download folder."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = Path(dl_manager.manual_dir)
        for name in _YOOCHOOSE_FILES:
            if (folder / name).exists():
                log = read_session_log(folder / name, _YOOCHOOSE_COLUMNS)
                return {"train": self._generate_examples(log)}
        raise FileNotFoundError(
            f"There is no {_YOOCHOOSE_FILES[0]} in {folder}. {self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )


class MovielensSessions(_SessionsBuilder):
    """Each MovieLens user's ratings in the order of time as one session; one split, `train`.

    Reads the data set `movielens/<name>-ratings` of TFDS, which is prepared in the same data folder
    first, where it is not there already. Sessions are in the order of their first rating, ratings
    of the same second in the order of the film's id.
    """

    BUILDER_CONFIGS = tuple(
        tfds.core.BuilderConfig(name=name) for name in ("100k", "1m", "20m", "25m", "latest-small")
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        # The folder ends in name/configuration/version.
        data_dir = Path(self.data_dir).parents[2]
        ratings = tfds.builder(f"movielens/{self.builder_config.name}-ratings", data_dir=data_dir)
        ratings.download_and_prepare()
        return {"train": self._generate_examples(_group_ratings(ratings))}


def _group_ratings(ratings: tfds.core.DatasetBuilder) -> SessionLog:
    names = ("user_id", "movie_id", "timestamp")
    decoders = tfds.decode.PartialDecoding(dict.fromkeys(names, True))
    dataset = ratings.as_dataset(split="train", decoders=decoders).batch(_RATINGS_A_BATCH)
    columns = {name: [] for name in names}
    for batch in dataset.as_numpy_iterator():
        for name in names:
            columns[name].append(batch[name])
    frame = pd.DataFrame({name: np.concatenate(chunks) for name, chunks in columns.items()})
    frame = frame.sort_values(["timestamp", "user_id", "movie_id"])
    return session_log_from_frame(frame, SessionColumns(*names))


@dataclasses.dataclass(eq=False, kw_only=True)
class PreparedSessionsConfig(tfds.core.BuilderConfig):
    """Which log: the files of each split, and where they have what.

    Attributes:
        paths: from the name of a split to its file, or its files, or a name with wildcards.
        columns: the columns of the files.
    """

    paths: Mapping[str, str | os.PathLike | Iterable] = dataclasses.field(default_factory=dict)
    columns: SessionColumns = SessionColumns()


class PreparedSessions(_SessionsBuilder):
    """Any log that `read_session_log` reads, for example what `tfrec-prepare` has written.

    `tfds.builder("prepared_sessions", config=PreparedSessionsConfig(name="shop_2024", paths={
    "train": "prepared/train-*.parquet", "test": "prepared/test-*.parquet"}))`.
    """

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self.builder_config
        if config is None or not config.paths:
            raise ValueError(
                "prepared_sessions was given no files: pass "
                "config=PreparedSessionsConfig(name=..., paths={'train': FILE}) to tfds.builder."
            )
        return {
            split: self._generate_examples(read_session_log(paths, config.columns))
            for split, paths in config.paths.items()
        }


def session_log_from_tfds(
    source: Any, split: str = "train", *, num_shards: int = 1, shard: int = 0
) -> SessionLog:
    """Reads sessions back from TFDS.

    Args:
        source: a prepared builder of this module's examples (also
            `tfds.builder_from_directory(FOLDER)`), or a `tf.data.Dataset` of them.
        split: the split to read from a builder, in TFDS' language (`"train[:10%]"`).
        num_shards: the number of readers that share the split.
        shard: which of the shares to read, 0 to `num_shards - 1`. The shares are consecutive and of
            equal size, give or take one session (of a `tf.data.Dataset`: every n-th session).

    Returns:
        The sessions in the order in which they are stored.

    Raises:
        ValueError: the share does not exist or is empty, or clicks and times are not as many.
    """
    if not 0 <= shard < num_shards:
        raise ValueError(
            f"Received shard={shard} of num_shards={num_shards}, expected 0 to one less."
        )
    if isinstance(source, tfds.core.DatasetBuilder):
        part = tfds.even_splits(split, num_shards)[shard]
        dataset = source.as_dataset(split=part, shuffle_files=False)
    else:
        dataset = source.shard(num_shards, shard)
    session_ids, items, lengths, times = [], [], [], []
    for batch in dataset.ragged_batch(_SESSIONS_A_BATCH):
        session_ids.append(batch["session_id"].numpy())
        items.append(_encode(batch["item_ids"].flat_values.numpy()))
        lengths.append(batch["item_ids"].row_lengths().numpy())
        times.append(batch["times"].flat_values.numpy())
    if not items:
        raise ValueError(f"There are no sessions in shard {shard} of {num_shards} of {split!r}.")
    unified = pa.chunked_array(items).unify_dictionaries()
    item_codes = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks])
    times = np.concatenate(times)
    if times.size not in (0, item_codes.size):
        raise ValueError(
            f"Received {item_codes.size} clicks and {times.size} times, expected as many of each, "
            "or no times at all."
        )
    return SessionLog(
        item_codes=item_codes,
        item_ids=unified.chunk(0).dictionary.to_numpy(zero_copy_only=False),
        times=times if times.size else None,
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
        session_ids=pa.array(np.concatenate(session_ids), pa.string()).to_numpy(False),
    )


def _encode(ids: np.ndarray) -> pa.DictionaryArray:
    """UTF-8 bytes as int32 codes and texts."""
    return pa.array(ids, pa.large_string()).dictionary_encode()
