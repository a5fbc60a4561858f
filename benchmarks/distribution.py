"""Training speed of each strategy on this machine beside one process, and how gradients travel.

    python benchmarks/distribution.py --sessions=yoochoose1_64_train.tsv.gz \\
        --clicks=criteo_60k.txt.gz

First each model is trained by each strategy, all tasks being processes of this machine:

    default           one process with --threads threads
    mirrored          one process, its processor split into two devices in step
    on_host           the same, the tables beside them (--tables_on_host)
    own               as mirrored, each device with a batch and negatives of its own
    multi_worker      two processes of one thread each, in step
    parameter_server  two workers and two servers of one thread each, and the chief

The strategies take turns, each in fresh processes with the same data and parameters. The speed is
that of the last epoch, as the run folder has it: earlier ones compile and warm up. Medians are
quoted, and the median of the ratios to `default` of the same round, since machines are noisy.
Without --sessions and --clicks the data are planted, those of SSR (--model=ssr) always.

Then `distribution_exchange.py` compares what replicas can do with the gradient of a table: exchange
the rows of the step, or all of it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags
from distribution_data import prepare_clicks, prepare_news, prepare_sessions

from tfrec_zoo.program import run_program

FLAGS = flags.FLAGS
FOLDER = Path(__file__).resolve().parent
# What a strategy needs of the launcher, and of the program.
STRATEGIES = {
    "default": ([], []),
    "mirrored": ([], ["--strategy=mirrored", "--num_devices=2"]),
    "on_host": ([], ["--strategy=mirrored", "--num_devices=2", "--tables_on_host"]),
    "own": ([], ["--strategy=mirrored", "--num_devices=2", "--noshare_negatives"]),
    "multi_worker": (["--workers=2", "--threads=1"], []),
    "parameter_server": (["--workers=2", "--ps=2", "--threads=1"], []),
}
MODELS = {
    "gru4rec": [
        "--hidden_dims=100",
        "--dropout_embedding=0.1",
        "--loss=cross_entropy",
        "--logq_weight=1.0",
        "--num_negatives=2048",
        "--popularity_exponent=0.75",
        "--learning_rate=0.1",
    ],
    "dlrm": [
        "--embedding_dim=16",
        "--bottom_mlp=512,256,64,16",
        "--top_mlp=512,256,1",
        "--optimizer=adagrad",
        "--learning_rate=0.01",
    ],
    "ssr": [
        "--embedding_dim=64",
        "--hidden_dim=100",
        "--vector_dim=64",
        "--num_negatives=256",
        "--learning_rate=0.02",
    ],
}
UNITS = {"gru4rec": "events", "dlrm": "examples", "ssr": "examples"}


def define_flags() -> None:
    """Defines the benchmark's flags."""
    flags.DEFINE_string("sessions", None, "Session log of GRU4Rec, TSV; none: planted.")
    flags.DEFINE_string("clicks", None, "Criteo's text for DLRM, without a header; none: planted.")
    flags.DEFINE_multi_enum("model", ["gru4rec", "dlrm"], list(MODELS), "Which models.")
    flags.DEFINE_multi_enum("strategy", list(STRATEGIES), list(STRATEGIES), "Which strategies.")
    flags.DEFINE_integer(
        "planted", 20_000, "Planted sessions; clicks: four times.", lower_bound=100
    )
    flags.DEFINE_integer("batch", 128, "Lanes of GRU4Rec, examples of a step.", lower_bound=2)
    flags.DEFINE_integer("epochs", 2, "Epochs of a run; the last one is timed.", lower_bound=2)
    flags.DEFINE_integer("rounds", 2, "Runs of each side.", lower_bound=1)
    flags.DEFINE_integer("threads", 2, "Threads of the one process.", lower_bound=1)
    flags.DEFINE_multi_integer("rows", [10**4, 10**5, 10**6], "Table sizes of the exchange.")
    flags.DEFINE_boolean("exchange", True, "Measure the exchange of gradients, too.")
    flags.DEFINE_boolean("scaling", True, "Measure the strategies.")
    flags.DEFINE_string("output", None, "JSON file for all numbers.")


def run() -> None:
    """Measures the strategies and the exchange, and prints a table for each."""
    results: dict[str, list[dict]] = {"scaling": [], "exchange": []}
    if FLAGS.scaling:
        with tempfile.TemporaryDirectory() as folder:
            for model in FLAGS.model:
                results["scaling"].append(compare(model, Path(folder)))
    if FLAGS.exchange:
        results["exchange"] = measure_exchange()
    if FLAGS.output:
        Path(FLAGS.output).write_text(json.dumps(results, indent=2) + "\n")


def compare(model: str, folder: Path) -> dict:
    """Lets the strategies train a model in turn, and prints a table of their medians."""
    arguments = [*MODELS[model], *prepare(model, folder), f"--epochs={FLAGS.epochs}"]
    speeds: dict[str, list[float]] = {name: [] for name in FLAGS.strategy}
    losses: dict[str, float] = {}
    for index in range(FLAGS.rounds):
        for name in FLAGS.strategy:
            metrics = train(model, name, arguments, folder / f"{model}_{name}_{index}")
            speeds[name].append(metrics[f"{UNITS[model]}_per_second"])
            losses[name] = metrics["loss"]
    print(f"\n{model}, batches of {FLAGS.batch}, median of {FLAGS.rounds} alternating runs")
    print(f"{'':18}{UNITS[model] + '/s':>14}{'x default':>12}{'loss':>10}")
    ratios = {}
    for name, ones in speeds.items():
        line = f"{name:18}{statistics.median(ones):14.0f}"
        if "default" in speeds:
            pairs = zip(ones, speeds["default"], strict=True)
            ratios[name] = statistics.median(one / default for one, default in pairs)
            line += f"{ratios[name]:12.2f}"
        print(f"{line}{losses[name]:10.4f}", flush=True)
    return {"model": model, "batch": FLAGS.batch, "speeds": speeds, "ratios": ratios}


def prepare(model: str, folder: Path) -> list[str]:
    """Makes the data of a model; returns the flags that name them and cut them into batches."""
    if model == "gru4rec":
        path = FLAGS.sessions or prepare_sessions(folder, FLAGS.planted)
        return [f"--train={path}", f"--num_lanes={FLAGS.batch}"]
    if model == "dlrm":
        path = prepare_clicks(folder, FLAGS.clicks, 4 * FLAGS.planted)
        return [f"--prepared={path}", f"--batch_size={FLAGS.batch}"]
    return [*prepare_news(folder, FLAGS.planted), f"--batch_size={FLAGS.batch}"]


def train(model: str, strategy: str, arguments: list[str], run_dir: Path) -> dict[str, float]:
    """Trains in fresh processes and returns the metrics of the run folder.

    Raises:
        ValueError: a task has failed; with the last line that it said.
    """
    of_launcher, of_program = STRATEGIES[strategy]
    command = [sys.executable, "-m", f"tfrec_zoo.trainers.{model}", *arguments, *of_program]
    command.append(f"--run_dir={run_dir}")
    threads = str(FLAGS.threads)
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    if of_launcher:
        launcher = [sys.executable, "-m", "tfrec_zoo.trainers.launch", *of_launcher]
        command = [*launcher, "--max_restarts=0", "--", *command]
    run_process(command, environment)
    return json.loads((run_dir / "metrics.json").read_text())


def measure_exchange() -> list[dict]:
    """Measures the exchange for each size in a process of its own, and prints a table."""
    lines = []
    for num_rows in FLAGS.rows:
        command = [sys.executable, str(FOLDER / "distribution_exchange.py"), f"--rows={num_rows}"]
        output = run_process([*command, f"--rounds={FLAGS.rounds}"], {**os.environ})
        lines.append(json.loads(output.strip().splitlines()[-1]))
    sides = list(lines[0]["milliseconds"])
    print(f"\nms a step, {lines[0]['columns']} rows of width {lines[0]['width']} on two devices")
    print(f"{'rows of the table':>18}" + "".join(f"{name:>16}" for name in sides))
    for line in lines:
        cells = (f"{line['milliseconds'][name]:16.3f}" for name in sides)
        print(f"{line['rows']:18d}" + "".join(cells), flush=True)
    return lines


def run_process(command: list[str], environment: dict[str, str]) -> str:
    """Returns what a process says.

    Raises:
        ValueError: it has failed; with the last lines that it said.
    """
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-3:]}")
    return done.stdout


def main() -> None:
    """Entry of the benchmark."""
    run_program(run, define_flags)


if __name__ == "__main__":
    main()
