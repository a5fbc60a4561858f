"""An SSR run that is interrupted, wherever, ends as an undisturbed one."""

import json
import shutil

import numpy as np
import pytest
import tiny_news_runs
import tiny_runs
from interrupted_runs import assert_same, interrupt_at, kill_at

STEPS_OF_AN_EPOCH = 22


@pytest.fixture
def arguments(news_arguments, tmp_path):
    every = ("--validate_every_steps=15", "--checkpoint_every_steps=10")
    return [*news_arguments, *every, f"--run_dir={tmp_path / 'run'}"]


def test_the_epochs_are_as_long_as_these_tests_think(finished_news_run):
    assert tiny_runs.load_state(finished_news_run)["step"] == 2 * STEPS_OF_AN_EPOCH


def test_a_run_killed_twice_ends_as_an_undisturbed_one(arguments, finished_news_run, tmp_path):
    run = tmp_path / "run"
    command = [*tiny_news_runs.OPTIONS, *arguments]
    kill_at("ssr", "_train_blocks", 13, command)
    state = tiny_runs.load_state(run)
    assert (state["epoch"], state["step"]) == (0, 10)
    # The second time between the end of an epoch and its validation.
    kill_at("ssr", "_validate", STEPS_OF_AN_EPOCH, command)
    assert not (run / "metrics.json").exists()
    assert tiny_news_runs.run_trainer(*arguments) == 0
    assert_same(run, finished_news_run)


def test_a_run_interrupted_before_its_first_checkpoint(
    arguments, finished_news_run, tmp_path, monkeypatch, capsys
):
    run = lambda: tiny_news_runs.run_trainer(*arguments)  # noqa: E731
    interrupt_at(monkeypatch, "_train_blocks", 5, run)
    assert capsys.readouterr().err.splitlines()[-1] == "tfrec-ssr: interrupted"
    assert run() == 0
    assert_same(tmp_path / "run", finished_news_run)


def test_a_finished_run_is_evaluated_again_and_nothing_else(
    news_arguments, finished_news_run, tmp_path
):
    run = shutil.copytree(finished_news_run, tmp_path / "run")
    (run / "metrics.json").unlink()
    arguments = [*news_arguments, "--validate_every_steps=15", f"--run_dir={run}"]
    assert tiny_news_runs.run_trainer(*arguments) == 0
    assert tiny_runs.snapshot(run) == tiny_runs.snapshot(finished_news_run)


def test_more_epochs_continue_a_finished_run(news_arguments, finished_news_run, tmp_path):
    runs = [tmp_path / "continued", tmp_path / "at_once"]
    shutil.copytree(finished_news_run, runs[0])
    for run in runs:
        arguments = [*news_arguments, "--validate_every_steps=15", f"--run_dir={run}"]
        assert tiny_news_runs.run_trainer(*arguments, "--epochs=3") == 0
        assert json.loads((run / "config.json").read_text())["training"]["epochs"] == 3
    assert_same(*runs)


def test_seeds_tell_runs_apart(news_arguments, finished_news_run, tmp_path):
    run = tmp_path / "run"
    arguments = [*news_arguments, "--validate_every_steps=15", f"--run_dir={run}", "--seed=43"]
    assert tiny_news_runs.run_trainer(*arguments) == 0
    found, expected = (tiny_runs.load_checkpoint(path) for path in (run, finished_news_run))
    assert found.keys() == expected.keys()
    is_equal = [np.array_equal(found[name], expected[name]) for name in found if "model" in name]
    assert not any(is_equal)
