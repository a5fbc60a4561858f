"""Real processes of a cluster, one of which is killed in the middle; the job ends as it should.

A kill is honest only where something is left to do: each comes on the line that ends the second of
six epochs.
"""

import pytest
from distributed_runs import EPOCHS, start_run, training_command

from tfrec_zoo.run_folder import RunFolder

WORKERS = ("--workers=2", "--max_restarts=2", "--grace_seconds=10")
SERVERS = (*WORKERS, "--ps=2")


def kill_and_finish(flags, command, run, task):
    """Kills a task after the second epoch; returns what was said, and the final metrics."""
    with start_run(flags, command) as job:
        job.wait_for("epoch 2/6: loss")
        job.kill(task)
        lines = RunFolder(run).load_metrics_log()
        assert 0 < len(lines) < EPOCHS
        assert job.wait() == 0, job.output
        return job.output, RunFolder(run).load_metrics()


@pytest.mark.parametrize(
    "task", ["worker 1", pytest.param("worker 0", marks=pytest.mark.distributed)]
)
def test_a_dead_worker_in_step_ends_all_and_they_go_on_as_if_nothing_was(
    task, logs, undisturbed, tmp_path
):
    run = tmp_path / "run"
    command = training_command(logs, run)
    output, metrics = kill_and_finish(WORKERS, command, run, task)
    assert f"{task} was ended by SIGKILL" in output
    assert output.count("starting all tasks again") == 1
    assert "continuing in epoch" in output
    for name, value in undisturbed.items():
        if name.endswith(("_per_second", "_seconds")):
            continue
        is_rounded = isinstance(value, float)
        expected = pytest.approx(value, rel=1e-3, abs=1e-3) if is_rounded else value
        assert metrics[name] == expected, name


def test_a_dead_worker_of_servers_is_survived_and_rejoins(logs, undisturbed, tmp_path):
    run = tmp_path / "run"
    output, metrics = kill_and_finish(SERVERS, training_command(logs, run), run, "worker 1")
    assert "starting worker 1 again" in output
    assert "starting all tasks again" not in output
    assert_learned(metrics, undisturbed)


@pytest.mark.distributed
@pytest.mark.parametrize("task", ["ps 0", "chief 0"])
def test_a_dead_server_or_coordinator_ends_all_and_they_go_on(task, logs, undisturbed, tmp_path):
    run = tmp_path / "run"
    output, metrics = kill_and_finish(SERVERS, training_command(logs, run), run, task)
    assert output.count("starting all tasks again") == 1
    assert "continuing in epoch" in output
    if task == "ps 0":
        assert "ps 0 does not answer any more; start the job again" in output
    assert_learned(metrics, undisturbed)


def assert_learned(metrics, undisturbed):
    """Asserts that workers without a common step have learned as much as one device."""
    assert metrics["epochs"] == EPOCHS
    # No block is counted twice, whoever has run it how often.
    assert abs(metrics["steps"] - undisturbed["steps"]) < 0.1 * undisturbed["steps"]
    assert metrics["recall@20"] > undisturbed["recall@20"] - 0.1
    assert metrics["loss"] < undisturbed["loss"] + 0.2
