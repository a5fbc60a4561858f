"""The model that `tfrec-evaluate` is asked about: a run's checkpoints, or an export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.follow import await_checkpoint

if TYPE_CHECKING:
    from tfrec_zoo.export.restore import RestoredDLRM, RestoredGRU4Rec

FLAGS = flags.FLAGS


def define_model_flags() -> None:
    """Defines the flags that name the model."""
    define_follow_flags(FLAGS)
    flags.DEFINE_string("export", None, "Or: version folder of an export, or the folder above it.")
    flags.DEFINE_string(
        "checkpoint",
        "best",
        "Of the run folder: best (the last where no validation has picked a best), last, all that "
        "are kept, or a path.",
    )


def define_follow_flags(values: flags.FlagValues) -> None:
    """Defines, in `values`, the flags that must be known before the kind of the model is."""
    flags.DEFINE_string("run_dir", None, "Run folder to evaluate.", flag_values=values)
    flags.DEFINE_bool(
        "follow",
        False,
        "Evaluate the newest checkpoint of the run, whenever there is a new one, until the "
        "training is finished; a line each goes to evaluations.jsonl in the run folder.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "follow_timeout",
        600.0,
        "Seconds without a new checkpoint after which --follow ends.",
        lower_bound=0.0,
        flag_values=values,
    )


def check_model_flags() -> None:
    """Raises flags.Error unless one model is named, and what goes with it."""
    if FLAGS.follow:
        _check_follow_flags()
    elif not FLAGS["follow_timeout"].using_default_value:
        raise flags.Error("--follow_timeout belongs to --follow")
    if bool(FLAGS.run_dir) == bool(FLAGS.export):
        raise flags.Error("pass either --run_dir or --export")
    if FLAGS.export and not FLAGS["checkpoint"].using_default_value:
        raise flags.Error("--checkpoint belongs to --run_dir: an export has only one state")


def _check_follow_flags() -> None:
    if FLAGS.export:
        raise flags.Error("--follow needs --run_dir: an export gets no new checkpoints")
    if not FLAGS["checkpoint"].using_default_value:
        raise flags.Error("--follow takes the newest checkpoints: leave --checkpoint out")
    for name in ("metrics_to", "predict_to"):
        if FLAGS[name].value:
            raise flags.Error(f"--{name} is a file of one evaluation: leave it out with --follow")


def check_output_flags(*names: str) -> None:
    """Raises flags.Error where a flag names a file in a folder that is not there."""
    for name in names:
        path = FLAGS[name].value
        if path and not Path(path).parent.is_dir():
            raise flags.Error(f"--{name}: there is no folder {Path(path).parent}")


def find_folder() -> RunFolder:
    """Returns the run folder, or the folder in an export that has its files.

    With --follow it waits until there is one with a checkpoint.
    """
    if FLAGS.follow:
        return await_checkpoint(RunFolder(Path(FLAGS.run_dir)))
    if FLAGS.run_dir:
        return RunFolder(Path(FLAGS.run_dir)).require()
    from tfrec_zoo.export.version_folder import list_versions

    path = Path(FLAGS.export)
    versions = list_versions(path)
    if not (path / "assets").is_dir() and versions:
        path = path / str(versions[-1])
    if not (path / "assets" / "config.json").is_file():
        raise ValueError(f"{path} is not an exported version: it has no assets/config.json")
    return RunFolder(path / "assets")


def restore_models(folder: RunFolder) -> Iterator[tuple[str, RestoredGRU4Rec | RestoredDLRM]]:
    """Yields the models to evaluate, each with its name."""
    from tfrec_zoo.export.restore import load_export, restore_run

    if FLAGS.export:
        version = folder.path.parent
        yield str(version), load_export(version)
        return
    for which in list_checkpoints(folder) if FLAGS.checkpoint == "all" else [FLAGS.checkpoint]:
        restored = restore_run(folder, which)
        path = Path(restored.checkpoint)
        yield f"{path.parent.name}/{path.name}", restored


def list_checkpoints(folder: RunFolder) -> list[str]:
    """Returns the paths of the checkpoints that a run keeps, the latest last, the best at the end.

    Raises:
        ValueError: there is none.
    """
    paths = [
        str(path.with_suffix(""))
        for kind in ("last", "best")
        for path in sorted(
            (folder.checkpoints_path / kind).glob("ckpt-*.index"),
            key=lambda path: int(path.stem.removeprefix("ckpt-")),
        )
    ]
    if not paths:
        raise ValueError(f"{folder.path} has no checkpoint yet: train until the first one")
    return paths
