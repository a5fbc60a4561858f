"""What a task of a cluster says when it cannot begin: one sentence, after a time at most."""

import json
import os
import socket
import subprocess
import sys

import pytest
from distributed_runs import training_command


def run_task(command, tasks, kind="worker", index=0):
    """Runs one task by itself; returns its exit code and what it said at the end."""
    config = {"cluster": tasks, "task": {"type": kind, "index": index}}
    environment = {**os.environ, "TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "3"}
    program = [sys.executable, "-m", "tfrec_zoo.trainers.gru4rec", *command[1:]]
    done = subprocess.run(
        program, env=environment, timeout=120, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.strip().splitlines()[-1]


def free_address():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{opened.getsockname()[1]}"


@pytest.mark.parametrize("strategy", ["multi_worker", "parameter_server"])
def test_a_task_that_does_not_come_is_named_after_the_deadline(strategy, logs, tmp_path):
    missing = free_address()
    tasks = {"worker": [free_address(), missing]}
    kind = "worker"
    if strategy == "parameter_server":
        tasks, kind = {"chief": [free_address()], "worker": [missing], "ps": [missing]}, "chief"
    command = [*training_command(logs, tmp_path / "run"), f"--strategy={strategy}"]
    code, line = run_task([*command, "--cluster_timeout=12"], tasks, kind)
    assert code == 75
    assert f"({missing})" in line and "after 12 s" in line
    assert not (tmp_path / "run").exists()


def test_lanes_that_cannot_be_divided(logs, tmp_path):
    command = [*training_command(logs, tmp_path / "run"), "--num_lanes=7"]
    program = [sys.executable, "-m", "tfrec_zoo.trainers.gru4rec", *command[1:]]
    program += ["--strategy=mirrored", "--num_devices=2"]
    done = subprocess.run(program, timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "num_lanes=7 cannot be divided among 2 replicas" in done.stderr
    assert not (tmp_path / "run").exists()
