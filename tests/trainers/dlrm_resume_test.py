"""A DLRM run that is interrupted, wherever, ends as an undisturbed one."""

import shutil

import pytest
import tiny_click_runs
import tiny_runs
from interrupted_runs import assert_same, interrupt_at, kill_at

STEPS_OF_AN_EPOCH = -(-600 // 16)


@pytest.fixture
def arguments(click_arguments, tmp_path):
    every = ("--validate_every_steps=20", "--checkpoint_every_steps=10")
    return [*click_arguments, *every, f"--run_dir={tmp_path / 'run'}"]


def test_a_run_killed_twice_ends_as_an_undisturbed_one(arguments, finished_click_run, tmp_path):
    run = tmp_path / "run"
    command = [*tiny_click_runs.OPTIONS, *arguments]
    kill_at("dlrm", "_train_blocks", 23, command)
    state = tiny_runs.load_state(run)
    assert (state["epoch"], state["step"]) == (0, 20)
    # The second time between the end of an epoch and its validation.
    kill_at("dlrm", "_validate", STEPS_OF_AN_EPOCH, command)
    assert not (run / "metrics.json").exists()
    assert tiny_click_runs.run_trainer(*arguments) == 0
    assert tiny_runs.load_state(run)["step"] == 2 * STEPS_OF_AN_EPOCH
    assert_same(run, finished_click_run)


def test_a_run_interrupted_before_its_first_checkpoint(
    arguments, finished_click_run, tmp_path, monkeypatch, capsys
):
    run = lambda: tiny_click_runs.run_trainer(*arguments)  # noqa: E731
    interrupt_at(monkeypatch, "_train_blocks", 5, run)
    assert capsys.readouterr().err.splitlines()[-1] == "tfrec-dlrm: interrupted"
    assert run() == 0
    assert_same(tmp_path / "run", finished_click_run)


def test_a_finished_run_is_evaluated_again_and_nothing_else(
    click_arguments, finished_click_run, tmp_path
):
    run = shutil.copytree(finished_click_run, tmp_path / "run")
    (run / "metrics.json").unlink()
    arguments = [*click_arguments, "--validate_every_steps=20", f"--run_dir={run}"]
    assert tiny_click_runs.run_trainer(*arguments) == 0
    assert tiny_runs.snapshot(run) == tiny_runs.snapshot(finished_click_run)
