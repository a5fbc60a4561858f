"""Small planted news and quick runs of the SSR trainer, for the tests of what a user would do."""

from pathlib import Path

import numpy as np
import tiny_click_runs

from tfrec_zoo.data.news.planted_news import PERIOD_SECONDS, PlantedNewsWorld
from tfrec_zoo.data.news.planted_news_config import PlantedNewsConfig
from tfrec_zoo.data.news.planted_news_table import write_planted_items, write_planted_spec
from tfrec_zoo.data.sessions.session_log import write_session_log
from tfrec_zoo.trainers import ssr

WORLD = PlantedNewsWorld(
    PlantedNewsConfig(
        num_periods=6,
        items_per_period=12,
        lifetime=3,
        taste_dim=3,
        num_readers=4,
        num_words=40,
        num_fillers=6,
        max_length=6,
    )
)
VALIDATION_TIME, TEST_TIME = WORLD.period_time(4), WORLD.period_time(5)
# No XLA: compiling takes longer than these runs.
OPTIONS = (
    "--embedding_dim=8",
    "--hidden_dim=8",
    "--vector_dim=8",
    "--batch_size=32",
    "--num_negatives=16",
    "--max_history=4",
    "--steps_per_block=5",
    "--learning_rate=0.1",
    "--epochs=2",
    "--nojit_compile",
)


def write_news(folder: Path) -> dict[str, Path]:
    """Writes a log of all periods, another one, impressions, the items and their columns."""
    paths = {name: folder / f"{name}.tsv" for name in ("log", "other", "impressions", "items")}
    write_session_log(WORLD.sample_log(40, seed=1), paths["log"])
    write_session_log(WORLD.sample_log(41, seed=2), paths["other"])
    write_planted_items(WORLD, paths["items"], has_vectors=True)
    paths["columns"] = folder / "columns.json"
    write_planted_spec(WORLD, paths["columns"], has_vectors=True)
    lines = [impression_line(number) for number in range(90)]
    paths["impressions"].write_text("".join(lines))
    return paths


def impression_line(number: int) -> str:
    """Returns an impression of 6 items of one period, not the newest, two of which were clicked."""
    rng = np.random.default_rng((7, number))
    period = number % WORLD.config.num_periods
    ids = rng.permutation(WORLD.candidate_ids(period)[:-6])
    time = WORLD.period_time(period) + int(rng.integers(1, PERIOD_SECONDS))
    history, shown = " ".join(ids[:3]), [f"{id_}-{int(n < 2)}" for n, id_ in enumerate(ids[3:9])]
    return f"{number}\treader\t{time}\t{history}\t{' '.join(shown)}\n"


def list_flags(paths: dict[str, Path]) -> list[str]:
    """Returns the flags of a run with everything that these files allow."""
    return [
        f"--train={paths['log']}",
        f"--impressions={paths['impressions']}",
        f"--items={paths['items']}",
        f"--item_columns={paths['columns']}",
        f"--validation_time={VALIDATION_TIME}",
        f"--test_time={TEST_TIME}",
    ]


def run_trainer(*arguments: str | Path) -> int:
    """Runs `tfrec-ssr` in this process and returns its exit code."""
    return tiny_click_runs.run(ssr.train, ssr.define_flags, "tfrec-ssr", *OPTIONS, *arguments)
