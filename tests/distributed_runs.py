"""Distributed trainings by real processes, of which some are killed."""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import tiny_runs

EPOCHS = 6
_MARK = "TFREC_TEST_RUN"
_STARTED = re.compile(r"(chief|worker|ps) (\d+): process (\d+) at")


class DistributedRun:
    """A training started by `tfrec-launch`; its lines are read as they come."""

    def __init__(self, flags: Sequence[str], command: Sequence[str]) -> None:
        """Starts it."""
        arguments = [sys.executable, "-m", "tfrec_zoo.trainers.launch", *flags, "--", *command]
        # All processes of the run inherit it, and no others have it.
        self._mark = secrets.token_hex()
        self._process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            env=os.environ | {_MARK: self._mark},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        self.lines += iter(self._process.stdout)

    def wait_for(self, text: str, seconds: float = 180.0) -> None:
        """Waits for a line with `text`."""
        end = time.monotonic() + seconds
        while not any(text in line for line in self.lines):
            assert self._process.poll() is None and time.monotonic() < end, self.output
            time.sleep(0.05)

    def kill(self, task: str) -> None:
        """Kills the process of a task that was started last, such as `worker 1`."""
        started = [match for line in self.lines if (match := _STARTED.search(line))]
        numbers = [int(m.group(3)) for m in started if f"{m.group(1)} {m.group(2)}" == task]
        os.kill(numbers[-1], signal.SIGKILL)

    def wait(self, seconds: float = 300.0) -> int:
        """Returns the exit code of the launcher, after which no process may be left."""
        code = self._process.wait(seconds)
        self._reader.join(10.0)
        return code

    def end(self) -> None:
        """Kills the launcher, and asserts that no process of the run is left."""
        self._process.kill()
        self._process.wait()
        left = list(filter(self._is_task, psutil.process_iter()))
        for process in left:
            process.kill()
        assert not left, left

    def _is_task(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return process.environ().get(_MARK) == self._mark
        return False

    @property
    def output(self) -> str:
        """What was said so far."""
        return "".join(self.lines)[-6000:]


@contextlib.contextmanager
def start_run(flags: Sequence[str], command: Sequence[str]) -> Iterator[DistributedRun]:
    """Starts a training, and leaves no process of it behind."""
    run = DistributedRun(flags, command)
    try:
        yield run
    finally:
        run.end()


def training_command(logs: dict[str, Path], run: Path) -> list[str]:
    """Returns a training of some seconds that writes a checkpoint every ten steps."""
    names = ("train", "validation", "test")
    options = [option for option in tiny_runs.OPTIONS if not option.startswith("--epochs")]
    return [
        "tfrec-gru4rec",
        *options,
        *(f"--{name}={logs[name]}" for name in names),
        f"--epochs={EPOCHS}",
        "--checkpoint_every_steps=10",
        "--min_shard_bytes=500",
        f"--run_dir={run}",
    ]
