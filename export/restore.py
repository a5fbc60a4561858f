"""Trained models back in Python: from the checkpoints of a run folder, or from an export.

A model is rebuilt from the configuration without a distribution strategy, whatever it was trained
under, and the weights alone are read into it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.vocabulary import Vocabulary

PROGRAM = "gru4rec"
# Of config.json, what an experiment is not made of: the kind of run, and what an export adds.
_OTHER_KEYS = ("program", "export")


@dataclass(frozen=True)
class RestoredGRU4Rec:
    """A trained model and what belongs to it.

    Attributes:
        model: the network and its tables, ready for inference.
        vocabulary: raw ids <-> rows of the tables.
        experiment: how it was trained.
        checkpoint: TensorFlow's name of where its weights come from; None: from memory.
        run: the folder of its run, None where there is none.
    """

    model: GRU4Rec
    vocabulary: Vocabulary
    experiment: GRU4RecExperiment
    checkpoint: str | None = None
    run: RunFolder | None = None


def restore_gru4rec(
    run_folder: str | os.PathLike | RunFolder,
    which: str = "best",
    model_class: type[GRU4Rec] = GRU4Rec,
) -> RestoredGRU4Rec:
    """Rebuilds the model of a run folder from one of its checkpoints.

    Args:
        run_folder: the folder.
        which: `best` (the last one where no validation has picked a best), `last`, or the path of a
            checkpoint, such as `run/checkpoints/last/ckpt-200`.
        model_class: the subclass of `GRU4Rec` that was trained.

    Raises:
        ValueError: this is no run folder of GRU4Rec, it has no such checkpoint, or the checkpoint
            is of another model.
    """
    folder = run_folder if isinstance(run_folder, RunFolder) else RunFolder(Path(run_folder))
    experiment = read_experiment(folder.load_config(), folder.config_path)
    checkpoint = find_checkpoint(folder, which)
    vocabulary = folder.load_vocabulary()
    model = model_class(experiment.model, vocabulary.num_rows)
    _read_weights(tf.train.Checkpoint(model=model), checkpoint)
    return RestoredGRU4Rec(model, vocabulary, experiment, checkpoint, folder)


def load_exported_gru4rec(
    export: str | os.PathLike, model_class: type[GRU4Rec] = GRU4Rec
) -> RestoredGRU4Rec:
    """Rebuilds the Python model of an export, from the weights and the assets inside it.

    Args:
        export: a version folder, `<export_dir>/<version>`.
        model_class: the subclass of `GRU4Rec` that was exported.

    Raises:
        ValueError: this is no export of GRU4Rec.
    """
    # The assets are named and written as in a run folder.
    assets = RunFolder(Path(export) / "assets")
    if not assets.config_path.is_file():
        raise ValueError(f"{export} is not an exported version: it has no assets/config.json")
    experiment = read_experiment(assets.load_config(), assets.config_path)
    vocabulary = assets.load_vocabulary()
    model = model_class(experiment.model, vocabulary.num_rows)
    checkpoint = str(Path(export) / "variables" / "variables")
    _read_weights(tf.train.Checkpoint(weights=model.weights), checkpoint)
    return RestoredGRU4Rec(model, vocabulary, experiment, checkpoint)


def find_checkpoint(folder: RunFolder, which: str = "best") -> str:
    """Returns the path of a checkpoint of `folder`, see `restore_gru4rec` for `which`."""
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


def read_experiment(config: Mapping[str, Any], source: Path) -> GRU4RecExperiment:
    """Returns the experiment in the content of a `config.json`.

    Raises:
        ValueError: it is another model's; the sentence names the file `source`.
    """
    program = config.get("program", PROGRAM)
    if program != PROGRAM:
        raise ValueError(f"{source} is of a model {program!r}, expected one of {PROGRAM!r}")
    try:
        return GRU4RecExperiment.from_dict(
            {key: value for key, value in config.items() if key not in _OTHER_KEYS}
        )
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _read_weights(target: tf.train.Checkpoint, checkpoint: str) -> None:
    """Reads the weights in `target` from `checkpoint`, which may hold more, such as slots."""
    try:
        status = target.read(checkpoint)
        status.assert_existing_objects_matched()
        status.expect_partial()
    except (AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the checkpoint {checkpoint} does not fit the configuration and the vocabulary beside "
            f"it: {reason}"
        ) from None
