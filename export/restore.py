"""Trained models back in Python: from the checkpoints of a run folder, or from an export.

A model is rebuilt from the configuration without a distribution strategy, whatever it was trained
under, and the weights alone are read into it.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import tensorflow as tf

from tfrec_zoo.config import PROGRAM_KEY
from tfrec_zoo.experiments import DLRMExperiment, GRU4RecExperiment, SSRExperiment
from tfrec_zoo.export.quantized_weights import assign_weights, find_format, quantize_weights
from tfrec_zoo.export.restored import (
    EXPORT_KEY,
    AnyRestored,
    ExportFolder,
    RestoredDLRM,
    RestoredGRU4Rec,
    RestoredSSR,
)
from tfrec_zoo.export.warmup import EXTRA_NAME
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.run_folder import RunFolder

# What reading a checkpoint of other variables ends in.
_MISFITS = (
    AssertionError,
    ValueError,
    tf.errors.NotFoundError,
    tf.errors.InvalidArgumentError,
)

Restored = TypeVar("Restored", "RestoredGRU4Rec", "RestoredSSR", "RestoredDLRM")
Folder = str | os.PathLike | RunFolder
_KINDS = {
    kind.experiment_class.PROGRAM: kind for kind in (RestoredGRU4Rec, RestoredSSR, RestoredDLRM)
}


def restore_run(run_folder: Folder, which: str = "best") -> AnyRestored:
    """Rebuilds the model of a run folder, whichever it is, from one of its checkpoints.

    Args:
        run_folder: the folder.
        which: `best` (the last one where no validation has picked a best), `last`, or the path of a
            checkpoint, such as `run/checkpoints/last/ckpt-200`.

    Raises:
        ValueError: this is no run folder, it has no such checkpoint, or the checkpoint is of
            another model.
    """
    folder = _as_folder(run_folder)
    return _restore(_find_kind(folder), folder, which, None)


def restore_again(restored: Restored, which: str) -> Restored:
    """Reads another checkpoint of a run into the model that was rebuilt from it.

    What was compiled of the model stays. Where reading fails its weights are of no checkpoint.

    Args:
        restored: of `restore_run` or one of those below.
        which: see `restore_run`.

    Raises:
        ValueError: the run has no such checkpoint, or it is of another model.
    """
    checkpoint = find_checkpoint(restored.run, which)
    _read_weights(tf.train.Checkpoint(model=restored.model), checkpoint, restored.sources)
    return replace(restored, checkpoint=checkpoint)


def restore_gru4rec(
    run_folder: Folder, which: str = "best", model_class: type[GRU4Rec] = GRU4Rec
) -> RestoredGRU4Rec:
    """Rebuilds the GRU4Rec of a run folder; `model_class` is the subclass that was trained.

    For the rest see `restore_run`.
    """
    return _restore(RestoredGRU4Rec, _as_folder(run_folder), which, model_class)


def restore_ssr(
    run_folder: Folder, which: str = "best", model_class: type[SSR] = SSR
) -> RestoredSSR:
    """Rebuilds the SSR of a run folder; `model_class` is the subclass that was trained.

    For the rest see `restore_run`.
    """
    return _restore(RestoredSSR, _as_folder(run_folder), which, model_class)


def restore_dlrm(
    run_folder: Folder, which: str = "best", model_class: type[DLRM] = DLRM
) -> RestoredDLRM:
    """Rebuilds the DLRM of a run folder; `model_class` is the subclass that was trained.

    For the rest see `restore_run`.
    """
    return _restore(RestoredDLRM, _as_folder(run_folder), which, model_class)


def load_export(export: str | os.PathLike) -> AnyRestored:
    """Rebuilds the Python model of an export from the weights and the assets inside it.

    Where the tables inside are float16 or int8, those of the model are the numbers that they stand
    for.

    Args:
        export: a version folder, `<export_dir>/<version>`.

    Raises:
        ValueError: this is no export, or not a sound one.
    """
    return _load(_find_kind(open_export(export)), export, None)


def load_exported_part(export: str | os.PathLike, part: str) -> AnyRestored:
    """Rebuilds one of the Python models of an export of several, see `load_export`.

    Args:
        export: a version folder.
        part: its name there, such as `retriever` or `ranker` of a cascade.
    """
    open_export(export)
    folder = find_part(export, part)
    kind = _find_kind(folder)
    restored = kind.rebuild(folder, _read_experiment(kind, folder), None)
    checkpoint = str(Path(export) / "variables" / "variables")
    weights = tf.train.Checkpoint(weights=restored.model.weights)
    _read_weights(tf.train.Checkpoint(**{part: weights}), checkpoint, kind.sources)
    return replace(restored, checkpoint=checkpoint)


def find_part(export: str | os.PathLike, part: str) -> RunFolder:
    """Returns the folder in an export of several models where the files of one's run are."""
    return RunFolder(Path(export) / EXTRA_NAME / part)


def load_exported_gru4rec(
    export: str | os.PathLike, model_class: type[GRU4Rec] = GRU4Rec
) -> RestoredGRU4Rec:
    """Rebuilds the GRU4Rec of an export; `model_class` is its class. See `load_export`."""
    return _load(RestoredGRU4Rec, export, model_class)


def load_exported_ssr(export: str | os.PathLike, model_class: type[SSR] = SSR) -> RestoredSSR:
    """Rebuilds the SSR of an export; `model_class` is its class. See `load_export`."""
    return _load(RestoredSSR, export, model_class)


def load_exported_dlrm(export: str | os.PathLike, model_class: type[DLRM] = DLRM) -> RestoredDLRM:
    """Rebuilds the DLRM of an export; `model_class` is its class. See `load_export`."""
    return _load(RestoredDLRM, export, model_class)


def open_export(export: str | os.PathLike) -> ExportFolder:
    """Returns the assets of a version folder, where the files of its run can be read.

    Raises:
        ValueError: this is no export.
    """
    assets = ExportFolder(Path(export) / "assets")
    if not assets.config_path.is_file():
        raise ValueError(f"{export} is not an exported version: it has no assets/config.json")
    return assets


def find_program(config: Mapping[str, Any]) -> str:
    """Returns which model the content of a `config.json` is of."""
    return config.get(PROGRAM_KEY, GRU4RecExperiment.PROGRAM)


def read_experiment(folder: RunFolder) -> GRU4RecExperiment | SSRExperiment | DLRMExperiment:
    """Returns how the model of a run folder is trained; ValueError if that cannot be read."""
    return _read_experiment(_find_kind(folder), folder)


def find_checkpoint(folder: RunFolder, which: str = "best") -> str:
    """Returns the path of a checkpoint of `folder`, see `restore_run` for `which`."""
    if which not in ("best", "last"):
        if not Path(f"{which}.index").is_file():
            raise ValueError(
                f"there is no checkpoint {which}: expected best, last or a path such as "
                f"{folder.checkpoints_path}/last/ckpt-200"
            )
        return which
    for name in ("best", "last") if which == "best" else ("last",):
        found = tf.train.latest_checkpoint(str(folder.checkpoints_path / name))
        if found:
            return found
    raise ValueError(
        f"{folder.path} has no checkpoint yet: train until the first one is written (the trainer "
        "continues the run when started again by the same command)"
    )


def _as_folder(run_folder: Folder) -> RunFolder:
    return run_folder if isinstance(run_folder, RunFolder) else RunFolder(Path(run_folder))


def _find_kind(folder: RunFolder) -> type[AnyRestored]:
    program = find_program(folder.load_config())
    if program not in _KINDS:
        raise ValueError(
            f"{folder.config_path} is of a model {program!r}, expected one of {', '.join(_KINDS)}"
        )
    return _KINDS[program]


def _restore(
    kind: type[Restored], folder: RunFolder, which: str, model_class: type | None
) -> Restored:
    experiment = _read_experiment(kind, folder)
    checkpoint = find_checkpoint(folder, which)
    restored = replace(kind.rebuild(folder, experiment, model_class), run=folder)
    return restore_again(restored, checkpoint)


def _load(kind: type[Restored], export: str | os.PathLike, model_class: type | None) -> Restored:
    assets = open_export(export)
    restored = kind.rebuild(assets, _read_experiment(kind, assets), model_class)
    checkpoint = str(Path(export) / "variables" / "variables")
    table_format = find_format(assets.load_config().get(EXPORT_KEY))
    weights = quantize_weights(restored.model, table_format)
    _read_weights(tf.train.Checkpoint(weights=weights), checkpoint, kind.sources)
    assign_weights(restored.model, weights)
    return replace(restored, checkpoint=checkpoint)


def _read_experiment(kind: type[Restored], folder: RunFolder) -> Any:
    """Returns the experiment in a folder's `config.json`; ValueError if it is another model's."""
    config = folder.load_config()
    program, expected = find_program(config), kind.experiment_class.PROGRAM
    if program != expected:
        raise ValueError(
            f"{folder.config_path} is of a model {program!r}, expected one of {expected!r}"
        )
    try:
        return kind.experiment_class.from_dict(
            {key: value for key, value in config.items() if key != EXPORT_KEY}
        )
    except ValueError as error:
        raise ValueError(f"{folder.config_path}: {error}") from None


def _read_weights(target: tf.train.Checkpoint, checkpoint: str, sources: str) -> None:
    """Reads the weights in `target` from `checkpoint`, which may hold more, such as slots."""
    try:
        status = target.read(checkpoint)
        status.assert_existing_objects_matched()
        status.expect_partial()
    except _MISFITS as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the checkpoint {checkpoint} does not fit the configuration and the {sources} beside "
            f"it: {reason}"
        ) from None
