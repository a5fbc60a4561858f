"""Runs that are killed or interrupted at a step, and how a continued run must end."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import tiny_runs

from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers import engine

TIMES = ("events_per_second", "examples_per_second", "train_seconds")

KILLING_PROGRAM = """
import importlib, os, signal, sys
from tfrec_zoo.trainers import engine

program, name, step = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
method = getattr(engine.Trainer, name)

def kill_or_call(self, *arguments):
    if self.state.step >= step:
        os.kill(os.getpid(), signal.SIGKILL)
    return method(self, *arguments)

setattr(engine.Trainer, name, kill_or_call)
importlib.import_module(f"tfrec_zoo.trainers.{program}").main()
"""


def kill_at(program: str, name: str, step: int, arguments: Sequence[str]) -> None:
    """Runs a trainer until a method of the engine is called at a step, where SIGKILL ends it."""
    command = [sys.executable, "-c", KILLING_PROGRAM, program, name, str(step), *arguments]
    assert subprocess.run(command, timeout=300).returncode == -signal.SIGKILL


def interrupt_at(monkeypatch, name: str, step: int, run: Callable[[], int]) -> None:
    """Does the same in this process by Ctrl-C."""
    method = getattr(engine.Trainer, name)

    def interrupt_or_call(self, *values):
        if self.state.step >= step:
            raise KeyboardInterrupt
        return method(self, *values)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, name, interrupt_or_call)
        assert run() == 130


def without_times(line: dict) -> dict:
    """Returns a line of metrics without what differs from run to run."""
    return {name: value for name, value in line.items() if name not in TIMES}


def assert_same(run, other) -> None:
    """Asserts that two runs have the same weights, slots and states, metrics and log lines."""
    for which in ("last", "best"):
        found, expected = (tiny_runs.load_checkpoint(path, which) for path in (run, other))
        assert found.keys() == expected.keys()
        for name in found.keys() - {tiny_runs.STATE}:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert tiny_runs.load_state(run) == tiny_runs.load_state(other)
    folder, expected = RunFolder(run), RunFolder(other)
    assert without_times(folder.load_metrics()) == without_times(expected.load_metrics())
    lines = [list(map(without_times, x.load_metrics_log())) for x in (folder, expected)]
    assert lines[0] == lines[1]
