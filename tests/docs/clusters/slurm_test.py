"""The batch scripts for Slurm, executed with programs that stand for Slurm's and the trainers."""

import os
import re
import signal
import subprocess

import pytest
from cluster_programs import (
    CLUSTERS,
    check_command,
    make_environment,
    read_started,
    write_programs,
    write_trainers,
)
from waiting import wait_until

SCRIPTS = ["train.sbatch", "parameter_server.sbatch"]
# As many tasks as there are nodes, or one; what is left when one fails is ended.
FAKE_SRUN = """#!/usr/bin/env bash
echo "$*" >> "$FAKES/steps"
tasks=$SLURM_NNODES
while [[ $1 == --* ]]; do
    [[ $1 == --ntasks=* ]] && tasks=${1#*=}
    shift
done
for ((id = 0; id < tasks; id++)); do
    SLURM_PROCID=$id "$@" &
done
code=0
for ((id = 0; id < tasks; id++)); do
    wait -n || { code=$?; kill $(jobs -p); break; }
done
exit $code
"""
FAKE_SCONTROL = """#!/usr/bin/env bash
case $1 in
    show) [[ $2 == hostnames && $3 == 'node[9-10]' ]] && printf 'node9\\nnode10\\n' ;;
    requeue) echo "$2" >> "$FAKES/requeued" ;;
esac
"""


@pytest.fixture
def fakes(tmp_path):
    """A folder of programs that stand for the trainers, srun and scontrol."""
    write_trainers(tmp_path)
    write_programs(tmp_path, {"srun": FAKE_SRUN, "scontrol": FAKE_SCONTROL})
    return tmp_path


def start_script(fakes, name, **variables):
    """Starts a batch script as Slurm does on the first of two nodes."""
    (fakes / "home").mkdir(exist_ok=True)
    variables = {
        "SLURM_JOB_ID": 4711,
        "SLURM_JOB_NODELIST": "node[9-10]",
        "SLURM_NNODES": 2,
        "SLURM_CPUS_PER_TASK": 16,
        **variables,
    }
    return subprocess.Popen(
        ["bash", str(CLUSTERS / name)],
        env=make_environment(fakes, **variables),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_script(script):
    """Waits for the script's end, and ends what is left of its job as Slurm does."""
    code = script.wait(10)
    try:
        os.killpg(script.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return code, script.stderr.read()


def write_checkpoint(fakes, run):
    folder = fakes / "home" / "runs" / run / "checkpoints" / "last"
    folder.mkdir(parents=True)
    (folder / "ckpt-7.index").touch()


def wait_for_tasks(fakes, number):
    started = fakes / "started"
    wait_until(lambda: started.exists() and len(read_started(fakes)) >= number, seconds=10)


@pytest.mark.parametrize("name", SCRIPTS)
def test_batch_scripts_are_bash_with_options_at_their_head(name):
    subprocess.run(["bash", "-n", str(CLUSTERS / name)], check=True)
    head, _, body = (CLUSTERS / name).read_text(encoding="utf-8").partition("set -euo")
    options = re.findall(r"^#SBATCH --([a-z-]+)(?:=\S+)?$", head, re.MULTILINE)
    assert {"nodes", "ntasks-per-node", "cpus-per-task", "signal", "requeue"} <= set(options)
    assert head.count("#SBATCH") == len(options) and "#SBATCH" not in body


def test_slurm_starts_a_worker_on_each_node(fakes):
    code, errors = end_script(start_script(fakes, "train.sbatch"))
    assert (code, errors) == (0, "")
    workers = ["node9:24711", "node10:24711"]
    started = sorted(read_started(fakes), key=lambda each: each[0]["task"]["index"])
    assert [config for config, _ in started] == [
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]
    check_command(started[0][1], "multi_worker")
    options = (fakes / "steps").read_text().split(" bash ")[0].split()
    assert set(options) == {"--cpus-per-task=16", "--kill-on-bad-exit=1", "--wait=0"}
    assert not (fakes / "requeued").exists()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_failed_job_is_queued_again_where_it_can_continue(fakes, name):
    kind, run = ("worker", "gru4rec") if name == "train.sbatch" else ("chief", "dlrm")
    (fakes / f"{kind}.fails").write_text("9")
    code, errors = end_script(start_script(fakes, name))
    assert code == 9 and "there is no checkpoint" in errors
    assert not (fakes / "requeued").exists()
    write_checkpoint(fakes, run)
    (fakes / f"{kind}.fails").write_text("9")
    code, errors = end_script(start_script(fakes, name, SLURM_RESTART_COUNT=20))
    assert code == 9 and "not queued again: that was restart 20" in errors
    assert not (fakes / "requeued").exists()
    (fakes / f"{kind}.fails").write_text("9")
    code, _ = end_script(start_script(fakes, name, SLURM_RESTART_COUNT=19))
    assert code == 9
    assert (fakes / "requeued").read_text() == "4711\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_job_is_queued_again_before_its_time_is_up(fakes, name):
    for kind in ("chief", "worker", "ps"):
        (fakes / f"{kind}.stays").touch()
    write_checkpoint(fakes, "gru4rec" if name == "train.sbatch" else "dlrm")
    script = start_script(fakes, name)
    wait_for_tasks(fakes, 2 if name == "train.sbatch" else 5)
    script.send_signal(signal.SIGUSR1)
    end_script(script)
    assert (fakes / "requeued").read_text() == "4711\n"


def test_slurm_starts_chief_workers_and_parameter_servers(fakes):
    for kind in ("worker", "ps"):
        (fakes / f"{kind}.stays").touch()
    code, errors = end_script(start_script(fakes, "parameter_server.sbatch"))
    assert (code, errors) == (0, "")
    wait_for_tasks(fakes, 1)
    (chief,) = [each for each in read_started(fakes) if each[0]["task"]["type"] == "chief"]
    port = 20000 + 4711 % 3000 * 3
    nodes = ["node9", "node10"]
    assert chief[0]["cluster"] == {
        "chief": [f"node9:{port}"],
        "worker": [f"{node}:{port + 1}" for node in nodes],
        "ps": [f"{node}:{port + 2}" for node in nodes],
    }
    check_command(chief[1], "parameter_server")


def test_under_slurm_a_dead_worker_is_started_again(fakes):
    for kind in ("chief", "worker", "ps"):
        (fakes / f"{kind}.stays").touch()
    (fakes / "worker.fails").write_text("9")
    script = start_script(fakes, "parameter_server.sbatch")
    # One of the workers twice.
    wait_for_tasks(fakes, 6)
    assert script.poll() is None
    tasks = [
        f"{config['task']['type']} {config['task']['index']}" for config, _ in read_started(fakes)
    ]
    assert set(tasks) == {"chief 0", "worker 0", "worker 1", "ps 0", "ps 1"}
    assert tasks.count("worker 0") + tasks.count("worker 1") == 3
    script.kill()
    end_script(script)
