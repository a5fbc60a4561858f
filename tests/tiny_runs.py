"""Small logs and quick runs of the trainer, for the tests of what a user would do."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.sessions.planted_sessions import PlantedConfig, PlantedWorld
from tfrec_zoo.data.sessions.session_log import write_session_log
from tfrec_zoo.program import run_program
from tfrec_zoo.trainers import gru4rec

WORLD = PlantedConfig(
    num_items=60,
    items_per_group=6,
    num_successors=8,
    num_tastes=1,
    tastes_per_item=1,
    mean_length=4,
)
# No XLA: compiling takes longer than these runs.
OPTIONS = (
    "--hidden_dims=8",
    "--num_lanes=8",
    "--num_negatives=8",
    "--steps_per_block=5",
    "--learning_rate=0.1",
    "--epochs=2",
    "--nojit_compile",
)


def write_logs(folder: Path) -> dict[str, Path]:
    """Writes the logs train, other (more training data), validation and test."""
    sizes = {"train": 200, "other": 220, "validation": 60, "test": 60}
    world, paths = PlantedWorld(WORLD), {}
    for seed, (name, size) in enumerate(sizes.items()):
        paths[name] = folder / f"{name}.tsv"
        write_session_log(world.sample(size, seed), paths[name])
    return paths


def run_trainer(*arguments: str | Path) -> int:
    """Runs `tfrec-gru4rec` in this process and returns its exit code."""
    argv = ["tfrec-gru4rec", *OPTIONS, *map(str, arguments)]
    try:
        run_program(gru4rec.train, gru4rec.define_flags, argv)
    except SystemExit as end:
        return end.code
    return 0


def snapshot(path: Path) -> dict[str, bytes]:
    """Returns the content of every file below `path`."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def load_checkpoint(run: Path, which: str = "last") -> dict[str, np.ndarray]:
    """Returns the numbers in a run's checkpoint by name, without what measures time."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run / "checkpoints" / which)))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}


def load_state(run: Path) -> dict:
    """Returns the training state in the last checkpoint, without the time taken."""
    state = json.loads(load_checkpoint(run)[STATE])
    return {name: value for name, value in state.items() if name != "train_seconds"}


STATE = "state/text/.ATTRIBUTES/VARIABLE_VALUE"
