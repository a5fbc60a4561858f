"""What a version of a model is written from, and how."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_zoo import __version__
from tfrec_zoo.export.restored import AnyRestored, ExportFolder
from tfrec_zoo.export.version_folder import (
    SAVED_MODEL,
    require_format,
    write_models_config,
    write_version,
)
from tfrec_zoo.export.warmup import Request, write_warmup_requests
from tfrec_zoo.layers.custom_gradient import leave_out_gradients
from tfrec_zoo.run_folder import write_json

CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class Content:
    """What a version is written from.

    Attributes:
        module: the model.
        signatures: its functions by name.
        requests: for warming up.
        assets: file name -> JSON values.
        about: what is said in `export` of the configuration, where that is one model's.
        write_extras: writes what is beside the assets.
    """

    module: tf.Module
    signatures: Mapping[str, Callable]
    requests: list[Request]
    assets: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    write_extras: Callable[[ExportFolder], None] = lambda assets: None


def write_export(
    program: str,
    export_dir: str | os.PathLike,
    version: int | None,
    make: Callable[[Path], Content],
) -> Path:
    """Writes a version, and beside it `models.config`.

    Args:
        program: the name of the model.
        export_dir: the folder of the versions, made where it is missing.
        version: a number from 1 on; None: the one after the last.
        make: is given a folder for the files that become assets, and returns the content,
            `config.json` among its assets.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists, or the folder is one of another format's versions.
        OSError, tf.errors.ResourceExhaustedError: the folder cannot be written. Nothing is left
            under the version's name.
    """

    def write(folder: Path) -> None:
        sources = folder / "sources"
        sources.mkdir()
        # Nobody trains it further.
        with leave_out_gradients():
            content = make(sources)
            signatures = dict(content.signatures)
            tf.saved_model.save(content.module, str(folder), signatures=signatures)
        shutil.rmtree(sources)  # Saving has copied the files to the assets.
        (folder / "assets").mkdir(exist_ok=True)
        for name, values in content.assets.items():
            write_json(folder / "assets" / name, values)
        write_warmup_requests(folder, program, content.requests)
        content.write_extras(ExportFolder(folder / "assets"))

    require_format(export_dir, SAVED_MODEL)
    target = write_version(export_dir, version, write)
    write_models_config(export_dir, program)
    return target


def describe_source(restored: AnyRestored) -> dict[str, Any]:
    """Returns where a model comes from: `checkpoint` in its run, and the run's final `metrics`."""
    checkpoint, metrics = restored.checkpoint, None
    if restored.run is not None:
        checkpoint = os.path.relpath(checkpoint, restored.run.path)
        if restored.run.metrics_path.exists():
            metrics = restored.run.load_metrics()
    return {"checkpoint": checkpoint, "metrics": metrics}


def describe_versions() -> dict[str, str]:
    """Returns what an export was written with."""
    return {"tfrec_zoo": __version__, "tensorflow": tf.__version__}
