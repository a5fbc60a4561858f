"""The launcher with small programs as tasks, and what is left of them."""

import contextlib
import subprocess
import sys
import textwrap

import psutil
from waiting import wait_until

LAUNCHER = [sys.executable, "-m", "tfrec_zoo.trainers.launch"]
DEADLINE = 30.0
# What the programs of the tasks begin with; `count` is how often this task has come here.
PREAMBLE = """
import json, os, pathlib, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
task = "{type} {index}".format(**config["task"])
def count():
    path = pathlib.Path(task)
    with path.open("a") as file:
        file.write("x")
    return len(path.read_text())
"""


@contextlib.contextmanager
def start_launchers(folder):
    """Gives a function that starts the launcher in a folder, with a program as its tasks.

    At the end it is asserted that no process is left.
    """
    launchers = []

    def start(flags, program, *arguments):
        (folder / "task.py").write_text(PREAMBLE + textwrap.dedent(program))
        # Without the site's packages Python starts sooner.
        task = [sys.executable, "-S", "task.py", *arguments]
        command = [*LAUNCHER, *flags.split(), "--", *task]
        pipe = subprocess.PIPE
        launchers.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder))
        return launchers[-1]

    try:
        yield start
    finally:
        for launcher in launchers:
            launcher.kill()
            launcher.communicate()
    wait_until(lambda: find_tasks(folder) == [], DEADLINE)


def find_tasks(folder):
    """Returns the processes whose working folder is `folder`, launchers left out."""
    found = []
    for process in psutil.process_iter():
        try:
            is_task = process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE
            if is_task and "tfrec_zoo.trainers.launch" not in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def finish(launcher):
    """Returns exit code, stdout and stderr of a launcher that ends by itself."""
    output, errors = launcher.communicate(timeout=DEADLINE)
    return launcher.returncode, output, errors


def wait_for_lines(launcher, number):
    """Returns the next lines of stdout, cut at the end of the prefix."""
    return [launcher.stdout.readline().split(" | ") for _ in range(number)]
