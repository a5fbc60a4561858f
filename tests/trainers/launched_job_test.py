"""What follows when tasks of a launched job end, or a signal comes; that no process is left."""

import json
import signal
import time

import pytest
from launched_tasks import DEADLINE, find_tasks, finish, start_launchers, wait_for_lines
from waiting import wait_until


@pytest.fixture
def launch(tmp_path):
    with start_launchers(tmp_path) as start:
        yield start


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


def test_what_one_refuses_and_the_others_miss_is_not_tried_again(launch, tmp_path):
    program = """
    count()
    if task == "worker 0":
        sys.exit(1)
    time.sleep(1)
    sys.exit(75)
    """
    code, _, errors = finish(launch("--workers=2", program))
    assert code == 1
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
    wait_until(lambda: find_tasks(tmp_path) == [], DEADLINE)


def test_what_a_task_has_started_ends_with_it(launch, tmp_path):
    program = """
    import subprocess
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("last line", flush=True)
    """
    code, output, _ = finish(launch("--workers=1", program))
    assert (code, output) == (0, "worker 0 | last line\n")
    wait_until(lambda: find_tasks(tmp_path) == [], DEADLINE)


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
    wait_until(lambda: find_tasks(tmp_path) == [], DEADLINE)
