"""The text protos that a server is run with: those that come along, edited ones, damaged ones."""

import shutil
import sys

import pytest
from export_programs import call_program, find_failures

from tfrec_zoo.export import check
from tfrec_zoo.export.conformance import Export, run_rules
from tfrec_zoo.export.deployment import write_deployment
from tfrec_zoo.export.server_files import SERVER_RULES

MODELS, BATCHING, MONITORING = (
    f"deploy/{name}.config" for name in ("models", "batching", "monitoring")
)


@pytest.fixture(scope="module")
def deployed(exported, tmp_path_factory):
    """A folder with one version and its deployment; not to be changed."""
    served = tmp_path_factory.mktemp("deployed") / "served"
    shutil.copytree(exported.parent, served)
    write_deployment(served, "gru4rec", 1)
    return served


@pytest.fixture
def served(deployed, tmp_path):
    """A copy of it."""
    return shutil.copytree(deployed, tmp_path / "served")


def run(served):
    """Returns rule -> its result."""
    return {result.rule: result for result in run_rules(Export(served), SERVER_RULES)}


def replace(file, old, new):
    def edit(served):
        text = (served / file).read_text()
        assert old in text
        (served / file).write_text(text.replace(old, new))

    return edit


def write(file, text):
    return lambda served: (served / file).write_text(text)


def write_models(*models, file="models.config"):
    configs = " ".join(f"config {{ {model} }}" for model in models)
    return write(file, f"model_config_list {{ {configs} }}")


GOOD = 'name: "gru4rec" base_path: "/models/gru4rec" model_platform: "tensorflow"'
OTHER = 'name: "dlrm" base_path: "/models/dlrm" model_platform: "tensorflow"'
TWO = "versions: 1\n        versions: 2"
DAMAGES = {
    "no proto": (write("models.config", "serve all"), "models_config", "no ModelServerConfig"),
    "no text": (
        lambda served: (served / "models.config").write_bytes(b"\xff\xfe"),
        "models_config",
        "models.config is no ModelServerConfig",
    ),
    "a field that there is not": (
        replace(MODELS, "version_labels", "version_names"),
        "models_config",
        "deploy/models.config is no ModelServerConfig",
    ),
    "no model": (write("models.config", ""), "models_config", "names no model"),
    "a model without a name": (
        replace("models.config", 'name: "gru4rec"', ""),
        "models_config",
        "a model without a name",
    ),
    "a model twice": (write_models(GOOD, GOOD), "models_config", "gru4rec more than once"),
    "other models": (
        write_models(OTHER, OTHER.replace("dlrm", "ssr")),
        "models_config",
        "none of which is gru4rec",
    ),
    "another platform": (
        replace("models.config", '"tensorflow"', '"pytorch"'),
        "models_config",
        "model_platform 'pytorch'",
    ),
    "no platform": (
        replace("models.config", 'model_platform: "tensorflow"', ""),
        "models_config",
        "model_platform ''",
    ),
    "a relative path": (
        replace("models.config", '"/models/gru4rec"', '"models/gru4rec"'),
        "models_config",
        "expected an absolute one",
    ),
    "another folder": (
        replace("models.config", '"/models/gru4rec"', '"/models/gru4rec/old"'),
        "models_config",
        "expected one that ends with gru4rec or served",
    ),
    "a folder that is not mounted": (
        replace(MODELS, '"/models/gru4rec"', '"/models/gru4"'),
        "models_config",
        "/models/gru4, at which compose.yaml mounts nothing",
    ),
    "a folder that Kubernetes does not mount": (
        replace("deploy/kubernetes.yaml", "mountPath: /models/gru4rec", "mountPath: /models/ssr"),
        "models_config",
        "kubernetes.yaml mounts nothing",
    ),
    "a version that is not there": (
        replace(MODELS, "versions: 1", TWO),
        "models_config",
        "serves version 2, which is not there",
    ),
    "no version": (replace(MODELS, "versions: 1", ""), "models_config", "and no version"),
    "a label for a version that is not there": (
        replace(MODELS, "value: 1", "value: 2"),
        "models_config",
        "label 'stable' for version 2, which is not there",
    ),
    "batching that is no proto": (
        write(BATCHING, "max_batch_size: 64"),
        "batching_config",
        "no BatchingParameters",
    ),
    "a size in the wrong place": (
        write(BATCHING, "max_batch_sizes { value: 64 }"),
        "batching_config",
        "max_batch_sizes",
    ),
    "no padding": (
        replace(BATCHING, "pad_variable_length_inputs: true", ""),
        "batching_config",
        "no pad_variable_length_inputs: true",
    ),
    "batches of nothing": (
        replace(BATCHING, "max_batch_size { value: 4096 }", "max_batch_size { value: 0 }"),
        "batching_config",
        "max_batch_size 0, expected at least 1",
    ),
    "batches above their limit": (
        replace(BATCHING, "{ value: 4096 }", "{ value: 32 }"),
        "batching_config",
        "max_execution_batch_size 64 above max_batch_size 32",
    ),
    "sizes that fall": (
        replace(BATCHING, "pad_", "allowed_batch_sizes: [64, 8, 4096]\npad_"),
        "batching_config",
        "allowed_batch_sizes [64, 8, 4096]",
    ),
    "sizes that end too early": (
        replace(BATCHING, "pad_", "allowed_batch_sizes: [8, 64]\npad_"),
        "batching_config",
        "up to max_batch_size 4096",
    ),
    "monitoring that is no proto": (
        write(MONITORING, "enable: true"),
        "monitoring_config",
        "no MonitoringConfig",
    ),
    "a path of no root": (
        replace(MONITORING, '"/monitoring', '"monitoring'),
        "monitoring_config",
        "expected one that begins with /",
    ),
}


@pytest.mark.parametrize(("damage", "rule", "words"), DAMAGES.values(), ids=DAMAGES)
def test_the_rule_for_a_damage_fails(served, damage, rule, words):
    damage(served)
    failures = find_failures(served, SERVER_RULES)
    assert list(failures) == [rule], failures
    assert words in failures[rule]


def test_what_comes_along_holds(deployed):
    details = {name: (result.outcome, result.detail) for name, result in run(deployed).items()}
    assert details == {
        "models_config": (
            "passed",
            "models.config serves 1; deploy/models.config serves 1 (stable)",
        ),
        "batching_config": (
            "passed",
            "deploy/batching.config: up to 64 examples together, padded",
        ),
        "monitoring_config": (
            "passed",
            "deploy/monitoring.config: /monitoring/prometheus/metrics",
        ),
    }


def test_what_is_not_there_is_skipped(served):
    shutil.rmtree(served / "deploy")
    (served / "models.config").unlink()
    results = run(served)
    assert {result.outcome for result in results.values()} == {"skipped"}
    assert results["models_config"].detail == (
        "there is no models.config beside the version or in deploy"
    )


@pytest.mark.parametrize(
    ("edit", "detail"),
    [
        # A canary, as the guide has it.
        (
            lambda served: (
                shutil.copytree(served / "1", served / "2"),
                replace(MODELS, "versions: 1", TWO)(served),
                replace(
                    MODELS, "version_labels", 'version_labels { key: "a" value: 2 } version_labels'
                )(served),
            ),
            "models.config serves 2; deploy/models.config serves 1 (stable), 2 (a)",
        ),
        (write_models(OTHER, GOOD), "models.config serves 1"),
        (
            write_models(GOOD.replace("/models/gru4rec", "gs://bucket/news")),
            "models.config serves 1",
        ),
        (
            write_models(GOOD.replace('"gru4rec"', '"news"').replace("s/gru4rec", "s/news/")),
            "serves 1",
        ),
        (write_models(f"{GOOD} model_version_policy {{ all {{}} }}"), "models.config serves 1"),
        (
            write_models(GOOD.replace('model_platform: "tensorflow"', "model_type: TENSORFLOW")),
            "models.config serves 1",
        ),
    ],
)
def test_edited_models_hold(served, edit, detail):
    edit(served)
    assert find_failures(served, SERVER_RULES) == {}
    assert detail in run(served)["models_config"].detail


def test_only_the_newest_versions_are_served_unless_others_are_named(served):
    for version in (2, 3, 10):
        shutil.copytree(served / "1", served / str(version))
    assert run(served)["models_config"].detail.startswith("models.config serves 10;")
    write_models(f"{GOOD} model_version_policy {{ latest {{ num_versions: 2 }} }}")(served)
    assert run(served)["models_config"].detail.startswith("models.config serves 3, 10;")
    write_models(f'{GOOD} version_labels {{ key: "old" value: 3 }}')(served)
    failures = find_failures(served, SERVER_RULES)
    assert failures["models_config"].endswith("'old' for version 3, which is not served")


def test_without_the_servers_protos_only_their_rule_is_skipped(deployed, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.config", None)
    results = run(deployed)
    assert results["models_config"].outcome == "skipped"
    assert "pip install 'tfrec-zoo[serving]'" in results["models_config"].detail
    assert results["batching_config"].passed and results["monitoring_config"].passed
    code, printed = call_program(monkeypatch, capsys, check, deployed)
    assert code == 0 and printed.out.splitlines()[-1].endswith("21 rules hold, 1 skipped")


def test_a_model_of_one_length_needs_no_padding(exported_dlrm, tmp_path):
    served = shutil.copytree(exported_dlrm.parent, tmp_path / "served")
    write_deployment(served, "dlrm", 1)
    replace(BATCHING, "pad_variable_length_inputs: true", "")(served)
    replace(MONITORING, "enable: true", "enable: false")(served)
    results = run(served)
    assert results["batching_config"].detail.endswith("64 examples together, not padded")
    assert results["monitoring_config"].detail.endswith("no metrics")
