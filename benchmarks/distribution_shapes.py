"""What the steps of the zoo's models are made of: rows, dense weights, blocks, and their times.

Each workload is a recipe with data; a block is made by the real batches, for the batch of all
replicas, and the step of one replica is timed on its part of it, on this machine.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from distribution_data import prepare_sessions
from dlrm_data import read_criteo

from tfrec_zoo.config import parse_json_object
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.sessions.planted_sessions import PlantedConfig, PlantedWorld
from tfrec_zoo.data.sessions.session_log import Sessions, read_session_log
from tfrec_zoo.experiments import DLRMExperiment, GRU4RecExperiment, SSRExperiment
from tfrec_zoo.vocabulary import Vocabulary

RECIPES = Path(__file__).resolve().parents[1] / "trainers" / "recipes"
# Criteo Terabyte as MLPerf has it: rows of the tables, and values of each feature.
MLPERF_ROWS = (
    *(40_000_000, 39_060, 17_295, 7_424, 20_265, 3, 7_122, 1_543, 63, 40_000_000, 3_067_956),
    *(405_282, 10, 2_209, 11_938, 155, 4, 976, 14, 40_000_000, 40_000_000, 40_000_000, 590_152),
    *(12_973, 108, 36),
)
MLPERF_VALUES = (
    *(3, 2, 1, 2, 6, 1, 1, 1, 1, 7, 3, 8, 1, 6, 9, 5, 1, 1, 1, 12, 100, 27, 10, 3, 1, 1),
)
# The step of MLPERF is timed with few examples and small tables, for more do not fit here.
TIMED_EXAMPLES, TIMED_ROWS = 128, 1_000
NUM_DENSE = 13
# Blocks that are made, and seconds for which one is trained on: of each the least time counts, that
# which was disturbed least.
NUM_BLOCKS, TIMED_SECONDS = 10, 4.0
MakeTask = Callable[[int], Any]


@dataclass(frozen=True)
class Shape:
    """A step of one replica among several that share its batch.

    Attributes:
        workload: whose step.
        replicas: n.
        examples: of a replica.
        columns: rows of each table that the step reads, padding among them.
        widths: numbers of a row of each table.
        table_rows: of each table.
        dense: numbers outside of the tables.
        block_bytes: of the batch of all replicas, a step.
        make_seconds: that a processor's core takes to make them, a step.
        step_seconds: of the replica's step on two cores.
        fullest: for a number of servers, the share of the rows that the busiest of them holds.
    """

    workload: str
    replicas: int
    examples: int
    columns: tuple[int, ...]
    widths: tuple[int, ...]
    table_rows: tuple[int, ...]
    dense: int
    block_bytes: float
    make_seconds: float
    step_seconds: float
    fullest: dict[int, float]


def list_workloads(paths: dict[str, str | None], scratch: Path) -> dict[str, tuple[MakeTask, int]]:
    """Returns how each workload's task is made for a number of examples, and a replica's examples.

    Args:
        paths: of the `sessions`, the `clicks` and the folder of the `news`; those without a path
            are planted or left out.
        scratch: folder for what is planted.
    """
    found = {
        "GRU4Rec, yoochoose": (plan_sessions(paths["sessions"], scratch), 32),
        "GRU4Rec, 1M items": (plan_catalogue(1_000_000), 32),
    }
    if paths["news"]:
        found["SSR, news"] = (plan_news(Path(paths["news"])), 256)
    if paths["clicks"]:
        make = plan_clicks(paths["clicks"])
        found |= {"DLRM, Kaggle": (make, 128), "DLRM, Kaggle, 512": (make, 512)}
    return found


def describe(workload: str, make_task: MakeTask, examples: int, replicas: int) -> Shape:
    """Makes a task for all replicas, some blocks, and times the step of the first replica."""
    from tfrec_zoo.trainers.drivers.block_runner import make_block_runner
    from tfrec_zoo.trainers.drivers.local import slice_block

    task = make_task(examples * replicas)
    source = task.blocks(0, 0)
    blocks, seconds = [], []
    for _ in range(NUM_BLOCKS):
        start = time.perf_counter()
        block = next(source, None)
        if block is None:
            break
        seconds.append((time.perf_counter() - start) / int(block["num_steps"]))
        blocks.append(block)
    block = max(blocks, key=lambda one: sum(array.nbytes for array in one.values()))
    part = slice_block(block, task.example_axes, 0, replicas)
    states = tuple(state[:examples] for state in task.initial_states())
    run_block = make_block_runner(task.step, jit_compile=True)
    run_block(part, states)
    times = []
    while sum(times) < TIMED_SECONDS:
        start = time.perf_counter()
        run_block(part, states)[0].numpy()
        times.append(time.perf_counter() - start)
    step = task.step
    rows = step.rows({name: array[0] for name, array in block.items() if name != "num_steps"})
    tables = [table.shape for table in step.tables]
    return Shape(
        workload=workload,
        replicas=replicas,
        examples=examples,
        columns=tuple(len(r) for r in rows),
        widths=tuple(shape[1] for shape in tables),
        table_rows=tuple(shape[0] for shape in tables),
        dense=sum(variable.shape.num_elements() for variable in step.dense),
        block_bytes=count_step_bytes(block),
        make_seconds=min(seconds),
        step_seconds=min(times) / int(block["num_steps"]),
        fullest=find_fullest(np.asarray(rows[0]), tables[0][0]),
    )


def count_step_bytes(block: dict[str, np.ndarray]) -> float:
    """Returns the bytes of a block, a step."""
    return sum(array.nbytes for array in block.values()) / len(block["is_valid"])


def find_fullest(rows: np.ndarray, table_rows: int) -> dict[int, float]:
    """Returns the share of rows int [U] in the fullest of 1, 2, 4, ... equal parts of a table."""
    shares = {}
    for count in (1, 2, 4, 8, 16, 32, 64):
        bounds = np.linspace(0, table_rows, count + 1)
        shares[count] = float(np.histogram(rows, bounds)[0].max() / len(rows))
    return shares


def read_recipe(name: str) -> dict:
    """Returns what a recipe says."""
    return parse_json_object((RECIPES / f"{name}.json").read_text(encoding="utf-8"))


def plan_sessions(path: str | None, scratch: Path) -> MakeTask:
    """Returns how GRU4Rec's task is made of a log, or of a planted one."""
    log = read_session_log(path or prepare_sessions(scratch, 20_000))
    vocabulary = Vocabulary.from_codes(log.item_ids, log.item_codes)
    experiment = GRU4RecExperiment.from_dict(read_recipe("yoochoose1_64"))
    return _plan_lanes(experiment, Sessions.from_log(log, vocabulary), vocabulary)


def plan_catalogue(num_items: int) -> MakeTask:
    """Returns the same of a large catalogue, from all of which negatives are drawn alike."""
    log = PlantedWorld(PlantedConfig(num_items=num_items)).sample(50_000, seed=1)
    seen = Vocabulary.from_codes(log.item_ids, log.item_codes)
    width = len(log.item_ids[0]) - len("item-")
    unseen = sorted({f"item-{i:0{width}d}" for i in range(num_items)} - set(seen.ids))
    vocabulary = seen.extend(unseen, np.ones(len(unseen), np.int64))
    experiment = GRU4RecExperiment.from_dict(read_recipe("yoochoose1_64"))
    batches = replace(experiment.batches, popularity_exponent=0.0)
    experiment = replace(experiment, batches=batches)
    return _plan_lanes(experiment, Sessions.from_log(log, vocabulary), vocabulary)


def _plan_lanes(
    experiment: GRU4RecExperiment, sessions: Sessions, vocabulary: Vocabulary
) -> MakeTask:
    def make(num_lanes: int) -> Any:
        from tfrec_zoo.trainers.gru4rec_task import GRU4RecTask

        batches = replace(experiment.batches, num_lanes=num_lanes)
        return GRU4RecTask(replace(experiment, batches=batches), sessions, vocabulary)

    return make


def plan_news(folder: Path) -> MakeTask:
    """Returns how SSR's task is made of the sample of MIND in a folder."""
    from tfrec_zoo.trainers import news_data

    for name, file in (("train", "sessions"), ("items", "items"), ("impressions", "impressions")):
        news_data.FLAGS[name].value = [str(folder / f"mind_{file}.tsv.gz")]
    experiment = SSRExperiment.from_dict(read_recipe("mind_sample"))
    data = news_data.load_news(experiment)

    def make(batch_size: int) -> Any:
        from tfrec_zoo.trainers.ssr_task import SSRTask

        batches = replace(experiment.batches, batch_size=batch_size)
        return SSRTask(replace(experiment, batches=batches), data.catalogue, data.examples)

    return make


def plan_clicks(path: str) -> MakeTask:
    """Returns how DLRM's task is made of Criteo's text; each value has a row of its own."""
    data = read_criteo(path, 50_000, min_count=1)
    schema = make_schema(data.table_sizes, np.ones(len(data.table_sizes), int))
    experiment = DLRMExperiment.from_dict(read_recipe("criteo_kaggle_dlrm"))
    return _plan_examples(experiment, schema, ClickRows(data.labels, data.dense, data.ids))


def _plan_examples(
    experiment: DLRMExperiment, schema: ClickSchema, examples: ClickRows
) -> MakeTask:
    def make(batch_size: int) -> Any:
        from tfrec_zoo.trainers.dlrm_task import DLRMTask

        batches = replace(experiment.batches, batch_size=batch_size)
        return DLRMTask(replace(experiment, batches=batches), schema, examples)

    return make


def make_schema(sizes: Any, values: Any) -> ClickSchema:
    """Returns Criteo's features with tables of the given sizes and as many values."""
    categorical = [
        CategoricalFeature(f"C{n}", f"C{n}", int(size), **_bag(int(count)))
        for n, (size, count) in enumerate(zip(sizes, values, strict=True), 1)
    ]
    dense = [DenseFeature(f"I{n}", f"I{n}") for n in range(1, 1 + NUM_DENSE)]
    return ClickSchema(dense=dense, categorical=categorical)


def _bag(count: int) -> dict[str, Any]:
    return {} if count == 1 else {"max_values": count, "separator": "|", "pooling": "sum"}


def draw_examples(sizes: Any, values: Any, count: int) -> ClickRows:
    """Returns examples with random values, all equally likely: hardly a row of large tables twice.

    The multi-hot values of MLPerf are drawn in this way, too, but one set for each single value.
    """
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, n, (count, k), np.int32) for n, k in zip(sizes, values, strict=True)]
    return ClickRows(
        labels=rng.integers(0, 2, count).astype(np.float32),
        dense=rng.standard_normal((count, NUM_DENSE), np.float32),
        rows=np.concatenate(rows, axis=1),
        row_weights=np.ones((count, int(np.sum(values))), np.float32),
    )


def describe_mlperf(replicas: int, batch_size: int) -> tuple[Shape, Shape]:
    """Returns the step of DLRM-DCNv2 for a replica of a batch, and for one with an own part of it.

    Its tables are laid out and its block is made, but not its model, which takes 209 GB.
    """
    from tfrec_zoo.data.clicks.click_batches import ClickBatches
    from tfrec_zoo.models.dlrm import list_stores

    experiment = DLRMExperiment.from_dict(read_recipe("mlperf_dlrm_dcnv2"))
    schema = make_schema(MLPERF_ROWS, MLPERF_VALUES)
    stores = list_stores(experiment.model, schema)
    timed = _time_mlperf(experiment)
    found = []
    for examples in (batch_size, batch_size // replicas):
        batches = ClickBatches(
            draw_examples(MLPERF_ROWS, MLPERF_VALUES, examples),
            schema,
            replace(experiment.batches, batch_size=examples, shuffle=False),
            [store.locate for store in stores],
        )
        start = time.perf_counter()
        block = next(batches.blocks(0))
        seconds = time.perf_counter() - start
        columns = [block[f"columns_{number}"][0] for number in range(len(stores))]
        found.append(
            Shape(
                workload="DLRM, DCNv2",
                replicas=replicas if examples == batch_size else 1,
                examples=batch_size // replicas,
                columns=tuple(map(len, columns)),
                widths=tuple(store.width for store in stores),
                table_rows=tuple(store.num_rows for store in stores),
                dense=timed.dense,
                block_bytes=count_step_bytes(block),
                make_seconds=seconds,
                step_seconds=timed.step_seconds * batch_size / replicas / TIMED_EXAMPLES,
                fullest=find_fullest(columns[0], stores[0].num_rows),
            )
        )
    return found[0], found[1]


def _time_mlperf(experiment: DLRMExperiment) -> Shape:
    sizes = np.minimum(MLPERF_ROWS, TIMED_ROWS)
    examples = draw_examples(sizes, MLPERF_VALUES, 4 * TIMED_EXAMPLES)
    make = _plan_examples(experiment, make_schema(sizes, MLPERF_VALUES), examples)
    return describe("DLRM, DCNv2", make, TIMED_EXAMPLES, 1)
