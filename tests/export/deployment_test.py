import re
import shutil
import socket
import subprocess
from importlib import resources

import pytest
import yaml
from export_programs import call_program
from google.protobuf import text_format

from tfrec_zoo.export import check, main
from tfrec_zoo.export.deployment import FILE_NAMES, write_deployment
from tfrec_zoo.program import run_program
from tfrec_zoo.serving.protos import declare_messages

# Of servables/tensorflow/session_bundle_config.proto and config/monitoring_config.proto in
# tensorflow/serving, which the package tensorflow-serving-api lacks.
PROTOS = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value", False),
        "batch_timeout_micros": (2, "Int64Value", False),
        "max_enqueued_batches": (3, "Int64Value", False),
        "num_batch_threads": (4, "Int64Value", False),
        "allowed_batch_sizes": (6, "int64", True),
        "pad_variable_length_inputs": (7, "bool", False),
        "enable_large_batch_splitting": (8, "BoolValue", False),
        "max_execution_batch_size": (9, "Int64Value", False),
    },
    "Int64Value": {"value": (1, "int64", False)},
    "BoolValue": {"value": (1, "bool", False)},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig", False)},
    "PrometheusConfig": {"enable": (1, "bool", False), "path": (2, "string", False)},
}
# Those of model_servers/main.cc that are used.
SERVER_FLAGS = {
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "allow_version_labels_for_unavailable_models",
    "enable_batching",
    "batching_parameters_file",
    "monitoring_config_file",
}


@pytest.fixture
def served(exported, tmp_path):
    """A folder with one version, to be changed."""
    shutil.copytree(exported.parent, tmp_path / "served")
    return tmp_path / "served"


@pytest.fixture(scope="module")
def deployed(exported, tmp_path_factory):
    """A folder with one version and its deployment, not to be changed."""
    served = tmp_path_factory.mktemp("deployed") / "served"
    shutil.copytree(exported.parent, served)
    write_deployment(served, "gru4rec", 1)
    return served


@pytest.fixture
def unused_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def read_models_config(path):
    config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    config = text_format.Parse(path.read_text(), config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


def read_manifests(deployed):
    """Returns the objects for Kubernetes by their kinds."""
    documents = yaml.safe_load_all((deployed / "deploy" / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in documents}


def split_flags(arguments):
    return dict(argument.removeprefix("--").split("=") for argument in arguments)


def run(program, *arguments):
    """Runs a program in this process and returns its exit code."""
    try:
        run_program(program, main.define_flags, ["tfrec-export", *map(str, arguments)])
    except SystemExit as end:
        return end.code
    return 0


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_filled_in(deployed):
    assert {path.name for path in (deployed / "deploy").iterdir()} == set(FILE_NAMES)
    for name in FILE_NAMES:
        assert "@" not in (deployed / "deploy" / name).read_text()


def test_the_templates_are_those_that_are_installed(repository):
    folder = resources.files("tfrec_zoo.export") / "deploy"
    assert {path.name for path in folder.iterdir()} == set(FILE_NAMES)
    assert '"tfrec_zoo.export": ["deploy/*"]' in (repository / "setup.py").read_text()


def test_models_config_serves_the_version_by_a_label(deployed):
    model = read_models_config(deployed / "deploy" / "models.config")
    assert (model.name, model.base_path) == ("gru4rec", "/models/gru4rec")
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [1]
    assert dict(model.version_labels) == {"stable": 1}


def test_the_other_files_of_the_server_are_its_protos(deployed):
    classes = declare_messages("test", PROTOS)
    text = (deployed / "deploy" / "batching.config").read_text()
    batching = text_format.Parse(text, classes["BatchingParameters"]())
    assert batching.pad_variable_length_inputs
    assert batching.enable_large_batch_splitting.value
    assert batching.max_batch_size.value >= batching.max_execution_batch_size.value > 1
    assert batching.batch_timeout_micros.value == 1000
    text = (deployed / "deploy" / "monitoring.config").read_text()
    monitoring = text_format.Parse(text, classes["MonitoringConfig"]()).prometheus_config
    assert (monitoring.enable, monitoring.path) == (True, "/monitoring/prometheus/metrics")
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batch_sizes { value: 1 }", classes["BatchingParameters"]())


def test_compose_mounts_the_versions_and_names_files_that_are_there(deployed):
    compose = yaml.safe_load((deployed / "deploy" / "compose.yaml").read_text())
    assert compose["name"] == "gru4rec"
    (service,) = compose["services"].values()
    assert service["image"].startswith("tensorflow/serving:")
    assert service["ports"] == ["8500:8500", "8501:8501"]
    (volume,) = service["volumes"]
    source, target, mode = volume.split(":")
    model = read_models_config(deployed / "deploy" / "models.config")
    assert (target, mode) == (model.base_path, "ro")
    assert (deployed / "deploy" / source).resolve() == deployed.resolve()
    flags = split_flags(service["command"])
    assert set(flags) == SERVER_FLAGS
    for name, path in flags.items():
        if name.endswith("_file"):
            assert (deployed / path.removeprefix(f"{target}/")).is_file(), name
    # Labels that are there at the start, and edits without a restart, need these.
    assert flags["allow_version_labels_for_unavailable_models"] == "true"
    assert int(flags["model_config_file_poll_wait_seconds"]) > 0


def test_the_health_check_tells_whether_somebody_listens(deployed, unused_port):
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    compose = yaml.safe_load((deployed / "deploy" / "compose.yaml").read_text())
    kind, *command = compose["services"]["serving"]["healthcheck"]["test"]
    assert kind == "CMD"
    command = [part.replace("8501", str(unused_port)) for part in command]
    assert subprocess.run(command, capture_output=True).returncode != 0
    with socket.create_server(("127.0.0.1", unused_port)):
        assert subprocess.run(command, capture_output=True).returncode == 0


def test_docker_takes_the_compose_file(deployed):
    docker = shutil.which("docker")
    compose = [docker, "compose"]
    if not docker or subprocess.run([*compose, "version"], capture_output=True).returncode:
        pytest.skip("needs docker compose")
    command = [*compose, "-f", "compose.yaml", "config", "--quiet"]
    subprocess.run(command, cwd=deployed / "deploy", check=True)


def test_kubernetes_mounts_what_the_server_is_told_to_read(deployed):
    manifests = read_manifests(deployed)
    assert sorted(manifests) == ["Deployment", "PersistentVolumeClaim", "Service"]
    spec = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(volumes) == set(mounts) == {"models", "config"}
    assert all(mount["readOnly"] for mount in mounts.values())
    claim = manifests["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim
    model = read_models_config(deployed / "deploy" / "models.config")
    assert mounts["models"]["mountPath"] == model.base_path

    kustomization = yaml.safe_load((deployed / "deploy" / "kustomization.yaml").read_text())
    (generated,) = kustomization["configMapGenerator"]
    assert volumes["config"]["configMap"]["name"] == generated["name"]
    assert kustomization["generatorOptions"]["disableNameSuffixHash"]
    for name in [*kustomization["resources"], *generated["files"]]:
        assert (deployed / "deploy" / name).is_file()
    flags = split_flags(container["args"])
    assert set(flags) == SERVER_FLAGS
    paths = {path for name, path in flags.items() if name.endswith("_file")}
    mount = mounts["config"]["mountPath"]
    assert paths == {f"{mount}/{name}" for name in generated["files"]}


def test_kubernetes_reaches_the_ports_of_the_server(deployed):
    manifests = read_manifests(deployed)
    template = manifests["Deployment"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    service = manifests["Service"]["spec"]
    assert [(p["port"], ports[p["targetPort"]]) for p in service["ports"]] == [
        *((8500, 8500), (8501, 8501))
    ]
    labels = template["metadata"]["labels"]
    assert (
        service["selector"] == manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    )
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["tcpSocket"]["port"] in ports
    ready = container["readinessProbe"]["httpGet"]
    label = re.fullmatch(r"/v1/models/gru4rec/labels/(\w+)/metadata", ready["path"])[1]
    assert label in read_models_config(deployed / "deploy" / "models.config").version_labels
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports[ready["port"]])
    assert annotations["prometheus.io/path"] == "/monitoring/prometheus/metrics"


def test_memory_grows_with_the_model(served):
    (served / "1" / "assets" / "large").write_bytes(bytes(50 * 2**20))
    write_deployment(served, "gru4rec", 1)
    manifests = read_manifests(served)
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    memory = container["resources"]["requests"]["memory"]
    size = sum(path.stat().st_size for path in (served / "1").rglob("*") if path.is_file())
    assert 2 * size <= (int(memory.removesuffix("Mi")) - 512) * 2**20 < 2 * size + 2**20


def test_what_is_there_stays(served):
    assert len(write_deployment(served, "gru4rec", 1)) == len(FILE_NAMES)
    (served / "deploy" / "models.config").write_text("edited")
    (served / "deploy" / "compose.yaml").unlink()
    (served / "deploy" / "own.txt").write_text("own")
    shutil.copytree(served / "1", served / "2")
    before = snapshot(served)
    assert write_deployment(served, "gru4rec", 2) == [served / "deploy" / "compose.yaml"]
    after = snapshot(served)
    del after[served / "deploy" / "compose.yaml"]
    assert after == before


def test_a_version_that_is_not_there_is_refused(served):
    with pytest.raises(ValueError, match="there is no version .*7"):
        write_deployment(served, "gru4rec", 7)
    assert not (served / "deploy").exists()


def test_the_program_deploys_what_is_exported(served, capsys):
    shutil.copytree(served / "1", served / "3")
    before = snapshot(served)
    assert run(main.export, f"--export_dir={served}", "--deploy") == 0
    assert capsys.readouterr().out == f"{served / '3'}\n"
    model = read_models_config(served / "deploy" / "models.config")
    assert dict(model.version_labels) == {"stable": 3}
    after = snapshot(served)
    assert {path: after[path] for path in before} == before
    (served / "deploy" / "models.config").unlink()
    assert run(main.export, f"--export_dir={served}", "--deploy", "--version=1") == 0
    model = read_models_config(served / "deploy" / "models.config")
    assert list(model.model_version_policy.specific.versions) == [1]


def test_a_deployed_export_passes_the_check(deployed, monkeypatch, capsys):
    code, printed = call_program(monkeypatch, capsys, check, deployed)
    assert code == 0 and "rules hold" in printed.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "which run is to be exported"),
        (["--deploy", "--k=3"], 2, "--k is of an export"),
        (["--deploy", "--checkpoint=last"], 2, "--checkpoint is of an export"),
        (["--deploy", "--version=8"], 1, "8 is not an exported version"),
        (["--deploy", "--export_dir=nowhere"], 1, "nowhere has no version yet"),
    ],
)
def test_bad_input_is_one_sentence(served, capfd, arguments, code, words):
    assert run(main.export, f"--export_dir={served}", *arguments) == code
    assert words in capfd.readouterr().err
    assert not (served / "deploy").exists()
