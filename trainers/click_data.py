"""The data of a click trainer: prepared ones, or raw logs that are prepared into its run folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from tfrec_zoo.config import list_options, parse_json_object
from tfrec_zoo.data.click_preparation import prepare_clicks
from tfrec_zoo.data.log_format import expand_paths
from tfrec_zoo.data.prepared_clicks import PreparedClicks, is_prepared_clicks
from tfrec_zoo.data.table_spec import load_table_spec
from tfrec_zoo.experiments import ClickLogConfig
from tfrec_zoo.run_folder import RunFolder, write_json
from tfrec_zoo.trainers.prepared_folder import replace_folder

# Inside a run folder: what raw logs were prepared into, and what those logs were.
PREPARED_NAME, SOURCE_NAME = "prepared", "source.json"


def prepare_into(
    folder: RunFolder,
    config: ClickLogConfig,
    train: Sequence[str],
    validation: Sequence[str],
    test: Sequence[str],
) -> PreparedClicks:
    """Prepares raw logs into a run folder, or returns what has been prepared there from the same.

    Raises:
        ValueError: a file is not as specified, or the folder's data come from other files.
    """
    path = folder.path / PREPARED_NAME
    source = _describe_source({"train": train, "validation": validation, "test": test})
    if is_prepared_clicks(path):
        _refuse_other_source(path, source)
        return PreparedClicks(path)
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


def refuse_preparation_options(config: ClickLogConfig) -> None:
    """Raises ValueError where an option of raw logs is set for data that are prepared already."""
    for option in list_options(ClickLogConfig):
        value = getattr(config, option.name)
        if value != option.default:
            raise ValueError(
                f"{option.name}={value} is about raw logs (--train), and the data of --prepared "
                "are prepared already: leave it out, or prepare them anew"
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


def _describe_source(files: dict[str, Sequence[str]]) -> dict[str, Any]:
    """Returns part -> name, size and time of change of each file."""
    return {
        part: [
            {"name": str(path), "bytes": path.stat().st_size, "changed": path.stat().st_mtime_ns}
            for path in (expand_paths(paths) if paths else [])
        ]
        for part, paths in files.items()
    }


def _refuse_other_source(path: Path, source: dict[str, Any]) -> None:
    text = (path / SOURCE_NAME).read_text(encoding="utf-8")
    before = parse_json_object(text)
    for part, files in source.items():
        if files != before.get(part):
            names = [
                ", ".join(file["name"] for file in of) or "none" for of in (before[part], files)
            ]
            raise ValueError(
                f"the data in {path} were prepared from other {part} files ({names[0]}; now: "
                f"{names[1]}, or these have changed): give the same ones, or choose another "
                "--run_dir"
            )
