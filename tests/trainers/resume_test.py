"""A run that is interrupted, wherever, and started again by the same command ends as any other."""

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tiny_click_runs
import tiny_news_runs
import tiny_runs
from interrupted_runs import assert_same, interrupt_at, kill_at


@dataclass(frozen=True)
class Program:
    """A trainer on its small log.

    `fixtures` are those of its flags and of an undisturbed run with validations every so many
    steps; `num_steps` are an epoch's. Killed at the step `killed_at`, and then at the end of the
    epoch, it has checkpoints of the steps `saved`.
    """

    runs: ModuleType
    fixtures: tuple[str, str]
    validate_every: int
    checkpoint_every: int
    num_steps: int
    killed_at: int
    saved: tuple[int, int]


PROGRAMS = {
    "gru4rec": Program(
        runs=tiny_runs,
        fixtures=("run_arguments", "finished_run"),
        validate_every=30,
        checkpoint_every=20,
        num_steps=92,
        killed_at=50,
        saved=(40, 80),
    ),
    "ssr": Program(
        runs=tiny_news_runs,
        fixtures=("news_arguments", "finished_news_run"),
        validate_every=15,
        checkpoint_every=10,
        num_steps=22,
        killed_at=13,
        saved=(10, 10),
    ),
    "dlrm": Program(
        runs=tiny_click_runs,
        fixtures=("click_arguments", "finished_click_run"),
        validate_every=20,
        checkpoint_every=10,
        num_steps=38,
        killed_at=23,
        saved=(20, 30),
    ),
}


@pytest.fixture(params=PROGRAMS)
def name(request):
    return request.param


@pytest.fixture
def program(name) -> Program:
    return PROGRAMS[name]


@pytest.fixture
def arguments(program, request) -> list[str]:
    flags = request.getfixturevalue(program.fixtures[0])
    return [*flags, f"--validate_every_steps={program.validate_every}"]


@pytest.fixture
def finished(program, request) -> Path:
    return request.getfixturevalue(program.fixtures[1])


def test_the_epochs_are_as_long_as_these_tests_think(program, finished):
    assert tiny_runs.load_state(finished)["step"] == 2 * program.num_steps


def test_a_run_killed_twice_ends_as_an_undisturbed_one(
    name, program, arguments, finished, tmp_path
):
    run, every = tmp_path / "run", f"--checkpoint_every_steps={program.checkpoint_every}"
    arguments = [*arguments, every, f"--run_dir={run}"]
    command = [*program.runs.OPTIONS, *arguments]
    kill_at(name, "_train_blocks", program.killed_at, command)
    state = tiny_runs.load_state(run)
    assert (state["epoch"], state["step"]) == (0, program.saved[0])
    assert not (run / "metrics.json").exists()
    # The second time between the end of an epoch and its validation.
    kill_at(name, "_validate", program.num_steps, command)
    assert tiny_runs.load_state(run)["step"] == program.saved[1]
    assert not (run / "metrics.json").exists()
    assert program.runs.run_trainer(*arguments) == 0
    assert tiny_runs.load_state(run)["step"] == 2 * program.num_steps
    assert_same(run, finished)


@pytest.mark.parametrize(
    ("name", "method", "step"),
    [
        # Before the first checkpoint; between a validation's line and what it leads to; between
        # the best checkpoint and the last one.
        ("gru4rec", "_train_blocks", 10),
        ("gru4rec", "_maybe_save", 30),
        ("gru4rec", "_save", 92),
        ("ssr", "_train_blocks", 5),
        ("dlrm", "_train_blocks", 5),
    ],
)
def test_a_run_interrupted_anywhere_ends_as_an_undisturbed_one(
    name, method, step, program, arguments, finished, tmp_path, monkeypatch, capsys
):
    every = f"--checkpoint_every_steps={program.checkpoint_every}"
    run = partial(program.runs.run_trainer, *arguments, every, f"--run_dir={tmp_path / 'run'}")
    interrupt_at(monkeypatch, method, step, run)
    assert capsys.readouterr().err.splitlines()[-1] == f"tfrec-{name}: interrupted"
    assert not (tmp_path / "run/metrics.json").exists()
    assert run() == 0
    assert_same(tmp_path / "run", finished)


def test_a_finished_run_is_evaluated_again_and_nothing_else(program, arguments, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "metrics.json").unlink()
    assert program.runs.run_trainer(*arguments, f"--run_dir={run}") == 0
    assert tiny_runs.snapshot(run) == tiny_runs.snapshot(finished)


def test_more_epochs_continue_a_finished_run(program, arguments, finished, tmp_path):
    runs = [tmp_path / "continued", tmp_path / "at_once"]
    shutil.copytree(finished, runs[0])
    for run in runs:
        assert program.runs.run_trainer(*arguments, f"--run_dir={run}", "--epochs=3") == 0
        assert json.loads((run / "config.json").read_text())["training"]["epochs"] == 3
    assert_same(*runs)
    assert tiny_runs.load_state(runs[0])["step"] == 3 * program.num_steps


def test_seeds_reproduce_a_run_and_tell_it_from_others(program, arguments, finished, tmp_path):
    same, other = tmp_path / "same", tmp_path / "other"
    for run, seed in ((same, 42), (other, 43)):
        assert program.runs.run_trainer(*arguments, f"--run_dir={run}", f"--seed={seed}") == 0
    assert_same(same, finished)
    found, expected = (tiny_runs.load_checkpoint(run) for run in (other, finished))
    assert found.keys() == expected.keys()
    is_equal = [np.array_equal(found[name], expected[name]) for name in found if "model" in name]
    assert not any(is_equal)
