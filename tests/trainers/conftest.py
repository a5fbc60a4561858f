"""Small logs and a finished run on them, shared by the tests of training."""

from pathlib import Path

import pytest
import tiny_click_runs
import tiny_news_runs
import tiny_runs


@pytest.fixture(scope="session")
def logs(tmp_path_factory) -> dict[str, Path]:
    """The logs train, other, validation and test."""
    return tiny_runs.write_logs(tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="session")
def run_arguments(logs) -> list[str]:
    """Flags of the logs, and a dropout, which draws random numbers."""
    names = ("train", "validation", "test")
    return [*(f"--{name}={logs[name]}" for name in names), "--dropout_hidden=0.1"]


@pytest.fixture(scope="session")
def finished_run(run_arguments, tmp_path_factory) -> Path:
    """An undisturbed run with validations within the epochs; not to be changed."""
    run = tmp_path_factory.mktemp("finished") / "run"
    arguments = [*run_arguments, "--validate_every_steps=30", f"--run_dir={run}"]
    assert tiny_runs.run_trainer(*arguments) == 0
    return run


@pytest.fixture(scope="session")
def click_logs(tmp_path_factory) -> dict[str, Path]:
    """The click logs train, other, validation and test, and their columns."""
    return tiny_click_runs.write_logs(tmp_path_factory.mktemp("click_logs"))


@pytest.fixture(scope="session")
def click_arguments(click_logs) -> list[str]:
    """Flags of the click logs, with everything that draws random numbers."""
    names = ("train", "validation", "test", "columns")
    flags = [f"--{name}={click_logs[name]}" for name in names]
    return [*flags, "--mlp_dropout=0.1", "--unknown_rate=0.05", "--redraw_tables"]


@pytest.fixture(scope="session")
def finished_click_run(click_arguments, tmp_path_factory) -> Path:
    """An undisturbed run with validations within the epochs; not to be changed."""
    run = tmp_path_factory.mktemp("finished_clicks") / "run"
    arguments = [*click_arguments, "--validate_every_steps=20", f"--run_dir={run}"]
    assert tiny_click_runs.run_trainer(*arguments) == 0
    return run


@pytest.fixture(scope="session")
def news(tmp_path_factory) -> dict[str, Path]:
    """Planted news: log, other log, impressions, items and their columns."""
    return tiny_news_runs.write_news(tmp_path_factory.mktemp("news"))


@pytest.fixture(scope="session")
def news_arguments(news) -> list[str]:
    """Flags of the news, with ages and everything that draws random numbers."""
    random = ("--item_dropout=0.1", "--unknown_rate=0.1", "--age_buckets=6")
    return [*tiny_news_runs.list_flags(news), *random]


@pytest.fixture(scope="session")
def finished_news_run(news_arguments, tmp_path_factory) -> Path:
    """An undisturbed run with validations within the epochs; not to be changed."""
    run = tmp_path_factory.mktemp("finished_news") / "run"
    arguments = [*news_arguments, "--validate_every_steps=15", f"--run_dir={run}"]
    assert tiny_news_runs.run_trainer(*arguments) == 0
    return run
