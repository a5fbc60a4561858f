"""Small click logs and quick runs of the DLRM trainer, for the tests of what a user would do."""

import json
from pathlib import Path

from tfrec_zoo.data.clicks.planted_click_table import planted_table_spec, write_planted_table
from tfrec_zoo.data.clicks.planted_clicks import PlantedClicksConfig, PlantedClickWorld
from tfrec_zoo.program import run_program
from tfrec_zoo.trainers import dlrm, evaluate_clicks

WORLD = PlantedClicksConfig(num_dense=2, value_counts=(12, 20), bag_value_counts=(8,))
SIZES = {"train": 600, "other": 640, "validation": 200, "test": 200}
# No XLA: compiling takes longer than these runs.
OPTIONS = (
    "--embedding_dim=4",
    "--bottom_mlp=8,4",
    "--top_mlp=8,1",
    "--batch_size=16",
    "--steps_per_block=5",
    "--learning_rate=0.1",
    "--epochs=2",
    "--nojit_compile",
)


def write_logs(folder: Path) -> dict[str, Path]:
    """Writes the logs train, other (more training data), validation and test, and their columns."""
    world, paths = PlantedClickWorld(WORLD), {}
    for seed, (name, size) in enumerate(SIZES.items()):
        paths[name] = folder / f"{name}.tsv"
        write_planted_table(world.sample(size, seed), world.schema, paths[name])
    paths["columns"] = folder / "columns.json"
    paths["columns"].write_text(json.dumps(planted_table_spec(world.schema).to_dict()))
    return paths


def run_trainer(*arguments: str | Path) -> int:
    """Runs `tfrec-dlrm` in this process and returns its exit code."""
    return run(dlrm.train, dlrm.define_flags, "tfrec-dlrm", *OPTIONS, *arguments)


def run_evaluation(*arguments: str | Path) -> int:
    """Runs `tfrec-evaluate` for clicks in this process and returns its exit code."""
    module = evaluate_clicks
    return run(module.evaluate, module.define_flags, "tfrec-evaluate", *arguments)


def run(main, define_flags, *argv: str | Path) -> int:
    """Runs a program in this process and returns its exit code."""
    try:
        run_program(main, define_flags, [*map(str, argv)])
    except SystemExit as end:
        return end.code
    return 0
