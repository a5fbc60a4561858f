"""The undisturbed run on one device that distributed ones are compared with."""

from pathlib import Path

import pytest
import tiny_runs
from distributed_runs import EPOCHS, training_command

from tfrec_zoo.run_folder import RunFolder


@pytest.fixture(scope="session")
def logs(tmp_path_factory) -> dict[str, Path]:
    """The logs train, validation and test."""
    return tiny_runs.write_logs(tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="session")
def undisturbed(logs, tmp_path_factory) -> dict:
    """The final metrics of a run on one device."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert tiny_runs.run_trainer(*training_command(logs, run)[1:]) == 0
    metrics = RunFolder(run).load_metrics()
    assert metrics["epochs"] == EPOCHS
    return metrics
