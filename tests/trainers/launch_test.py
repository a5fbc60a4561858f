"""The launcher with small programs as tasks: what it tells them and says of wrong input."""

import json
import os
import re
import sys

import pytest
from launched_tasks import finish, start_launchers


@pytest.fixture
def launch(tmp_path):
    with start_launchers(tmp_path) as start:
        yield start


def read_configs(output):
    """Returns the TF_CONFIG that each task has printed."""
    lines = [line.split(" | ", 1) for line in output.splitlines()]
    return {task.strip(): json.loads(config) for task, config in lines}


def test_workers_get_a_cluster_and_their_lines_a_prefix(launch):
    program = """
    print(json.dumps([config, sys.argv[1:], dict(os.environ)]))
    sys.stderr.write("one\\ntwo without an end")
    """
    code, output, errors = finish(launch("--workers=3 --threads=2", program, "--train=a b"))
    assert code == 0
    assert all(re.match(r"worker [012] \| \[", line) for line in output.splitlines())
    printed = read_configs(output)
    assert sorted(printed) == ["worker 0", "worker 1", "worker 2"]
    clusters = [config["cluster"] for config, _, _ in printed.values()]
    assert clusters[0] == clusters[1] == clusters[2]
    assert list(clusters[0]) == ["worker"]
    addresses = clusters[0]["worker"]
    assert len(set(addresses)) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", address) for address in addresses)
    for index in range(3):
        config, arguments, environment = printed[f"worker {index}"]
        assert config["task"] == {"type": "worker", "index": index}
        assert arguments == ["--train=a b", "--strategy=multi_worker"]
        assert environment["TF_NUM_INTRAOP_THREADS"] == environment["OMP_NUM_THREADS"] == "2"
        assert environment["TF_NUM_INTEROP_THREADS"] == "4"
        assert environment["no_grpc_proxy"].split(",")[-1] == "127.0.0.1"
        lines = [line for line in errors.splitlines() if line.startswith(f"worker {index} | ")]
        assert [line.split(" | ")[1] for line in lines] == ["one", "two without an end"]


def test_parameter_servers_have_a_chief_with_whom_the_job_ends(launch):
    program = """
    print(json.dumps(config), flush=True)
    time.sleep(0.5 if task == "chief 0" else 600)
    """
    code, output, _ = finish(launch("--workers=2 --ps=1", program))
    assert code == 0
    assert "chief 0  | {" in output and "ps 0     | {" in output
    printed = read_configs(output)
    assert sorted(printed) == ["chief 0", "ps 0", "worker 0", "worker 1"]
    for task, config in printed.items():
        assert {kind: len(places) for kind, places in config["cluster"].items()} == {*()} or config[
            "cluster"
        ].keys() == {"chief", "worker", "ps"}
        assert "{type} {index}".format(**config["task"]) == task


def test_a_port_is_kept_for_its_task_which_can_listen(launch):
    program = """
    import socket
    address = config["cluster"]["worker"][config["task"]["index"]]
    host, port = address.split(":")
    other = socket.socket()
    try:
        other.bind((host, int(port)))
        print("not kept")
    except OSError:
        print("kept")
    listener = socket.create_server((host, int(port)))
    socket.create_connection((host, int(port)))
    print("listens")
    """
    code, output, _ = finish(launch("--workers=1", program))
    assert (code, output) == (0, "worker 0 | kept\nworker 0 | listens\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers=2"], "no command to launch"),
        (["--workers=2", "--"], "no command to launch"),
        (["--", "true"], "--workers"),
        (["--workers=0", "--", "true"], "--workers=0"),
        (["--workers=1", "--ps=-1", "--", "true"], "--ps=-1"),
        (["--workers=1", "--threads=0", "--", "true"], "--threads=0"),
        (["--workers=1", "true"], "is there a -- missing"),
        (["--workers=1", "--", "no-such-program"], "no program 'no-such-program'"),
        (["--workers=1", "--", "true", "--strategy=parameter_server"], "add --ps=1 or more"),
        (["--workers=1", "--ps=1", "--", "true", "--strategy", "multi_worker"], "leave --ps out"),
    ],
)
def test_wrong_input_is_one_sentence(monkeypatch, capsys, arguments, words):
    from tfrec_zoo.trainers import launch as program

    monkeypatch.setattr("sys.argv", ["tfrec-launch", *arguments])
    with pytest.raises(SystemExit) as end:
        program.main()
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 2 and "Try: tfrec-launch --help" in errors


def test_the_command_keeps_its_strategy_and_may_stand_beside_the_launcher(monkeypatch):
    from tfrec_zoo.trainers.launch import complete_command

    monkeypatch.setenv("PATH", "")
    python = os.path.basename(sys.executable)
    command = complete_command([python, "--strategy=mirrored"], "multi_worker")
    assert command == [sys.executable, "--strategy=mirrored"]
    command = complete_command([python, "-strategy", "multi_worker"], "multi_worker")
    assert command[1:] == ["-strategy", "multi_worker"]
    assert complete_command([python], "multi_worker")[1:] == ["--strategy=multi_worker"]


def test_threads_are_shared_equally_unless_the_environment_says(monkeypatch):
    from tfrec_zoo.trainers.launch import make_environment

    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("no_proxy", "intra.example")
    found = make_environment(4, 2, is_asked=False)
    assert (found["TF_NUM_INTRAOP_THREADS"], found["OMP_NUM_THREADS"]) == ("4", "5")
    assert found["no_grpc_proxy"] == "intra.example,127.0.0.1"
    assert make_environment(4, 2, is_asked=True)["OMP_NUM_THREADS"] == "4"
