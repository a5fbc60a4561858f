"""The data of the distribution benchmark: planted sessions, clicks and news, or Criteo's text."""

import json
import subprocess
import sys
from pathlib import Path

from tfrec_zoo.data.clicks.planted_click_table import planted_table_spec, write_planted_table
from tfrec_zoo.data.clicks.planted_clicks import PlantedClicksConfig, PlantedClickWorld
from tfrec_zoo.data.news.planted_news import PlantedNewsWorld
from tfrec_zoo.data.news.planted_news_config import PlantedNewsConfig
from tfrec_zoo.data.news.planted_news_table import write_planted_items, write_planted_spec
from tfrec_zoo.data.sessions.planted_sessions import PlantedConfig, PlantedWorld
from tfrec_zoo.data.sessions.session_log import write_session_log

# Of the planted worlds: as many items as yoochoose1_64 has, as many features as Criteo.
NUM_ITEMS = 17_000
NUM_DENSE, NUM_CATEGORICAL = 13, 26
# Values of the features, in turn.
VALUE_COUNTS = (10, 100, 1_000, 10_000)


def prepare_sessions(folder: Path, num_sessions: int) -> Path:
    """Writes a planted log of sessions."""
    path = folder / "sessions.tsv"
    log = PlantedWorld(PlantedConfig(num_items=NUM_ITEMS)).sample(num_sessions, seed=1)
    write_session_log(log, path)
    return path


def prepare_clicks(folder: Path, criteo: str | None, num_clicks: int) -> Path:
    """Prepares Criteo's text, or as many planted clicks; returns the folder.

    Raises:
        ValueError: the text cannot be prepared.
    """
    target, columns = folder / "clicks", "criteo"
    if criteo is None:
        world = make_click_world()
        criteo, columns = str(folder / "clicks.tsv"), str(folder / "columns.json")
        write_planted_table(world.sample(num_clicks, seed=1), world.schema, Path(criteo))
        Path(columns).write_text(json.dumps(planted_table_spec(world.schema).to_dict()))
    command = [sys.executable, "-m", "tfrec_zoo.trainers.prepare_clicks", f"--columns={columns}"]
    command += [f"--input={criteo}", f"--output_dir={target}", "--min_count=1"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{criteo} was not prepared: {done.stderr.strip().splitlines()[-1:]}")
    return target


def make_click_world() -> PlantedClickWorld:
    """Returns a world with the features of Criteo."""
    counts = [VALUE_COUNTS[number % len(VALUE_COUNTS)] for number in range(NUM_CATEGORICAL)]
    return PlantedClickWorld(
        PlantedClicksConfig(num_dense=NUM_DENSE, value_counts=tuple(counts), bag_value_counts=())
    )


def prepare_news(folder: Path, num_sessions: int) -> list[str]:
    """Writes planted news; returns the flags that name them."""
    world = PlantedNewsWorld(PlantedNewsConfig())
    paths = [folder / name for name in ("news.tsv", "items.tsv", "items.json")]
    log = world.sample_log(max(1, num_sessions // world.config.num_periods), seed=1)
    write_session_log(log, paths[0])
    write_planted_items(world, paths[1])
    write_planted_spec(world, paths[2])
    names = ("train", "items", "item_columns")
    return [f"--{name}={path}" for name, path in zip(names, paths, strict=True)]
