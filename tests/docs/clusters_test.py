"""The files for clusters: valid for Kubernetes and Slurm, and each task gets its TF_CONFIG."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from absl import flags

from tfrec_zoo.trainers import dlrm, gru4rec

CLUSTERS = Path(__file__).resolve().parents[2] / "docs" / "clusters"
PROGRAMS = {"tfrec-gru4rec": gru4rec, "tfrec-dlrm": dlrm}
MANIFESTS = ["volume.yaml", "multi_worker.yaml", "parameter_server.yaml"]
SCRIPTS = ["train.sbatch", "parameter_server.sbatch"]
API_VERSIONS = {
    "PersistentVolumeClaim": ("v1", "V1PersistentVolumeClaim"),
    "Service": ("v1", "V1Service"),
    "ConfigMap": ("v1", "V1ConfigMap"),
    "NetworkPolicy": ("networking.k8s.io/v1", "V1NetworkPolicy"),
    "Job": ("batch/v1", "V1Job"),
    "StatefulSet": ("apps/v1", "V1StatefulSet"),
}
# A trainer that says what it was started as, and ends or stays as the test wants.
FAKE_TRAINER = """#!/usr/bin/env bash
type=$(sed 's/.*"type": "\\([a-z]*\\)".*/\\1/' <<< "$TF_CONFIG")
echo "$TF_CONFIG $(basename "$0") $*" >> "$FAKES/started"
if [[ -e $FAKES/$type.fails ]]; then
    code=$(cat "$FAKES/$type.fails")
    rm "$FAKES/$type.fails"
    exit "$code"
fi
if [[ -e $FAKES/$type.stays ]]; then
    exec sleep 600
fi
"""
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


def load_objects(name):
    """Returns the objects of a manifest by kind and name."""
    documents = yaml.safe_load_all((CLUSTERS / name).read_text(encoding="utf-8"))
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def list_pods(objects):
    """Returns the labels and the specification of each pod template, by the name of its owner."""
    return {
        name: (each["spec"]["template"]["metadata"]["labels"], each["spec"]["template"]["spec"])
        for (_, name), each in objects.items()
        if "template" in each.get("spec", {})
    }


def find_unknown_fields(value, type_name, path=""):
    """Returns the fields of `value` that Kubernetes' own description of a type does not have."""
    client = pytest.importorskip("kubernetes.client")
    if match := re.fullmatch(r"list\[(.+)\]", type_name):
        parts = [(item, match[1], f"{path}[]") for item in value]
    elif model := getattr(client, type_name, None):
        types = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
        if unknown := [f"{path}.{name}" for name in value if name not in types]:
            return unknown
        parts = [(item, types[name], f"{path}.{name}") for name, item in value.items()]
    else:
        return []
    return [error for part in parts for error in find_unknown_fields(*part)]


def check_schema(value, type_name):
    """Raises ValueError where a value is not of a type of Kubernetes."""
    client = pytest.importorskip("kubernetes.client")
    if unknown := find_unknown_fields(value, type_name):
        raise ValueError(f"unknown fields: {unknown}")
    getattr(client, type_name).model_validate(value)


def list_flags(program):
    known = set(flags.FLAGS)
    try:
        program.define_flags()
        return set(flags.FLAGS) - known
    finally:
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)


@pytest.fixture
def fakes(tmp_path):
    """A folder of programs that stand for the trainers, srun and scontrol."""
    programs = {name: FAKE_TRAINER for name in PROGRAMS}
    programs |= {"srun": FAKE_SRUN, "scontrol": FAKE_SCONTROL}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def make_environment(fakes, **variables):
    return {
        "PATH": f"{fakes}:{os.environ['PATH']}",
        "FAKES": str(fakes),
        "HOME": str(fakes / "home"),
        **{name: str(value) for name, value in variables.items()},
    }


def read_started(fakes):
    """Returns TF_CONFIG and the command line of each trainer that was started."""
    decoder = json.JSONDecoder()
    found = []
    for line in (fakes / "started").read_text().splitlines():
        config, end = decoder.raw_decode(line)
        found.append((config, line[end:].split()))
    return found


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


def check_command(command, strategy):
    """Asserts that a command line runs a trainer with flags that it has."""
    program, *arguments = command
    names = [re.fullmatch(r"--([a-z_]+)=\S+", argument)[1] for argument in arguments]
    assert f"--strategy={strategy}" in arguments
    assert set(names) <= list_flags(PROGRAMS[program])
    assert "run_dir" in names and {"train", "prepared"} & set(names)


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_are_as_kubernetes_describes_them(name):
    objects = load_objects(name)
    assert objects
    for (kind, _), each in objects.items():
        api_version, type_name = API_VERSIONS[kind]
        assert each["apiVersion"] == api_version
        check_schema(each, type_name)


def test_an_error_in_a_manifest_is_found():
    job = load_objects("multi_worker.yaml")["Job", "gru4rec"]
    job["spec"]["template"]["spec"]["restartsPolicy"] = "Never"
    with pytest.raises(ValueError, match=r"\['.spec.template.spec.restartsPolicy'\]"):
        check_schema(job, "V1Job")
    del job["spec"]["template"]["spec"]["restartsPolicy"]
    job["spec"]["parallelism"] = "2"
    with pytest.raises(ValueError, match="parallelism"):
        check_schema(job, "V1Job")
    job["spec"]["parallelism"] = 2
    del job["spec"]["template"]["spec"]["containers"][0]["name"]
    with pytest.raises(ValueError, match="name"):
        check_schema(job, "V1Job")


@pytest.mark.parametrize("name", ["multi_worker.yaml", "parameter_server.yaml"])
def test_pods_are_named_reachable_and_have_their_volumes(name):
    objects = load_objects(name)
    (service,) = [each for (kind, _), each in objects.items() if kind == "Service"]
    (policy,) = [each for (kind, _), each in objects.items() if kind == "NetworkPolicy"]
    selector = service["spec"]["selector"]
    assert service["spec"]["clusterIP"] == "None"
    assert policy["spec"]["podSelector"]["matchLabels"] == selector
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": selector}}]
    claims = {claim for kind, claim in load_objects("volume.yaml")}
    maps = {name for kind, name in objects if kind == "ConfigMap"}
    for owner, (labels, pod) in list_pods(objects).items():
        assert selector.items() <= labels.items()
        each = objects.get(("Job", owner)) or objects["StatefulSet", owner]
        subdomain = each["spec"].get("serviceName") or pod["subdomain"]
        assert subdomain == service["metadata"]["name"]
        if each["kind"] == "StatefulSet":
            assert each["spec"]["selector"]["matchLabels"] == labels
        (container,) = pod["containers"]
        assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["port"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert volumes["training"]["persistentVolumeClaim"]["claimName"] in claims
        if "script" in volumes:
            assert volumes["script"]["configMap"]["name"] in maps


def test_selectors_of_stateful_sets_tell_them_apart():
    labels = [labels for labels, _ in list_pods(load_objects("parameter_server.yaml")).values()]
    assert sorted(label["task"] for label in labels) == ["chief", "ps", "worker"]


@pytest.mark.parametrize(
    ("name", "job", "container"),
    [("multi_worker.yaml", "gru4rec", "worker"), ("parameter_server.yaml", "dlrm-chief", "chief")],
)
def test_jobs_are_restarted_but_for_wrong_flags(name, job, container):
    spec = load_objects(name)["Job", job]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    fail, ignore = spec["podFailurePolicy"]["rules"]
    assert (fail["action"], ignore["action"]) == ("FailJob", "Ignore")
    assert fail["onExitCodes"] == {"containerName": container, "operator": "In", "values": [2]}
    assert spec["template"]["spec"]["containers"][0]["name"] == container
    # All workers fail where one does.
    assert spec["backoffLimit"] >= 3 * spec["completions"]
    assert spec["backoffLimit"] % spec["completions"] == 0


def test_workers_of_the_job_have_its_tf_config(fakes):
    job = load_objects("multi_worker.yaml")["Job", "gru4rec"]["spec"]
    assert job["completions"] == job["parallelism"] == 2
    (container,) = job["template"]["spec"]["containers"]
    for index in range(2):
        environment = make_environment(fakes, JOB_COMPLETION_INDEX=index)
        subprocess.run([*container["command"], *container["args"]], env=environment, check=True)
    started = read_started(fakes)
    workers = [f"gru4rec-{index}.gru4rec:2222" for index in range(job["completions"])]
    assert [config for config, _ in started] == [
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]
    check_command(started[0][1], "multi_worker")


def test_pods_of_parameter_servers_have_the_tf_config_of_their_names(fakes):
    objects = load_objects("parameter_server.yaml")
    numbers = {
        name.removeprefix("dlrm-"): each["spec"].get("replicas") or each["spec"]["completions"]
        for (kind, name), each in objects.items()
        if kind in ("Job", "StatefulSet")
    }
    assert numbers == {"chief": 1, "worker": 2, "ps": 2}
    script = fakes / "train.sh"
    script.write_text(objects["ConfigMap", "dlrm"]["data"]["train.sh"])
    for _, pod in list_pods(objects).values():
        assert pod["containers"][0]["command"] == ["bash", "/script/train.sh"]
        mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
        assert mounts == {"script": "/script", "training": "/training"}
    tasks = [(kind, index) for kind, number in numbers.items() for index in range(number)]
    for kind, index in tasks:
        environment = make_environment(fakes, HOSTNAME=f"dlrm-{kind}-{index}")
        subprocess.run(["bash", str(script)], env=environment, check=True)
    cluster = {
        kind: [f"dlrm-{kind}-{index}.dlrm:2222" for index in range(number)]
        for kind, number in numbers.items()
    }
    started = read_started(fakes)
    assert [config for config, _ in started] == [
        {"cluster": cluster, "task": {"type": kind, "index": index}} for kind, index in tasks
    ]
    check_command(started[0][1], "parameter_server")


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


def wait_for_tasks(fakes, number):
    end = time.monotonic() + 10
    while not (fakes / "started").exists() or len(read_started(fakes)) < number:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


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
