"""A catalogue of items as a folder.

catalogue.json  ids.tsv  items.arrow  features.json  spec.json  vocabularies/<feature>.tsv
times.npy, shows.npy, click_lifts.npy (as far as these are known)
"""

import json
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfrec_zoo.atomic_file import replace_folder
from tfrec_zoo.config import parse_json_object
from tfrec_zoo.data.clicks.click_schema import FEATURES_NAME, ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickShards, ShardWriter
from tfrec_zoo.data.clicks.prepared_clicks import SPEC_NAME, VOCABULARIES_NAME, vocabulary_path
from tfrec_zoo.data.tables.table_spec import load_table_spec
from tfrec_zoo.vocabulary import Vocabulary

SUMMARY_NAME = "catalogue.json"
IDS_NAME = "ids.tsv"
ITEMS_NAME = "items.arrow"
TIMES_NAME = "times.npy"
SHOWS_NAME = "shows.npy"
CLICK_LIFTS_NAME = "click_lifts.npy"

_OWN_NAMES = {
    SUMMARY_NAME,
    IDS_NAME,
    ITEMS_NAME,
    TIMES_NAME,
    SHOWS_NAME,
    CLICK_LIFTS_NAME,
    FEATURES_NAME,
    SPEC_NAME,
    VOCABULARIES_NAME,
}


class Catalogue(Protocol):
    """What is written: the attributes of `ItemCatalogue`."""

    vocabulary: Vocabulary
    features: Any
    schema: ClickSchema
    vocabularies: Any
    spec: Any
    times: Any
    shows: Any
    click_lifts: Any
    summary: Any


def write_catalogue_folder(path: str | os.PathLike, catalogue: Catalogue) -> None:
    """Writes a folder, whole or not at all; one that is there is replaced.

    Raises:
        ValueError: there is something else than a catalogue.
    """
    _refuse_other_content(Path(path))
    with replace_folder(path) as folder:
        (folder / VOCABULARIES_NAME).mkdir()
        catalogue.vocabulary.save(folder / IDS_NAME)
        for name, vocabulary in catalogue.vocabularies.items():
            vocabulary.save(vocabulary_path(folder, name))
        catalogue.schema.save(folder / FEATURES_NAME)
        with ShardWriter(folder / ITEMS_NAME, catalogue.schema) as writer:
            writer.write(catalogue.features)
        for name, values in (
            (TIMES_NAME, catalogue.times),
            (SHOWS_NAME, catalogue.shows),
            (CLICK_LIFTS_NAME, catalogue.click_lifts),
        ):
            if values is not None:
                np.save(folder / name, values)
        _write_json(folder / SPEC_NAME, catalogue.spec.to_dict())
        _write_json(folder / SUMMARY_NAME, catalogue.summary)
        _refuse_other_content(Path(path))


def read_catalogue_folder(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the attributes of the catalogue in a folder.

    Raises:
        ValueError: there is none, or a file of it is damaged.
    """
    folder = Path(path)
    if not all((folder / name).is_file() for name in (SUMMARY_NAME, IDS_NAME, ITEMS_NAME)):
        raise ValueError(
            f"{folder} is not a catalogue of items: it lacks {SUMMARY_NAME}, {IDS_NAME} or "
            f"{ITEMS_NAME}"
        )
    schema = ClickSchema.load(folder / FEATURES_NAME)
    shard = ClickShards([folder / ITEMS_NAME], schema)
    return {
        "vocabulary": Vocabulary.load(folder / IDS_NAME),
        "features": shard.slice(0, shard.num_rows),
        "schema": schema,
        "vocabularies": {
            feature.name: Vocabulary.load(vocabulary_path(folder, feature.name))
            for feature in schema.categorical
            if feature.kind == "vocabulary"
        },
        "spec": load_table_spec(folder / SPEC_NAME),
        "times": _read_array(folder / TIMES_NAME),
        "shows": _read_array(folder / SHOWS_NAME),
        "click_lifts": _read_array(folder / CLICK_LIFTS_NAME),
        "summary": parse_json_object((folder / SUMMARY_NAME).read_text(encoding="utf-8")),
    }


def _refuse_other_content(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"a catalogue is a folder, but {path} is a file: choose another path")
    foreign = sorted({child.name for child in path.iterdir()} - _OWN_NAMES)
    if foreign:
        raise ValueError(
            f"{path} holds {foreign[0]!r}, which is not of a catalogue, so it is not replaced: "
            "choose another folder"
        )


def _read_array(path: Path) -> np.ndarray | None:
    return np.load(path) if path.is_file() else None


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
