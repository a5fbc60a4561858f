"""What goes over the network in a step, and when that takes longer than the step: a calculation.

    python benchmarks/distribution_bytes.py --sessions=yoochoose1_64_train.tsv.gz \\
        --clicks=criteo_60k.txt.gz --news=FOLDER

The shapes are real: blocks that the zoo's batches make of these data (see distribution_shapes.py),
for 1, 8 and 64 replicas that each have the examples of the recipe. So are the times of a step, on
this machine, and of making a block. Everything else is arithmetic on top:

    ring       of n replicas that sum S bytes, each sends 2 (n - 1) / n S, in 2 (n - 1) turns
    gather     of n replicas that have S bytes each, each receives (n - 1) S, in n - 1 turns
    a server   sends and receives at the same time, as much as its link carries

--faster says how many times as fast as this machine a worker is, such as one with a GPU.
"""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

from absl import flags, logging
from distribution_shapes import Shape, describe, describe_mlperf, list_workloads

from tfrec_zoo.program import run_program
from tfrec_zoo.quiet_start import quieten_tensorflow
from tfrec_zoo.trainers import news_data

FLAGS = flags.FLAGS
REPLICAS = (1, 8, 64)
# Bytes of a number.
NUMBER = 4


class Link(NamedTuple):
    """What connects replicas: bytes a second in one direction, seconds of a turn."""

    bytes_per_second: float
    latency: float


# Taken from data sheets, with what is left of them in use; the latencies are those of NCCL within a
# machine and of gRPC between machines.
LINKS = {
    "NVLink": Link(300e9, 5e-6),
    "PCIe": Link(20e9, 10e-6),
    "10 Gbit/s": Link(1.25e9, 50e-6),
    "25 Gbit/s": Link(3.125e9, 50e-6),
    "100 Gbit/s": Link(12.5e9, 50e-6),
}
NETWORKS = ("10 Gbit/s", "25 Gbit/s", "100 Gbit/s")


class Traffic(NamedTuple):
    """What a replica sends (and receives) in a step: bytes, and turns one after the other."""

    num_bytes: float
    turns: int

    def seconds(self, link: Link) -> float:
        """Returns how long it takes."""
        return self.num_bytes / link.bytes_per_second + self.turns * link.latency


def count_shared(shape: Shape, replicas: int) -> Traffic:
    """Returns what replicas that share negatives exchange: sums of dense weights and all rows."""
    return Traffic(_ring(replicas, _dense_bytes(shape) + _row_bytes(shape)), 2 * (replicas - 1))


def count_own(shape: Shape, replicas: int) -> Traffic:
    """Returns what replicas with rows of their own exchange: sums, and all rows with numbers."""
    gathered = (replicas - 1) * (_row_bytes(shape) + NUMBER * sum(shape.columns))
    # Numbers of rows and gradients are gathered one after the other, table by table.
    turns = 2 * (replicas - 1) + 2 * len(shape.columns) * (replicas - 1)
    return Traffic(_ring(replicas, _dense_bytes(shape)) + gathered, turns)


def count_whole(shape: Shape, replicas: int) -> Traffic:
    """Returns what summing the gradients of whole tables would take."""
    tables = sum(v * w for v, w in zip(shape.table_rows, shape.widths, strict=True)) * NUMBER
    return Traffic(_ring(replicas, _dense_bytes(shape) + tables), 2 * (replicas - 1))


def count_served(shape: Shape) -> tuple[float, float]:
    """Returns what a worker receives of parameter servers in a step, and what it sends them.

    It asks for rows by their numbers and sends these again with the gradients.
    """
    received = _dense_bytes(shape) + _row_bytes(shape)
    return received, received + 2 * NUMBER * sum(shape.columns)


def _ring(replicas: int, num_bytes: float) -> float:
    return 2 * (replicas - 1) / replicas * num_bytes


def _dense_bytes(shape: Shape) -> float:
    return NUMBER * shape.dense


def _row_bytes(shape: Shape) -> float:
    return NUMBER * sum(c * w for c, w in zip(shape.columns, shape.widths, strict=True))


def find_saturation(shapes: dict[int, Shape], link: Link, faster: float) -> str:
    """Returns the number of replicas from which exchanging takes longer than calculating.

    Between the numbers whose shapes are known the smaller one's stand, which flatters the network.
    """
    for replicas in range(2, max(shapes) + 1):
        shape = shapes[max(n for n in shapes if n <= replicas)]
        if count_shared(shape, replicas).seconds(link) > shape.step_seconds / faster:
            return str(replicas)
    return f"> {max(shapes)}"


def count_speed(shapes: dict[int, Shape], replicas: int, link: Link, faster: float) -> float:
    """Returns how many times as fast as one worker replicas are that share negatives.

    Blocks are made meanwhile, by a core of each machine, which makes those of the whole batch.
    """
    alone, shape = shapes[1], shapes[replicas]
    exchange = count_shared(shape, replicas).seconds(link)
    seconds = max(shape.step_seconds / faster + exchange, shape.make_seconds)
    return replicas * max(alone.step_seconds / faster, alone.make_seconds) / seconds


def count_workers(shape: Shape, servers: int, link: Link, faster: float) -> float:
    """Returns how many workers the busiest of some servers can answer."""
    rows = _row_bytes(shape) + 2 * NUMBER * sum(shape.columns)
    busiest = rows * shape.fullest[servers] + _dense_bytes(shape) / servers
    return link.bytes_per_second / busiest * shape.step_seconds / faster


def define_flags() -> None:
    """Defines the program's flags."""
    news_data.define_data_flags()
    flags.FLAGS["train"].required = False
    FLAGS.set_default("train", [])
    flags.DEFINE_string("sessions", None, "Session log of GRU4Rec; none: planted.")
    flags.DEFINE_string("clicks", None, "Criteo's text; none: left out.")
    flags.DEFINE_string("news", None, "Folder of MIND's sample; none: left out.")
    flags.DEFINE_multi_string("workload", [], "Which ones, by the start of their names; none: all.")
    flags.DEFINE_integer("mlperf_batch", 65_536, "Examples of a step of DCNv2; 0: left out.")
    flags.DEFINE_multi_float("faster", [1.0, 30.0], "How many times as fast workers are.")
    flags.DEFINE_integer("servers", 8, "Parameter servers, a power of 2.", lower_bound=1)
    flags.DEFINE_string("shapes", None, "JSON of the shapes: read where it exists, else written.")


def run() -> None:
    """Measures the shapes, or reads them, and prints the tables."""
    quieten_tensorflow()
    logging.set_verbosity(logging.WARNING)
    path = Path(FLAGS.shapes) if FLAGS.shapes else None
    if path and path.exists():
        shapes = [load_shape(one) for one in json.loads(path.read_text())]
    else:
        shapes = measure_shapes()
        if path:
            path.write_text(json.dumps([dataclasses.asdict(s) for s in shapes], indent=2) + "\n")
    by_workload: dict[str, dict[int, Shape]] = {}
    for shape in shapes:
        by_workload.setdefault(shape.workload, {})[shape.replicas] = shape
    for make_table in (list_sizes, list_bytes, list_times):
        print(make_table(by_workload))
    print("With the times of this machine:\n")
    for make_table in (list_measured, list_limits, list_servers):
        print(make_table(by_workload))


def format_table(lines: list[list[str]]) -> str:
    """Returns lines of cells, the first of them headings, as Markdown."""
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [lines[0], rule, *lines[1:]]) + "\n"


def load_shape(values: dict) -> Shape:
    """Returns a shape from its JSON."""
    sequences = ("columns", "widths", "table_rows")
    fullest = {int(count): share for count, share in values["fullest"].items()}
    return Shape(**values | {n: tuple(values[n]) for n in sequences} | {"fullest": fullest})


def measure_shapes() -> list[Shape]:
    """Makes the blocks and times the steps."""
    paths = {name: FLAGS[name].value for name in ("sessions", "clicks", "news")}
    shapes = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, (make_task, examples) in list_workloads(paths, Path(scratch)).items():
            if is_asked_for(name):
                shapes += [describe(name, make_task, examples, n) for n in REPLICAS]
    if FLAGS.mlperf_batch and is_asked_for("DLRM, DCNv2"):
        shapes += describe_mlperf(REPLICAS[1], FLAGS.mlperf_batch)
    return shapes


def is_asked_for(name: str) -> bool:
    """Returns whether the flags ask for a workload."""
    return not FLAGS.workload or any(name.startswith(start) for start in FLAGS.workload)


def list_sizes(by_workload: dict[str, dict[int, Shape]]) -> str:
    """Returns what steps are made of, as a table."""
    head = ["workload", "replicas", "examples", "rows", "row MB", "dense MB", "table MB"]
    lines = [[*head, "block MB"]]
    for shape in list_all(by_workload):
        tables = sum(v * w for v, w in zip(shape.table_rows, shape.widths, strict=True))
        sizes = (_row_bytes(shape), _dense_bytes(shape), NUMBER * tables, shape.block_bytes)
        counts = (shape.replicas, shape.examples, sum(shape.columns))
        cells = [*(f"{count:,}" for count in counts), *(format_number(s / 1e6) for s in sizes)]
        lines.append([shape.workload, *cells])
    return format_table(lines)


def list_measured(by_workload: dict[str, dict[int, Shape]]) -> str:
    """Returns how long it takes to make a block and to train on it, a step, as a table."""
    lines = [["workload", "replicas", "make ms", *(f"step ms, {f:g} x" for f in FLAGS.faster)]]
    for shape in list_all(by_workload):
        seconds = [shape.make_seconds, *(shape.step_seconds / f for f in FLAGS.faster)]
        cells = [format_number(1e3 * each) for each in seconds]
        lines.append([shape.workload, str(shape.replicas), *cells])
    return format_table(lines)


def list_all(by_workload: dict[str, dict[int, Shape]]) -> list[Shape]:
    """Returns all shapes, in order."""
    return [shapes[n] for shapes in by_workload.values() for n in sorted(shapes)]


def list_bytes(by_workload: dict[str, dict[int, Shape]]) -> str:
    """Returns the megabytes that a replica or a worker sends in a step, as a table."""
    lines = [["MB a step", "replicas", "shared", "own rows", "whole tables", "servers, both ways"]]
    for name, shapes in by_workload.items():
        served = sum(count_served(shapes[1])) / 1e6
        for replicas in sorted(n for n in shapes if n > 1):
            counts = (
                count_shared(shapes[replicas], replicas),
                count_own(shapes[1], replicas),
                count_whole(shapes[replicas], replicas),
            )
            cells = [format_number(traffic.num_bytes / 1e6) for traffic in counts]
            lines.append([name, str(replicas), *cells, format_number(served)])
    return format_table(lines)


def list_times(by_workload: dict[str, dict[int, Shape]]) -> str:
    """Returns the milliseconds of the exchange with shared negatives by link, as a table."""
    lines = [["ms a step", "replicas", *LINKS]]
    for name, shapes in by_workload.items():
        for replicas in sorted(n for n in shapes if n > 1):
            traffic = count_shared(shapes[replicas], replicas)
            cells = [format_number(1e3 * traffic.seconds(link)) for link in LINKS.values()]
            lines.append([name, str(replicas), *cells])
    return format_table(lines)


def list_limits(by_workload: dict[str, dict[int, Shape]]) -> str:
    """Returns from how many replicas on it does not pay, and how fast they are, as two tables."""
    limits = [["too many replicas", "worker", *LINKS]]
    speeds = [["times as fast", "replicas", "worker", *LINKS]]
    for name, shapes in by_workload.items():
        for faster in FLAGS.faster:
            cells = [find_saturation(shapes, link, faster) for link in LINKS.values()]
            limits.append([name, f"{faster:g} x", *cells])
            for replicas in sorted(n for n in shapes if n > 1):
                found = [count_speed(shapes, replicas, link, faster) for link in LINKS.values()]
                cells = [f"{speed:.1f}" for speed in found]
                speeds.append([name, str(replicas), f"{faster:g} x", *cells])
    return f"{format_table(limits)}\n{format_table(speeds)}"


def list_servers(by_workload: dict[str, dict[int, Shape]]) -> str:
    """Returns how many workers the servers and the coordinator can serve, as a table."""
    head = [f"{FLAGS.servers} servers", "worker", "MB a step", "fullest", *NETWORKS]
    lines = [[*head, "blocks: core", "blocks: 10 Gbit/s"]]
    for name, shapes in by_workload.items():
        shape = shapes[1]
        for faster in FLAGS.faster:
            limits = [count_workers(shape, FLAGS.servers, LINKS[n], faster) for n in NETWORKS]
            seconds = shape.step_seconds / faster
            limits.append(seconds / shape.make_seconds)
            limits.append(seconds * LINKS["10 Gbit/s"].bytes_per_second / shape.block_bytes)
            lines.append(
                [name, f"{faster:g} x", format_number(sum(count_served(shape)) / 1e6)]
                + [f"{shape.fullest[FLAGS.servers]:.2f}", *map(format_limit, limits)]
            )
    return format_table(lines)


def format_number(number: float) -> str:
    """Returns a number with three digits that count, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def format_limit(workers: float) -> str:
    """Returns a number of workers; a part of one is none."""
    return "none" if workers < 1 else f"{int(workers):,}"


if __name__ == "__main__":
    run_program(run, define_flags)
