"""Trained models in Python with what belongs to them, as they come from the files of a folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tfrec_zoo.config import Config, parse_json_object
from tfrec_zoo.data.clicks.click_encoding import encode_blocks
from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.experiments import DLRMExperiment, GRU4RecExperiment, SSRExperiment
from tfrec_zoo.export.warmup import EXTRA_NAME
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.vocabulary import Vocabulary

# What an export adds to the config.json of a run.
EXPORT_KEY = "export"


@dataclass(frozen=True)
class RestoredGRU4Rec:
    """A trained GRU4Rec and what belongs to it.

    Attributes:
        model: the network and its tables, ready for inference.
        vocabulary: raw ids <-> rows of the tables.
        experiment: how it was trained.
        checkpoint: TensorFlow's name of where its weights come from; None: from memory.
        run: the folder of its run, None where there is none.
    """

    experiment_class: ClassVar[type[Config]] = GRU4RecExperiment
    sources: ClassVar[str] = "vocabulary"

    model: GRU4Rec
    vocabulary: Vocabulary
    experiment: GRU4RecExperiment
    checkpoint: str | None = None
    run: RunFolder | None = None

    @classmethod
    def rebuild(
        cls, folder: RunFolder, experiment: GRU4RecExperiment, model_class: type[GRU4Rec] | None
    ) -> "RestoredGRU4Rec":
        """Returns the model of a folder's files, with its initial weights."""
        vocabulary = folder.load_vocabulary()
        model = (model_class or GRU4Rec)(experiment.model, vocabulary.num_rows)
        return cls(model, vocabulary, experiment)


@dataclass(frozen=True)
class RestoredSSR:
    """A trained SSR and its items.

    Attributes:
        model: the towers, ready for inference.
        catalogue: the items, encoded for the model: those of the run, or of the export.
        experiment: how it was trained.
        checkpoint: TensorFlow's name of where its weights come from; None: from memory.
        run: the folder of its run, None where there is none.
        exported: of an export, what its `config.json` says in `export`; None: it is not of one.
    """

    experiment_class: ClassVar[type[Config]] = SSRExperiment
    sources: ClassVar[str] = "catalogue"

    model: SSR
    catalogue: ItemCatalogue
    experiment: SSRExperiment
    checkpoint: str | None = None
    run: RunFolder | None = None
    exported: Mapping[str, Any] | None = None

    @classmethod
    def rebuild(
        cls, folder: RunFolder, experiment: SSRExperiment, model_class: type[SSR] | None
    ) -> "RestoredSSR":
        """Returns the model of a folder's files, with its initial weights."""
        catalogue = ItemCatalogue.load(folder.catalogue_path)
        model = (model_class or SSR)(experiment.model, catalogue.schema)
        exported = folder.load_config().get(EXPORT_KEY)
        return cls(model, catalogue, experiment, exported=exported)


@dataclass(frozen=True)
class RestoredDLRM:
    """A trained DLRM and what belongs to it.

    Attributes:
        model: the network and its tables, ready for inference.
        schema: the features.
        vocabularies: name of a feature -> its vocabulary, for all features that have one.
        experiment: how it was trained.
        checkpoint: TensorFlow's name of where its weights come from; None: from memory.
        run: the folder of its run, None where there is none.
        spec: the JSON values of the column specification; None where none was used.
    """

    experiment_class: ClassVar[type[Config]] = DLRMExperiment
    sources: ClassVar[str] = "features"

    model: DLRM
    schema: ClickSchema
    vocabularies: Mapping[str, Vocabulary]
    experiment: DLRMExperiment
    checkpoint: str | None = None
    run: RunFolder | None = None
    spec: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Checks that each feature with a vocabulary has it, of the table's rows."""
        for feature in self.schema.categorical:
            if feature.kind != "vocabulary":
                continue
            if feature.name not in self.vocabularies:
                raise ValueError(f"feature {feature.name} has no vocabulary: pass it, too")
            num_rows = self.vocabularies[feature.name].num_rows
            if num_rows != feature.num_rows:
                raise ValueError(
                    f"feature {feature.name} has {feature.num_rows} rows and its vocabulary "
                    f"{num_rows}: they are not of one run"
                )

    @classmethod
    def rebuild(
        cls, folder: RunFolder, experiment: DLRMExperiment, model_class: type[DLRM] | None
    ) -> "RestoredDLRM":
        """Returns the model of a folder's files, with its initial weights."""
        schema, spec = folder.load_schema(), None
        if folder.spec_path.is_file():
            spec = parse_json_object(folder.spec_path.read_text(encoding="utf-8"))
        model = (model_class or DLRM)(experiment.model, schema)
        return cls(model, schema, folder.load_vocabularies(), experiment, spec=spec)

    def encode_logs(self, paths: Any, **reading: Any) -> Iterator[ClickRows]:
        """Yields the examples of raw logs, block by block, encoded as the training data were.

        Side tables that lie beside them come before those of the training data.

        Args:
            paths: a file or several.
            reading: options of `read_table_blocks`.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: the logs are not as specified, or nothing says what their columns are.
        """
        if self.spec is None:
            raise ValueError(
                "the model has no column specification, so raw logs cannot be read for it: leave "
                "--test out, or evaluate it on prepared data as --prepared"
            )
        spec = TableSpec.from_dict(self.spec).prefer_side_tables(paths)
        blocks = read_table_blocks(paths, spec, **reading)
        yield from encode_blocks(blocks, self.schema, self.vocabularies)


AnyRestored = RestoredGRU4Rec | RestoredSSR | RestoredDLRM


class ExportFolder(RunFolder):
    """The assets of an export: the files of a run folder, those of vocabularies beside them."""

    @property
    def catalogue_path(self) -> Path:
        """The folder of the items, of which a server takes no notice."""
        return self.path.parent / EXTRA_NAME / "catalogue"

    @property
    def vocabularies_path(self) -> Path:
        """The folder of a click model's vocabularies."""
        return self.path
