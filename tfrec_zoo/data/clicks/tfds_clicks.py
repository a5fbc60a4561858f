"""TensorFlow Datasets builders of click data, and the way back to rows and blocks.

Importing this module registers the builders, so that TFDS finds them by name:

    import tensorflow_datasets as tfds
    import tfrec_zoo.data.clicks.tfds_clicks

    builder = tfds.builder("planted_clicks")
    builder.download_and_prepare()
    rows, schema = click_rows_from_tfds(builder, "train"), click_schema_from_tfds(builder)

    raw = tfds.builder("criteo_clicks")
    raw.download_and_prepare()
    parts = encode_blocks(table_blocks_from_tfds(raw), prepared.schema, prepared.vocabularies())

An example of `planted_clicks` and `prepared_clicks` is encoded: `label` float32, `dense` float32
[Dn], `rows` int32 [S], and where the schema has them `row_weights` float32 [S] and `weight`
float32. One of `criteo_clicks` is raw: `label` float32, `dense` float32 [13], NaN where a number is
missing, and `categorical` string [26], "" where a value is missing. The examples keep their order.

TFDS keeps prepared data by name, configuration name and version: give another world or another
folder another configuration name.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow_datasets as tfds

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows, ClickTable
from tfrec_zoo.data.clicks.planted_clicks import PlantedClickWorld
from tfrec_zoo.data.clicks.planted_clicks_config import PlantedClicksConfig
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks as PreparedFolder
from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec, load_table_spec
from tfrec_zoo.data.tfds_shares import read_share

_TRAIN_SEED, _TEST_SEED = 1, 2
_ROWS_A_BATCH = 8192
_CRITEO_SPEC = "criteo"
_CRITEO_FILES = ("train.txt", "train.txt.gz")
_CRITEO_DAY = re.compile(r"(day_\d+)(\.gz)?")
# The columns of `ClickRows` -> the features of an example.
_FEATURES = {
    "labels": "label",
    "weights": "weight",
    "dense": "dense",
    "rows": "rows",
    "row_weights": "row_weights",
}

Examples = Iterator[tuple[int, dict[str, Any]]]


class _EncodedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the builders of encoded examples share; their schema lies in TFDS' metadata."""

    VERSION = tfds.core.Version("1.0.0")

    def _schema(self) -> ClickSchema:
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        schema = self._schema()
        slots = (schema.num_slots,)
        features = {
            "label": tfds.features.Scalar(np.float32),
            "dense": tfds.features.Tensor(shape=(schema.num_dense,), dtype=np.float32),
            "rows": tfds.features.Tensor(shape=slots, dtype=np.int32),
        }
        if schema.needs_row_weights:
            features["row_weights"] = tfds.features.Tensor(shape=slots, dtype=np.float32)
        if schema.has_weights:
            features["weight"] = tfds.features.Scalar(np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(schema=schema.to_dict()),
        )

    def _generate_examples(self, table: ClickTable) -> Examples:
        for start in range(0, table.num_rows, _ROWS_A_BATCH):
            batch = table.slice(start, start + _ROWS_A_BATCH)
            arrays = {name: getattr(batch, field) for field, name in _FEATURES.items()}
            arrays = {name: array for name, array in arrays.items() if array is not None}
            for row in range(batch.num_rows):
                yield start + row, {name: array[row] for name, array in arrays.items()}


@dataclasses.dataclass(eq=False, kw_only=True)
class PlantedClicksBuilderConfig(tfds.core.BuilderConfig):
    """Which planted clicks: a world, and how many examples to draw from it.

    Attributes:
        world: the world of the clicks.
        num_train_rows: examples of the split `train`.
        num_test_rows: examples of the split `test`.
    """

    world: PlantedClicksConfig = PlantedClicksConfig()
    num_train_rows: int = 400_000
    num_test_rows: int = 50_000


class PlantedClicks(_EncodedBuilder):
    """Artificial clicks whose best possible AUC is known (`tfrec_zoo.data.clicks.planted_clicks`).

    Other worlds than the default one: `tfds.builder("planted_clicks",
    config=PlantedClicksBuilderConfig(name="rare", world=PlantedClicksConfig(click_rate=0.01)))`.
    """

    BUILDER_CONFIGS = (PlantedClicksBuilderConfig(name="default"),)

    def _schema(self) -> ClickSchema:
        return PlantedClickWorld(self.builder_config.world).schema

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Examples]:
        config = self.builder_config
        world = PlantedClickWorld(config.world)
        return {
            "train": self._generate_examples(world.sample(config.num_train_rows, _TRAIN_SEED)),
            "test": self._generate_examples(world.sample(config.num_test_rows, _TEST_SEED)),
        }


@dataclasses.dataclass(eq=False, kw_only=True)
class PreparedClicksConfig(tfds.core.BuilderConfig):
    """Which prepared folder.

    Attributes:
        folder: what `tfrec-prepare --columns=...` has written.
    """

    folder: str | os.PathLike = ""


class PreparedClicks(_EncodedBuilder):
    """Any click data that `tfrec-prepare --columns=...` has written; a split for each part.

    `tfds.builder("prepared_clicks", config=PreparedClicksConfig(name="shop_2024",
    folder="prepared"))`.
    """

    def _schema(self) -> ClickSchema:
        return self._folder().schema

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Examples]:
        folder = self._folder()
        return {part: self._generate_examples(folder.part(part)) for part in folder.parts}

    def _folder(self) -> PreparedFolder:
        if self.builder_config is None or not self.builder_config.folder:
            raise ValueError(
                "prepared_clicks was given no folder: pass "
                "config=PreparedClicksConfig(name=..., folder=FOLDER) to tfds.builder."
            )
        return PreparedFolder(self.builder_config.folder)


class CriteoClicks(tfds.core.GeneratorBasedBuilder):
    """Criteo's display advertising data as they are: label, 13 integers, 26 categorical values.

    Needs in TFDS' manual download folder either `train.txt` of the Kaggle challenge, which becomes
    the split `train`, or day files of the Terabyte data (`day_0`, `day_1`, ...), each of which
    becomes a split of its name; all may be compressed (`.gz`). Lines are tab separated, without a
    header. The preprocessing of DLRM (logarithms, vocabularies) is left to the zoo.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get Criteo's Kaggle display advertising data (train.txt) or its Terabyte click logs "
        "(day_0 to day_23), and put the files, compressed or not, into the manual download folder."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        spec = load_table_spec(_CRITEO_SPEC)
        features = {
            "label": tfds.features.Scalar(np.float32),
            "dense": tfds.features.Tensor(shape=(len(spec.dense),), dtype=np.float32),
            "categorical": tfds.features.Tensor(shape=(len(spec.categorical),), dtype=np.object_),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(spec=spec.to_dict()),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Examples]:
        folder = Path(dl_manager.manual_dir)
        files = self._find_files(folder)
        if not files:
            raise FileNotFoundError(
                f"There is no {_CRITEO_FILES[0]} and no day_0 in {folder}. "
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        return {split: self._generate_examples(path) for split, path in files.items()}

    def _find_files(self, folder: Path) -> dict[str, Path]:
        """Returns split -> file."""
        for name in _CRITEO_FILES:
            if (folder / name).exists():
                return {"train": folder / name}
        days = {}
        for path in folder.iterdir():
            if match := _CRITEO_DAY.fullmatch(path.name):
                days.setdefault(match[1], path)
        return dict(sorted(days.items(), key=lambda day: int(day[0].removeprefix("day_"))))

    def _generate_examples(self, path: Path) -> Examples:
        spec, place = load_table_spec(_CRITEO_SPEC), 0
        for block in read_table_blocks(path, spec):
            dense = np.stack([block.dense[feature.column] for feature in spec.dense], axis=1)
            values = [block.categorical[feature.name] for feature in spec.categorical]
            texts = np.stack([found.texts[found.codes] for found in values], axis=1)
            for row in range(block.num_rows):
                example = {
                    "label": block.labels[row],
                    "dense": dense[row],
                    "categorical": texts[row],
                }
                yield place + row, example
            place += block.num_rows


def click_schema_from_tfds(builder: tfds.core.DatasetBuilder) -> ClickSchema:
    """Returns the features of a builder of encoded examples.

    Raises:
        ValueError: the builder is of other examples.
    """
    return ClickSchema.from_dict(_metadata(builder, "schema", "encoded click data"))


def click_rows_from_tfds(
    source: Any, split: str = "train", *, num_shards: int = 1, shard: int = 0
) -> ClickRows:
    """Reads encoded examples back from TFDS, into memory.

    Args:
        source: a prepared builder of encoded examples (also `tfds.builder_from_directory(FOLDER)`),
            or a `tf.data.Dataset` of them.
        split: the split to read from a builder, in TFDS' language (`"train[:10%]"`).
        num_shards: the number of readers that share the split.
        shard: which of the shares to read, 0 to `num_shards - 1`; see `read_share`.

    Raises:
        ValueError: the share does not exist or is empty.
    """
    dataset = read_share(source, split, num_shards, shard).batch(_ROWS_A_BATCH)
    parts = [
        ClickRows(**{field: batch[name] for field, name in _FEATURES.items() if name in batch})
        for batch in dataset.as_numpy_iterator()
    ]
    if not parts:
        raise ValueError(f"There are no examples in shard {shard} of {num_shards} of {split!r}.")
    return ClickRows.concatenate(parts)


def table_blocks_from_tfds(
    source: tfds.core.DatasetBuilder, split: str = "train", *, num_shards: int = 1, shard: int = 0
) -> Iterator[TableBlock]:
    """Reads raw examples back from TFDS, as `read_table_blocks` does from files.

    Args:
        source: a prepared builder of raw examples (also `tfds.builder_from_directory(FOLDER)`).
        split: as for `click_rows_from_tfds`, and so are the others.
        num_shards: the number of readers that share the split.
        shard: which of the shares to read.

    Raises:
        ValueError: the share does not exist, or the builder is of other examples.
    """
    spec = TableSpec.from_dict(_metadata(source, "spec", "raw click data"))
    dataset = read_share(source, split, num_shards, shard).batch(_ROWS_A_BATCH)
    for batch in dataset.as_numpy_iterator():
        yield _to_block(batch, spec)


def _to_block(batch: Mapping[str, np.ndarray], spec: TableSpec) -> TableBlock:
    dense = zip(spec.dense, batch["dense"].T, strict=True)
    categorical = zip(spec.categorical, batch["categorical"].T, strict=True)
    return TableBlock(
        num_rows=len(batch["label"]),
        labels=batch["label"],
        weights=None,
        times=None,
        dense={feature.column: np.ascontiguousarray(column) for feature, column in dense},
        categorical={feature.name: _encode_texts(column) for feature, column in categorical},
    )


def _encode_texts(column: np.ndarray) -> Values:
    """UTF-8 bytes as codes and texts."""
    found = pa.array(column, pa.large_string()).dictionary_encode()
    return Values(found.indices.to_numpy(), found.dictionary.to_numpy(zero_copy_only=False))


def _metadata(builder: tfds.core.DatasetBuilder, key: str, what: str) -> dict[str, Any]:
    metadata = builder.info.metadata or {}
    if key not in metadata:
        raise ValueError(f"{builder.info.name} is no data set of {what}: its metadata lack {key}.")
    return metadata[key]
