"""Starts a distributed training on this machine: a process for each task of its cluster.

    tfrec-launch --workers=2 -- tfrec-gru4rec --train=train.tsv --run_dir=run
    tfrec-launch --workers=2 --ps=2 -- tfrec-dlrm --train=prepared --run_dir=run

The command behind -- is started once for each task, with its place in the cluster in TF_CONFIG. It
trains with --strategy=multi_worker, or where there are parameter servers with
--strategy=parameter_server and one task more, the chief. What dies is started again: a worker of
parameter servers alone, otherwise all tasks, which continue from the last checkpoint in --run_dir.
Ctrl-C ends all tasks, a second one kills them.

The exit code is 0, or that of the task that failed first.
"""

import itertools
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from tfrec_zoo.program import run_program
from tfrec_zoo.trainers.fault_rules import MULTI_WORKER, PARAMETER_SERVER, RULES
from tfrec_zoo.trainers.launched_job import LaunchedJob
from tfrec_zoo.trainers.local_cluster import HOST
from tfrec_zoo.trainers.processor import count_cores

FLAGS = flags.FLAGS
_STRATEGY_FLAG = re.compile(r"--?strategy(?:=(.*))?")


def define_flags() -> None:
    """Defines the launcher's flags."""
    flags.DEFINE_integer("workers", None, "How many workers.", required=True, lower_bound=1)
    flags.DEFINE_integer(
        "ps",
        0,
        "How many parameter servers. With them there is a chief, too, which the workers train for.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "max_restarts",
        3,
        "How often something that died is started again, be it one worker or all tasks.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "grace_seconds",
        30.0,
        "How long the other tasks of a failed job have to end by themselves, and tasks that are "
        "asked to end by SIGTERM.",
        lower_bound=0.0,
    )
    flags.DEFINE_integer(
        "threads",
        None,
        "Threads of TensorFlow and of OpenMP in each process. Default: what the environment says, "
        "or else an equal share of the processor's cores, at least 1.",
        lower_bound=1,
    )


def launch(command: Sequence[str]) -> None:
    """Runs the program; SystemExit with the job's exit code where that is not 0."""
    strategy = PARAMETER_SERVER if FLAGS.ps else MULTI_WORKER
    num_tasks = {"worker": FLAGS.workers}
    if FLAGS.ps:
        num_tasks = {"chief": 1, **num_tasks, "ps": FLAGS.ps}
    command = complete_command(command, strategy)
    threads = FLAGS.threads or max(count_cores() // sum(num_tasks.values()), 1)
    counts = ", ".join(f"{kind} {number}" for kind, number in num_tasks.items())
    logging.info("starting tasks for %s: %s", strategy, counts)
    job = LaunchedJob(
        command,
        num_tasks,
        RULES[strategy],
        environment=make_environment(threads, FLAGS.workers, is_asked=bool(FLAGS.threads)),
        max_restarts=FLAGS.max_restarts,
        grace_seconds=FLAGS.grace_seconds,
    )
    if code := job.run():
        sys.exit(code)


def complete_command(command: Sequence[str], strategy: str) -> list[str]:
    """Returns the command of the tasks: the program with its path, and its strategy.

    A program that is not in PATH may stand where this one does, as it does in an environment that
    was not activated.

    Raises:
        absl.flags.Error: there is no command or no such program, or it asks for another strategy.
    """
    if not command:
        raise flags.Error(
            "no command to launch: put it behind --, as in -- tfrec-gru4rec --train=..."
        )
    program, *arguments = command
    path = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if path is None:
        raise flags.Error(f"there is no program {program!r} in PATH: check the command behind --")
    asked = find_strategy(arguments)
    if asked is None:
        arguments.append(f"--strategy={strategy}")
    elif asked in RULES and asked != strategy:
        raise flags.Error(
            f"the command asks for --strategy={asked}, and the cluster is for {strategy}: "
            f"{'leave --ps out' if asked == MULTI_WORKER else 'add --ps=1 or more'}"
        )
    return [path, *arguments]


def find_strategy(arguments: Sequence[str]) -> str | None:
    """Returns the last --strategy on a command line; None where it has none."""
    found = None
    for argument, following in itertools.zip_longest(arguments, arguments[1:]):
        if match := _STRATEGY_FLAG.fullmatch(argument):
            found = following if match[1] is None else match[1]
    return found


def make_environment(threads: int, num_workers: int, is_asked: bool) -> dict[str, str]:
    """Returns the environment of all tasks: this one, with a share of the threads.

    Args:
        threads: of each process.
        num_workers: with a single thread between operations, parameter servers and their workers
            wait for each other for ever, so there is one more than there are workers.
        is_asked: whether `threads` stands above what the environment says.
    """
    chosen = {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(max(threads, num_workers + 1)),
        "OMP_NUM_THREADS": str(threads),
    }
    # Lines are to come when they are written, also into a pipe.
    own = {"PYTHONUNBUFFERED": "1", **os.environ}
    # gRPC asks a proxy for this machine's own addresses, too, unless it is told not to.
    direct = own.get("no_grpc_proxy") or own.get("no_proxy")
    own["no_grpc_proxy"] = f"{direct},{HOST}" if direct else HOST
    return {**own, **chosen} if is_asked else {**chosen, **own}


def main() -> None:
    """Entry of `tfrec-launch`."""
    own, command = sys.argv, []
    if "--" in own:
        place = own.index("--")
        own, command = own[:place], own[place + 1 :]

    def run() -> None:
        launch(command)

    run_program(run, define_flags, own)


if __name__ == "__main__":
    main()
