"""The folder of prepared click data: how its files are named, written and found again.

preparation.json  spec.json  features.json  vocabularies/<feature>.tsv
train.arrow  validation.arrow  test.arrow      or  train-00000-of-00004.arrow ...
"""

import os
from pathlib import Path
from typing import Any

from tfrec_zoo.config import parse_json_object
from tfrec_zoo.data.clicks.click_schema import FEATURES_NAME, ClickSchema
from tfrec_zoo.data.clicks.click_shards import SHARD_ENDING, ClickRows, ClickShards, ShardWriter
from tfrec_zoo.data.tables.table_spec import TableSpec, load_table_spec
from tfrec_zoo.vocabulary import Vocabulary

SUMMARY_NAME = "preparation.json"
SPEC_NAME = "spec.json"
VOCABULARIES_NAME = "vocabularies"


class PreparedClicks:
    """Prepared click data, read from their folder.

    Attributes:
        path: the folder.
        schema: the features.
        summary: what `prepare_clicks` has returned.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """Reads the summary and the features.

        Raises:
            ValueError: the folder holds no prepared clicks.
        """
        self.path = Path(path)
        if not is_prepared_clicks(self.path):
            raise ValueError(
                f"{self.path} is not a folder of prepared click data: it lacks {SUMMARY_NAME} or "
                f"{FEATURES_NAME}; tfrec-prepare --columns=... makes one"
            )
        self.schema = ClickSchema.load(self.path / FEATURES_NAME)
        self.summary: dict[str, Any] = parse_json_object(
            (self.path / SUMMARY_NAME).read_text(encoding="utf-8")
        )

    @property
    def parts(self) -> list[str]:
        """The names of the parts: `train`, and `validation` and `test` where there are any."""
        return list(self.summary["parts"])

    def part(self, name: str) -> ClickShards:
        """Returns the examples of a part.

        Raises:
            ValueError: there is no such part.
        """
        if name not in self.summary["parts"]:
            raise ValueError(f"{self.path} has no part {name}, it has {', '.join(self.parts)}")
        files = self.summary["parts"][name]["files"]
        return ClickShards([self.path / file for file in files], self.schema)

    def vocabulary(self, feature: str) -> Vocabulary:
        """Returns the vocabulary of a feature that has one."""
        return Vocabulary.load(vocabulary_path(self.path, feature))

    def vocabularies(self) -> dict[str, Vocabulary]:
        """Returns the vocabularies of all features that have one, by the feature's name."""
        return {
            feature.name: self.vocabulary(feature.name)
            for feature in self.schema.categorical
            if feature.kind == "vocabulary"
        }

    def spec(self) -> TableSpec:
        """Returns the specification of the raw data's columns."""
        return load_table_spec(self.path / SPEC_NAME)


def is_prepared_clicks(path: str | os.PathLike) -> bool:
    """Returns whether `path` is a folder of prepared click data."""
    return all((Path(path) / name).is_file() for name in (SUMMARY_NAME, FEATURES_NAME))


def vocabulary_path(folder: str | os.PathLike, feature: str) -> Path:
    """Returns where a feature's vocabulary lies."""
    return Path(folder) / VOCABULARIES_NAME / f"{feature}.tsv"


class PartWriter:
    """Writes the examples of a part, whose number is known, as shards; a context manager.

    A shard holds a contiguous run of them, so that the shards one after the other are the file that
    there would be without sharding.

    Attributes:
        files: the names of the shards.
    """

    def __init__(
        self, folder: Path, part: str, num_rows: int, num_shards: int, schema: ClickSchema
    ) -> None:
        """Names the shards.

        Raises:
            ValueError: fewer examples than shards.
        """
        if num_rows < num_shards:
            raise ValueError(
                f"{part} has {num_rows} examples, too few for {num_shards} shards: lower num_shards"
            )
        suffixes = [
            f"-{n:05d}-of-{num_shards:05d}" if num_shards > 1 else "" for n in range(num_shards)
        ]
        self.files = [f"{part}{suffix}.{SHARD_ENDING}" for suffix in suffixes]
        self._ends = [num_rows * (number + 1) // num_shards for number in range(num_shards)]
        self._folder, self._schema = folder, schema
        self._num_written = self._shard = 0
        self._writer: ShardWriter | None = None

    def write(self, rows: ClickRows) -> None:
        """Appends examples."""
        while rows.num_rows:
            if self._writer is None:
                self._writer = ShardWriter(self._folder / self.files[self._shard], self._schema)
            count = min(rows.num_rows, self._ends[self._shard] - self._num_written)
            self._writer.write(rows.slice(0, count))
            rows = rows.slice(count, rows.num_rows)
            self._num_written += count
            if self._num_written == self._ends[self._shard]:
                self._writer.close()
                self._writer = None
                self._shard += 1

    def __enter__(self) -> "PartWriter":
        """Returns the writer."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes the shard that an error has left open."""
        if self._writer is not None:
            self._writer.close()
