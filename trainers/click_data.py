"""The data of a click trainer: prepared ones, or raw logs that are prepared into its run folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfrec_zoo.config import list_options, parse_json_object
from tfrec_zoo.data.clicks.click_preparation import prepare_clicks
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks, is_prepared_clicks
from tfrec_zoo.data.log_format import expand_paths
from tfrec_zoo.data.tables.table_spec import load_table_spec
from tfrec_zoo.experiments import ClickLogConfig
from tfrec_zoo.run_folder import RunFolder, write_json
from tfrec_zoo.trainers.prepared_folder import replace_folder

# Inside prepared data of a run: which files they come from, by which options.
SOURCE_NAME = "source.json"

# Logarithms of counts and prices are smaller.
_LARGE_NUMBER = 25.0


def prepare_into(
    folder: RunFolder,
    config: ClickLogConfig,
    train: Sequence[str],
    validation: Sequence[str],
    test: Sequence[str],
) -> PreparedClicks:
    """Prepares raw logs into a run folder, or returns what has been prepared there from the same.

    Raises:
        ValueError: a file is not as specified, or the folder's run was trained on other files.
    """
    path = folder.prepared_path
    source = _describe_source({"train": train, "validation": validation, "test": test}, config)
    if is_prepared_clicks(path):
        before = parse_json_object((path / SOURCE_NAME).read_text(encoding="utf-8"))
        if before == source:
            return PreparedClicks(path)
        if folder.features_path.exists():
            raise ValueError(_describe_difference(path, before, source))
        shutil.rmtree(path)
    spec = load_table_spec(config.columns)
    logging.info("preparing %s into %s", ", ".join(train), path)
    with replace_folder(path, overwrite=False) as temporary:
        summary = prepare_clicks(
            list(train), spec, config, temporary, validation_inputs=validation, test_inputs=test
        )
        write_json(temporary / SOURCE_NAME, source)
    for warning in summary["warnings"]:
        logging.warning("%s", warning)
    return PreparedClicks(path)


def resolve_preparation(data: PreparedClicks, config: ClickLogConfig) -> ClickLogConfig:
    """Returns how prepared data were prepared, and warns where a configuration says otherwise.

    Args:
        data: the prepared data.
        config: of a run on them, whose file, such as a recipe, may say how to prepare raw logs.
    """
    actual = ClickLogConfig.from_dict(data.summary["config"])
    for option in list_options(ClickPreparationConfig):
        wanted, found = getattr(config, option.name), getattr(actual, option.name)
        if wanted not in (option.default, found):
            logging.warning(
                "the configuration has %s=%s, but the data of %s were prepared with %s=%s: to "
                "follow it, prepare them anew",
                *(option.name, wanted, data.path, option.name, found),
            )
    return actual


def warn_of_large_numbers(examples: ClickRows, schema: ClickSchema) -> None:
    """Says which numbers are so large, as the network sees them, that it hardly learns."""
    sizes = np.abs(examples.dense).mean(axis=0)
    large = {f.name: s for f, s in zip(schema.dense, sizes, strict=True) if s > _LARGE_NUMBER}
    if large:
        logging.warning(
            "the network sees large numbers, from which it hardly learns: %s on average; give such "
            "a column the transform log_standard (counts, prices) or standard",
            ", ".join(f"{name} {size:.4g}" for name, size in large.items()),
        )


def copy_description(data: PreparedClicks, folder: RunFolder) -> None:
    """Copies into a run folder what turns raw values into the model's inputs."""
    shutil.copy(data.path / folder.features_path.name, folder.features_path)
    shutil.copy(data.path / folder.spec_path.name, folder.spec_path)
    shutil.copytree(
        data.path / folder.vocabularies_path.name, folder.vocabularies_path, dirs_exist_ok=True
    )


def describe(data: PreparedClicks) -> str:
    """Returns the sizes of the parts and the features in a line."""
    parts = ", ".join(f"{name} {data.part(name).num_rows:,} examples" for name in data.parts)
    schema = data.schema
    return f"{parts}; {schema.num_dense} dense and {len(schema.categorical)} categorical features"


def _describe_source(files: dict[str, Sequence[str]], config: ClickLogConfig) -> dict[str, Any]:
    """Returns part -> name, size and time of change of each file; and the options."""
    described = {
        part: [
            {"name": str(path), "bytes": path.stat().st_size, "changed": path.stat().st_mtime_ns}
            for path in (expand_paths(paths) if paths else [])
        ]
        for part, paths in files.items()
    }
    return {**described, "config": config.to_dict()}


def _describe_difference(path: Path, before: dict[str, Any], source: dict[str, Any]) -> str:
    part = next(part for part in source if source[part] != before.get(part))
    if part == "config":
        return f"the data in {path} were prepared by other options: choose another --run_dir"
    names = [
        ", ".join(file["name"] for file in files[part]) or "none" for files in (before, source)
    ]
    return (
        f"the data in {path} were prepared from other {part} files ({names[0]}; now: {names[1]}, "
        "or these have changed): give the same ones, or choose another --run_dir"
    )
