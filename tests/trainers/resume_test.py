"""A run that is interrupted, wherever, and started again by the same command ends as any other."""

import json
import shutil

import numpy as np
import pytest
import tiny_runs
from interrupted_runs import assert_same, interrupt_at, kill_at

FLAGS = ("--validate_every_steps=30", "--checkpoint_every_steps=20")
STEPS_OF_AN_EPOCH = 92


@pytest.fixture
def arguments(run_arguments, tmp_path):
    return [*run_arguments, *FLAGS, f"--run_dir={tmp_path / 'run'}"]


def test_the_epochs_are_as_long_as_these_tests_think(finished_run):
    assert tiny_runs.load_state(finished_run)["step"] == 2 * STEPS_OF_AN_EPOCH


def test_a_run_killed_twice_ends_as_an_undisturbed_one(arguments, finished_run, tmp_path):
    run = tmp_path / "run"
    command = [*tiny_runs.OPTIONS, *arguments]
    kill_at("gru4rec", "_train_blocks", 50, command)
    state = tiny_runs.load_state(run)
    assert (state["epoch"], state["step"]) == (0, 40)
    assert not (run / "metrics.json").exists()
    # The second time between the end of an epoch and its validation.
    kill_at("gru4rec", "_validate", STEPS_OF_AN_EPOCH, command)
    assert tiny_runs.load_state(run)["step"] == 80
    assert not (run / "metrics.json").exists()
    assert tiny_runs.run_trainer(*arguments) == 0
    assert_same(run, finished_run)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        # Before the first checkpoint; between a validation's line and what it leads to; between
        # the best checkpoint and the last one.
        ("_train_blocks", 10),
        ("_maybe_save", 30),
        ("_save", STEPS_OF_AN_EPOCH),
    ],
)
def test_a_run_interrupted_anywhere_ends_as_an_undisturbed_one(
    arguments, finished_run, tmp_path, monkeypatch, capsys, name, step
):
    interrupt_at(monkeypatch, name, step, lambda: tiny_runs.run_trainer(*arguments))
    assert capsys.readouterr().err.splitlines()[-1] == "tfrec-gru4rec: interrupted"
    assert not (tmp_path / "run/metrics.json").exists()
    assert tiny_runs.run_trainer(*arguments) == 0
    assert_same(tmp_path / "run", finished_run)


def test_a_finished_run_is_evaluated_again_and_nothing_else(run_arguments, finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "metrics.json").unlink()
    arguments = [*run_arguments, FLAGS[0], f"--run_dir={run}"]
    assert tiny_runs.run_trainer(*arguments) == 0
    assert tiny_runs.snapshot(run) == tiny_runs.snapshot(finished_run)


def test_more_epochs_continue_a_finished_run(run_arguments, finished_run, tmp_path):
    runs = [tmp_path / "continued", tmp_path / "at_once"]
    shutil.copytree(finished_run, runs[0])
    for run in runs:
        arguments = [*run_arguments, FLAGS[0], f"--run_dir={run}", "--epochs=3"]
        assert tiny_runs.run_trainer(*arguments) == 0
        assert json.loads((run / "config.json").read_text())["training"]["epochs"] == 3
    assert_same(*runs)
    assert tiny_runs.load_state(runs[0])["step"] == 3 * STEPS_OF_AN_EPOCH


def test_seeds_reproduce_a_run_and_tell_it_from_others(run_arguments, finished_run, tmp_path):
    same, other = tmp_path / "same", tmp_path / "other"
    for run, seed in ((same, 42), (other, 43)):
        arguments = [*run_arguments, FLAGS[0], f"--run_dir={run}", f"--seed={seed}"]
        assert tiny_runs.run_trainer(*arguments) == 0
    assert_same(same, finished_run)
    found, expected = (tiny_runs.load_checkpoint(run) for run in (other, finished_run))
    is_equal = {name: np.array_equal(found[name], expected[name]) for name in found}
    assert not is_equal["model/item_table/.ATTRIBUTES/VARIABLE_VALUE"]
