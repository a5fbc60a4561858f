"""Planted news as raw tables, for the way that real logs and articles go.

The sessions of a world are a log already: `write_session_log(world.sample_log(...), path)`.
"""

import json
import os

import numpy as np

from tfrec_zoo.atomic_file import replace_file
from tfrec_zoo.data.news.planted_news import PlantedNewsWorld
from tfrec_zoo.data.tables.table_spec import TableSpec

ID_COLUMN, TIME_COLUMN, TITLE_COLUMN, VECTOR_COLUMN = "ItemId", "Published", "Title", "Taste"


def word_texts(world: PlantedNewsWorld) -> np.ndarray:
    """Returns how the words of a world are written, object `[words + fillers]`."""
    count = world.config.num_words + world.config.num_fillers
    width = max(4, len(str(count - 1)))
    return np.array([f"word{number:0{width}d}" for number in range(count)], object)


def planted_item_spec(world: PlantedNewsWorld, *, has_vectors: bool = False) -> TableSpec:
    """Returns where `write_planted_items` puts what."""
    length = world.titles.shape[1]
    title = {"name": "title", "column": TITLE_COLUMN, "tokens": True, "max_values": length}
    spec = {"format": "tsv", "id": ID_COLUMN, "time": TIME_COLUMN, "categorical": [title]}
    if has_vectors:
        size = world.config.taste_dim
        spec["vectors"] = [{"name": "taste", "column": VECTOR_COLUMN, "size": size}]
    return TableSpec.from_dict(spec)


def write_planted_items(
    world: PlantedNewsWorld,
    path: str | os.PathLike,
    *,
    numbers: np.ndarray | None = None,
    has_vectors: bool = False,
) -> None:
    """Writes items of a world as a tab separated table with a header line.

    Args:
        world: the world.
        path: the file, written atomically.
        numbers: of the items, int [n]; None: all.
        has_vectors: whether to write their tastes, too, as an encoder of texts might give them.
    """
    numbers = np.arange(world.num_items) if numbers is None else numbers
    texts = word_texts(world)
    names = [ID_COLUMN, TIME_COLUMN, TITLE_COLUMN, *([VECTOR_COLUMN] if has_vectors else [])]
    lines = ["\t".join(names)]
    for number in numbers:
        # A title as one might be printed: the rule that cuts it into words has something to do.
        title = ", ".join(texts[world.titles[number]]).capitalize() + "."
        time = world.period_time(int(world.births[number]))
        fields = [world.item_ids[number], str(time), title]
        if has_vectors:
            fields.append(" ".join(f"{value:.6f}" for value in world.tastes[number]))
        lines.append("\t".join(fields))
    with replace_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_planted_spec(
    world: PlantedNewsWorld, path: str | os.PathLike, *, has_vectors: bool = False
) -> None:
    """Writes the specification of `write_planted_items` as JSON, atomically."""
    spec = planted_item_spec(world, has_vectors=has_vectors)
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(spec.to_dict(), indent=2) + "\n", encoding="utf-8")
