"""The launcher with small programs as tasks: what it tells them, and what it does when they end."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

LAUNCHER = [sys.executable, "-m", "tfrec_zoo.trainers.launch"]
DEADLINE = 30.0
# What the programs of the tasks begin with; `count` is how often this task has come here.
PREAMBLE = """
import json, os, pathlib, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
task = "{type} {index}".format(**config["task"])
def count():
    path = pathlib.Path(task)
    with path.open("a") as file:
        file.write("x")
    return len(path.read_text())
"""


@pytest.fixture
def launch(tmp_path):
    """Starts the launcher with a Python program as its tasks; nothing may be left at the end."""
    launchers = []

    def start(flags, program, *arguments):
        (tmp_path / "task.py").write_text(PREAMBLE + textwrap.dedent(program))
        # Without the site's packages Python starts sooner.
        task = [sys.executable, "-S", "task.py", *arguments]
        command = [*LAUNCHER, *flags.split(), "--", *task]
        pipe = subprocess.PIPE
        launchers.append(
            subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path)
        )
        return launchers[-1]

    yield start
    for launcher in launchers:
        launcher.kill()
        launcher.communicate()
    wait_until(lambda: find_tasks(tmp_path) == [])


def wait_until(is_met):
    end = time.monotonic() + DEADLINE
    while not is_met():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def find_tasks(folder):
    """Returns the processes whose working folder is `folder`, launchers left out."""
    found = []
    for process in psutil.process_iter():
        try:
            is_task = process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE
            if is_task and "tfrec_zoo.trainers.launch" not in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def finish(launcher):
    """Returns exit code, stdout and stderr of a launcher that ends by itself."""
    output, errors = launcher.communicate(timeout=DEADLINE)
    return launcher.returncode, output, errors


def read_configs(output):
    """Returns the TF_CONFIG that each task has printed."""
    lines = [line.split(" | ", 1) for line in output.splitlines()]
    return {task.strip(): json.loads(config) for task, config in lines}


def wait_for_lines(launcher, number):
    return [launcher.stdout.readline().split(" | ") for _ in range(number)]


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


def test_all_workers_are_started_again_when_one_dies(launch):
    program = """
    times = count()
    print(json.dumps([times, config["cluster"]]), flush=True)
    if times == 1 and task == "worker 1":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(1 if times == 1 else 0)
    """
    code, output, errors = finish(launch("--workers=2", program))
    assert code == 0
    printed = [json.loads(line.split(" | ")[1]) for line in output.splitlines()]
    assert sorted(times for times, _ in printed) == [1, 1, 2, 2]
    ports = {times: cluster["worker"] for times, cluster in printed}
    assert not set(ports[1]) & set(ports[2])
    assert "worker 1 was ended by SIGKILL" in errors
    assert "starting all tasks again, 2 restarts are left after this" in errors


def test_restarts_are_counted_and_the_code_is_of_the_first_failure(launch, tmp_path):
    program = """
    times = count()
    if task == "worker 0":
        while not (path := pathlib.Path("worker 1")).exists() or len(path.read_text()) < times:
            time.sleep(0.02)
        time.sleep(0.3)
        sys.exit(1)
    os.kill(os.getpid(), signal.SIGUSR1)
    """
    code, _, errors = finish(launch("--workers=2 --max_restarts=2", program))
    assert code == 128 + signal.SIGUSR1
    assert (tmp_path / "worker 0").read_text() == "xxx"
    assert "the job has failed, and no restarts are left" in errors


@pytest.mark.parametrize("flags", ["--workers=2", "--workers=2 --ps=1"])
def test_what_all_refuse_is_not_tried_again(launch, tmp_path, flags):
    program = """
    count()
    sys.exit(1 if task.startswith("chief") or task == "worker 0" else 2)
    """
    code, _, errors = finish(launch(flags, program))
    assert code in (1, 2)
    assert "the same command would fail again" in errors
    assert {path.read_text() for path in tmp_path.glob("* [01]")} == {"x"}


def test_a_refusal_after_the_first_attempt_is_tried_again(launch, tmp_path):
    program = "sys.exit(3 if count() == 1 else 1)"
    code, _, _ = finish(launch("--workers=1 --max_restarts=2", program))
    assert code == 1
    assert (tmp_path / "worker 0").read_text() == "xxx"


def test_who_does_not_end_by_itself_is_terminated_and_then_killed(launch):
    program = """
    if task == "worker 2":
        while not pathlib.Path("ignores").exists():
            time.sleep(0.02)
        sys.exit(7)
    if task == "worker 1":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path("ignores").touch()
    time.sleep(600)
    """
    start = time.monotonic()
    flags = "--workers=3 --max_restarts=0 --grace_seconds=0.5"
    code, _, _ = finish(launch(flags, program))
    assert code == 7
    assert 1.0 < time.monotonic() - start < DEADLINE


def test_a_dead_worker_of_parameter_servers_is_started_again_alone(launch, tmp_path):
    program = """
    times = count()
    print(json.dumps(config), flush=True)
    if task == "worker 1" and times == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "chief 0":
        while not (path := pathlib.Path("worker 1")).exists() or len(path.read_text()) < 2:
            time.sleep(0.02)
        sys.exit(0)
    time.sleep(600)
    """
    code, output, errors = finish(launch("--workers=2 --ps=1", program))
    assert code == 0
    assert (tmp_path / "worker 1").read_text() == "xx"
    assert all((tmp_path / name).read_text() == "x" for name in ("chief 0", "worker 0", "ps 0"))
    clusters = [json.loads(line.split(" | ")[1])["cluster"] for line in output.splitlines()]
    assert all(cluster == clusters[0] for cluster in clusters)
    assert "starting worker 1 again, 2 restarts are left" in errors


def test_without_restarts_the_job_goes_on_while_it_has_a_worker(launch, tmp_path):
    program = """
    if task == "worker 1" or task == "worker 0" and pathlib.Path("last").exists():
        sys.exit(5)
    while task == "worker 0" and not pathlib.Path("last").exists():
        time.sleep(0.02)
    if task == "worker 0":
        sys.exit(6)
    time.sleep(600)
    """
    flags = "--workers=2 --ps=1 --max_restarts=0 --grace_seconds=0.1"
    launcher = launch(flags, program)
    while "going on without worker 1" not in launcher.stderr.readline():
        pass
    assert launcher.poll() is None
    (tmp_path / "last").touch()
    assert finish(launcher)[0] in (5, 6)


@pytest.mark.parametrize("dead", ["ps 0", "chief 0"])
def test_all_are_started_again_without_a_parameter_server_or_chief(launch, tmp_path, dead):
    program = f"""
    times = count()
    if times == 1 and task == {dead!r}:
        while len(list(pathlib.Path().glob("[cwp]* 0"))) < 3:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)
    while task == "chief 0":
        if all(len(path.read_text()) == 2 for path in pathlib.Path().glob("[cwp]* 0")):
            sys.exit(0)
        time.sleep(0.02)
    time.sleep(600)
    """
    code, _, errors = finish(launch("--workers=1 --ps=1 --grace_seconds=0.2", program))
    assert code == 0
    assert f"{dead} was ended by SIGKILL" in errors
    assert (tmp_path / "chief 0").read_text() == (tmp_path / dead).read_text() == "xx"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on(launch, number):
    program = """
    def end(number, _):
        print("got", number, flush=True)
        sys.exit(130)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    time.sleep(600)
    """
    launcher = launch("--workers=2", program)
    wait_for_lines(launcher, 2)
    launcher.send_signal(number)
    code, output, errors = finish(launcher)
    assert code == 128 + number
    assert sorted(output.splitlines()) == [f"worker {i} | got {int(number)}" for i in range(2)]
    assert "again" not in errors.replace("the next one", "")


def test_of_parameter_servers_the_chief_ends_first(launch):
    program = """
    def end(number, _):
        time.sleep(0.3)
        print(task, flush=True)
        sys.exit(130)
    signal.signal(signal.SIGINT, end if task == "chief 0" else signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    time.sleep(600)
    """
    launcher = launch("--workers=1 --ps=1", program)
    wait_for_lines(launcher, 3)
    launcher.send_signal(signal.SIGINT)
    code, output, _ = finish(launcher)
    assert code == 130
    assert [line.split(" | ")[1] for line in output.splitlines()][0] == "chief 0"
    assert len(output.splitlines()) == 3


def test_a_second_signal_kills(launch):
    program = """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(600)
    """
    launcher = launch("--workers=2", program)
    wait_for_lines(launcher, 2)
    launcher.send_signal(signal.SIGINT)
    while "SIGINT: ending the tasks" not in launcher.stderr.readline():
        pass
    launcher.send_signal(signal.SIGINT)
    code, _, errors = finish(launcher)
    assert code == 130
    assert "SIGINT again: killing all tasks" in errors


def test_tasks_die_with_a_launcher_that_is_killed(launch, tmp_path):
    launcher = launch("--workers=2", 'print("ready", flush=True)\ntime.sleep(600)')
    wait_for_lines(launcher, 2)
    assert len(find_tasks(tmp_path)) == 2
    launcher.kill()
    wait_until(lambda: find_tasks(tmp_path) == [])


def test_what_a_task_has_started_ends_with_it(launch, tmp_path):
    program = """
    import subprocess
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("last line", flush=True)
    """
    code, output, _ = finish(launch("--workers=1", program))
    assert (code, output) == (0, "worker 0 | last line\n")
    wait_until(lambda: find_tasks(tmp_path) == [])


def test_nothing_is_left_when_nobody_reads_the_output(launch, tmp_path):
    program = """
    while True:
        print("x" * 1000, flush=True)
    """
    launcher = launch("--workers=2", program)
    wait_for_lines(launcher, 2)
    launcher.stdout.close()
    assert launcher.wait(DEADLINE) == 1
    assert "Broken pipe" in launcher.stderr.read()
    wait_until(lambda: find_tasks(tmp_path) == [])


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
