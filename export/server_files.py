"""The rules for what TensorFlow Serving is run with: the text protos beside the versions.

They are looked for in the folder of the versions and in its `deploy`; what is not there is skipped.
What the server does with them is in model_servers/server_core.cc, batching/batching_session.cc and
sources/storage_path/file_system_storage_path_source.cc of https://github.com/tensorflow/serving.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from google.protobuf import message, text_format

from tfrec_zoo.export.conformance import Export, Rule, Skipped, require
from tfrec_zoo.export.deployment import DEPLOY_NAME
from tfrec_zoo.export.version_folder import list_versions
from tfrec_zoo.serving.protos import declare_messages

_PLATFORM = "tensorflow"
_MANIFESTS = ("compose.yaml", "kubernetes.yaml")
# What the server takes for max_batch_size where the file does not say.
_DEFAULT_BATCH_SIZE = 1000
# From session_bundle_config.proto and monitoring_config.proto, which the package
# tensorflow-serving-api lacks: message -> field -> (number, type, is repeated).
_MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value", False),
        "batch_timeout_micros": (2, "Int64Value", False),
        "max_enqueued_batches": (3, "Int64Value", False),
        "num_batch_threads": (4, "Int64Value", False),
        "thread_pool_name": (5, "StringValue", False),
        "allowed_batch_sizes": (6, "int64", True),
        "pad_variable_length_inputs": (7, "bool", False),
        "enable_large_batch_splitting": (8, "BoolValue", False),
        "max_execution_batch_size": (9, "Int64Value", False),
    },
    "Int64Value": {"value": (1, "int64", False)},
    "BoolValue": {"value": (1, "bool", False)},
    "StringValue": {"value": (1, "string", False)},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig", False)},
    "PrometheusConfig": {"enable": (1, "bool", False), "path": (2, "string", False)},
}


def check_models_config(export: Export) -> str:
    """`models.config` serves this folder, with versions and labels that are there."""
    files = _find_files(export, "models.config")
    config_pb2 = _import_model_server_config()
    seen = []
    for name, path in files.items():
        config = _parse(path, name, config_pb2.ModelServerConfig())
        models = config.model_config_list.config
        _check_models(models, name)
        model = _find_model(models, export, name)
        _check_base_path(model, path, name)
        served = _check_versions(model, list_versions(export.path.resolve().parent), name)
        seen.append(f"{name} serves {', '.join(served)}")
    return "; ".join(seen)


def check_batching_config(export: Export) -> str:
    """`batching.config` has sizes that the server takes, and pads requests of other lengths."""
    seen = []
    for name, path in _find_files(export, "batching.config").items():
        config = _parse(path, name, _message_classes()["BatchingParameters"]())
        _check_batch_sizes(config, name)
        is_padded = config.pad_variable_length_inputs
        if ragged := _list_ragged_inputs(export):
            require(
                is_padded,
                f"{name} has no pad_variable_length_inputs: true, without which the server refuses "
                f"requests that meet with {ragged[0]} of other lengths",
            )
        padding = "padded" if is_padded else "not padded"
        size = config.max_batch_size.value or _DEFAULT_BATCH_SIZE
        if config.enable_large_batch_splitting.value:
            size = config.max_execution_batch_size.value or size
        seen.append(f"{name}: up to {size:,} examples together, {padding}")
    return "; ".join(seen)


def check_monitoring_config(export: Export) -> str:
    """`monitoring.config` says whether there are metrics, and at which path of the REST port."""
    seen = []
    for name, path in _find_files(export, "monitoring.config").items():
        config = _parse(path, name, _message_classes()["MonitoringConfig"]()).prometheus_config
        require(
            config.path.startswith("/") or not config.path,
            f"{name} has the path {config.path!r}, expected one that begins with /",
        )
        seen.append(f"{name}: {config.path or 'the usual path' if config.enable else 'no metrics'}")
    return "; ".join(seen)


SERVER_RULES = (
    Rule.of(check_models_config),
    Rule.of(check_batching_config, "signature_form"),
    Rule.of(check_monitoring_config),
)


def _find_files(export: Export, name: str) -> dict[str, Path]:
    """Returns the files of this name by what they are called, `deploy/` in front."""
    folder = export.path.resolve().parent
    found = {
        each: folder / each for each in (name, f"{DEPLOY_NAME}/{name}") if (folder / each).is_file()
    }
    if not found:
        raise Skipped(f"there is no {name} beside the version or in {DEPLOY_NAME}")
    return found


def _parse(path: Path, name: str, proto: message.Message) -> Any:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), proto)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is no {proto.DESCRIPTOR.name}: {error}") from None


def _import_model_server_config() -> ModuleType:
    try:
        from tensorflow_serving.config import model_server_config_pb2
    except ImportError:
        raise Skipped(
            "tensorflow-serving-api is not installed, whose protos models.config is of: pip "
            "install 'tfrec-zoo[serving]'"
        ) from None
    return model_server_config_pb2


def _check_models(models: Sequence[Any], name: str) -> None:
    """Raises a ValueError unless the server takes this list of models."""
    require(models, f"{name} names no model")
    names = [model.name for model in models]
    twice = sorted({each for each in names if names.count(each) > 1})
    require(not twice, f"{name} names the model {', '.join(twice)} more than once")
    for model in models:
        require(model.name, f"{name} has a model without a name")
        # 1 is TENSORFLOW of an enum that model_platform has taken the place of.
        platform = model.model_platform or (_PLATFORM if model.model_type == 1 else "")
        require(
            platform == _PLATFORM,
            f"{name}: {model.name} has the model_platform {platform!r}, expected {_PLATFORM!r}",
        )
        require(
            model.base_path.startswith("/") or _is_uri(model.base_path),
            f"{name}: {model.name} has the base_path {model.base_path!r}, expected an absolute one",
        )


def _find_model(models: Sequence[Any], export: Export, name: str) -> Any:
    """Returns the model of the list that is this one: the only one, or that of its program."""
    if len(models) == 1:
        return models[0]
    program = export.program
    found = [model for model in models if model.name == program]
    require(found, f"{name} names several models, none of which is {program}")
    return found[0]


def _check_base_path(model: Any, path: Path, name: str) -> None:
    """Raises a ValueError if `base_path` is not where the versions are for the server.

    The path is of the server's machine, most often inside a container. Beside manifests it is where
    they mount the versions, and else by convention a folder of the model's or this folder's name.
    """
    base = model.base_path.rstrip("/")
    manifests = [path.with_name(each) for each in _MANIFESTS if path.with_name(each).is_file()]
    if _is_uri(base):
        return
    mount = re.compile(rf"(?<![\w./-]){re.escape(base)}(?![\w./-])")
    for manifest in manifests:
        require(
            mount.search(manifest.read_text(encoding="utf-8", errors="replace")),
            f"{name} has the base_path {base}, at which {manifest.name} mounts nothing",
        )
    folder = path.parent.name
    require(
        manifests or PurePosixPath(base).name in (model.name, folder),
        f"{name} has the base_path {base}, expected one that ends with {model.name} or {folder}",
    )


def _check_versions(model: Any, there: Sequence[int], name: str) -> list[str]:
    """Returns the versions that are served, with their labels, out of those that are there."""
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "specific":
        served = sorted(policy.specific.versions)
        require(served, f"{name}: {model.name} has the policy specific, and no version")
        missing = [str(version) for version in served if version not in there]
        require(not missing, f"{name} serves version {', '.join(missing)}, which is not there")
    else:
        served = list(there)[-max(policy.latest.num_versions, 1) :] if kind == "latest" else there
    labels = dict(model.version_labels)
    for label, version in sorted(labels.items()):
        where = "served" if version in there else "there"
        require(
            version in served,
            f"{name} has the label {label!r} for version {version}, which is not {where}",
        )
    return [
        " ".join([str(version), *(f"({key})" for key in sorted(labels) if labels[key] == version)])
        for version in served
    ]


def _check_batch_sizes(config: Any, name: str) -> None:
    """Raises a ValueError unless the server takes these numbers."""
    smallest = {
        "max_batch_size": 1,
        "batch_timeout_micros": 0,
        "max_enqueued_batches": 1,
        "num_batch_threads": 1,
        "max_execution_batch_size": 1,
    }
    for field, least in smallest.items():
        value = getattr(config, field).value
        require(
            not config.HasField(field) or value >= least,
            f"{name} has {field} {value}, expected at least {least}",
        )
    largest = config.max_batch_size.value or _DEFAULT_BATCH_SIZE
    require(
        not config.enable_large_batch_splitting.value
        or config.max_execution_batch_size.value <= largest,
        f"{name} has max_execution_batch_size {config.max_execution_batch_size.value} above "
        f"max_batch_size {largest}",
    )
    sizes = list(config.allowed_batch_sizes)
    require(
        not sizes or (sizes == sorted(set(sizes)) and sizes[-1] == largest),
        f"{name} has allowed_batch_sizes {sizes}, expected rising ones up to max_batch_size "
        f"{largest}",
    )


def _list_ragged_inputs(export: Export) -> list[str]:
    """Returns the names of the inputs that may be longer in one request than in another."""
    return sorted(
        {
            name
            for signature in export.signature_defs.values()
            for name, tensor in signature.inputs.items()
            if any(dim.size < 0 for dim in tensor.tensor_shape.dim[1:])
        }
    )


def _is_uri(path: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*://", path) is not None


@functools.cache
def _message_classes() -> dict[str, type]:
    return declare_messages("tfrec_zoo.server_files", _MESSAGES)
