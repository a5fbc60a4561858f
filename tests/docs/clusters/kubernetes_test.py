"""The manifests for Kubernetes: as its own descriptions have them, each task with its TF_CONFIG."""

import re
import subprocess

import pytest
import yaml
from cluster_programs import (
    CLUSTERS,
    check_command,
    make_environment,
    read_started,
    write_trainers,
)

MANIFESTS = ["volume.yaml", "multi_worker.yaml", "parameter_server.yaml"]
API_VERSIONS = {
    "PersistentVolumeClaim": ("v1", "V1PersistentVolumeClaim"),
    "Service": ("v1", "V1Service"),
    "ConfigMap": ("v1", "V1ConfigMap"),
    "NetworkPolicy": ("networking.k8s.io/v1", "V1NetworkPolicy"),
    "Job": ("batch/v1", "V1Job"),
    "StatefulSet": ("apps/v1", "V1StatefulSet"),
}


@pytest.fixture
def fakes(tmp_path):
    """A folder of programs that stand for the trainers."""
    write_trainers(tmp_path)
    return tmp_path


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
