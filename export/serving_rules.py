"""The rules that TensorFlow Serving, and other runtimes of SavedModels, hold every model to."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

from tfrec_zoo.export.conformance import Export, Rule, require
from tfrec_zoo.export.restored import EXPORT_KEY
from tfrec_zoo.export.warmup import MAX_REQUESTS, read_warmup_requests

_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"}
# A path from the root, at the start of a text or within a name that TensorFlow made of one.
_ABSOLUTE_PATH = re.compile(rb"(?:^|[\s_:=])(?:/[\w.-]+){2,}|(?:^|[\s_])[A-Za-z]:\\")


def check_version_folder(export: Export) -> str:
    """A version's folder is named by a positive number."""
    name = export.path.resolve().name
    require(
        name.isascii() and name.isdigit() and int(name) > 0,
        f"the folder's name is {name!r}, and a server takes only positive numbers for versions",
    )
    return f"version {int(name)}"


def check_files(export: Export) -> str:
    """Model, weights and configuration are there, and none of them is empty."""
    names = ["saved_model.pb", "variables/variables.index", "assets/config.json"]
    shards = sorted(path.name for path in (export.path / "variables").glob("variables.data-*"))
    num_shards = int(shards[0].rpartition("-")[2]) if shards else 1
    for number in range(num_shards):
        names.append(f"variables/variables.data-{number:05}-of-{num_shards:05}")
    missing = [name for name in names if not (export.path / name).is_file()]
    require(not missing, f"there is no {', no '.join(missing)}")
    sizes = {name: (export.path / name).stat().st_size for name in names}
    empty = [name for name, size in sizes.items() if not size]
    require(not empty, f"{', '.join(empty)} is empty")
    return f"{len(sizes)} files, {sum(sizes.values()):,} bytes"


def check_config(export: Export) -> str:
    """`assets/config.json` is JSON, and says what the export is of."""
    try:
        config = export.config
    except ValueError as error:
        raise ValueError(f"assets/config.json is no JSON: {error}") from None
    require(isinstance(config, dict), "assets/config.json is no JSON object")
    about = config.get(EXPORT_KEY)
    require(
        isinstance(about, dict), f"assets/config.json has no object {EXPORT_KEY!r} about the export"
    )
    return f"{export.program}, exported by tfrec_zoo {about.get('tfrec_zoo')}"


def check_serve_tag(export: Export) -> str:
    """`saved_model.pb` has one graph with the tag `serve`."""
    version = export.meta_graph.meta_info_def.tensorflow_version
    return f"written by TensorFlow {version}"


def check_signature_form(export: Export) -> str:
    """Signatures are of the predict method, batched, and name no input as an output."""
    signatures = export.signature_defs
    require("serving_default" in signatures, "there is no signature serving_default")
    for name, signature in signatures.items():
        require(
            signature.method_name == "tensorflow/serving/predict",
            f"{name} has the method {signature.method_name!r}, expected that of predict",
        )
        require(signature.inputs and signature.outputs, f"{name} has no inputs or no outputs")
        shared = sorted(set(signature.inputs) & set(signature.outputs))
        require(not shared, f"{name} has {', '.join(shared)} both as input and as output")
        for tensor_name, tensor in [*signature.inputs.items(), *signature.outputs.items()]:
            sizes = [dim.size for dim in tensor.tensor_shape.dim]
            require(
                not tensor.tensor_shape.unknown_rank and sizes[:1] == [-1],
                f"{name}: {tensor_name} has no free batch dimension in front, its shape is {sizes}",
            )
    return ", ".join(signatures)


def check_stock_operations(export: Export) -> str:
    """All operations, those of library functions included, are TensorFlow's own."""
    functions = {f.signature.name for f in export.meta_graph.graph_def.library.function}
    names = {node.op for node in _list_nodes(export)}
    foreign = sorted(
        name for name in names - functions if op_def_registry.get(name) is None or ">" in name
    )
    require(not foreign, f"no operation of TensorFlow: {', '.join(foreign)}")
    return f"{len(names)} kinds of operations"


def check_no_python(export: Export) -> str:
    """No operation calls back into Python, which a server does not have."""
    found = sorted({node.op for node in _list_nodes(export)} & _PYTHON_OPERATIONS)
    require(not found, f"calls into Python: {', '.join(found)}")
    return "none"


def check_no_absolute_paths(export: Export) -> str:
    """Neither the graph nor what it reads names a file of the machine that it was exported on."""
    texts = {text for node in _list_nodes(export) for text in _list_texts(node)}
    texts |= {name.encode() for name in _list_assets(export)}
    _refuse_paths(texts, "the graph")
    # How the run was configured, as in config.json, is a record that nothing opens.
    files = sorted(
        {*(export.path / "assets").glob("*.json")} - {export.path / "assets/config.json"}
    )
    for file in files:
        try:
            values = json.loads(file.read_bytes())
        except ValueError:
            continue  # Reading it back in Python says so.
        _refuse_paths(set(_list_json_texts(values)), f"assets/{file.name}")
    return f"{len(texts)} texts in the graph, {len(files)} JSON files"


def check_assets(export: Export) -> str:
    """Each file that the graph reads lies in `assets`."""
    names = _list_assets(export)
    outside = [name for name in names if ".." in PurePath(name).parts]
    require(not outside, f"{', '.join(outside)} is not in the folder assets")
    missing = [name for name in names if not (export.path / "assets" / name).is_file()]
    require(not missing, f"the graph reads assets/{', assets/'.join(missing)}, which is missing")
    return f"{len(names)} read by the graph"


def check_loads(export: Export) -> str:
    """TensorFlow loads the model with all its variables and assets."""
    missing = set(export.signature_defs) - set(export.loaded.signatures)
    require(not missing, f"loaded without the signatures {', '.join(sorted(missing))}")
    return f"{len(export.loaded.signatures)} signatures"


def check_python_model(export: Export) -> str:
    """The Python model is rebuilt from the assets with the weights inside, or those of the run."""
    weights = [weight for part in export.parts.values() for weight in part.model.weights]
    return f"{sum(weight.shape.num_elements() for weight in weights):,} weights"


def check_warmup(export: Export) -> str:
    """The warm-up requests, at most 1000, reach every signature and are answered."""
    requests = read_warmup_requests(export.path)
    require(0 < len(requests) <= MAX_REQUESTS, f"{len(requests)} requests, not 1 to {MAX_REQUESTS}")
    for request in requests:
        known = export.signature_defs
        require(request.signature in known, f"there is no signature {request.signature}")
        expected = sorted(known[request.signature].inputs)
        require(
            sorted(request.inputs) == expected,
            f"{request.signature} takes {expected}, got {sorted(request.inputs)}",
        )
        for name, value in export.ask(request.signature, **request.inputs).items():
            is_number = value.dtype.kind == "f"
            require(not is_number or not np.isnan(value).any(), f"{name} has values that are NaN")
    cold = sorted(set(export.signature_defs) - {request.signature for request in requests})
    require(not cold, f"there is no request for {', '.join(cold)}")
    return f"{len(requests)} requests answered"


SERVING_RULES = (
    Rule.of(check_version_folder),
    Rule.of(check_files),
    Rule.of(check_config, "files"),
    Rule.of(check_serve_tag, "files"),
    Rule.of(check_signature_form, "serve_tag"),
    Rule.of(check_stock_operations, "serve_tag"),
    Rule.of(check_no_python, "serve_tag"),
    Rule.of(check_no_absolute_paths, "serve_tag"),
    Rule.of(check_assets, "no_absolute_paths"),
    Rule.of(check_loads, "assets", "no_python", "signature_form", "stock_operations"),
    Rule.of(check_python_model, "config", "loads"),
    Rule.of(check_warmup, "loads", "signatures"),
)


def _list_nodes(export: Export) -> Iterator[node_def_pb2.NodeDef]:
    graph = export.meta_graph.graph_def
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _list_texts(node: node_def_pb2.NodeDef) -> Iterator[bytes]:
    """Returns the texts in the attributes of a node and in its constant."""
    for name, value in node.attr.items():
        # Colocation is written with the names of nodes, which have slashes.
        if name != "_class":
            yield from [value.s, *value.list.s]
        yield from _list_constants(value)


def _list_constants(value: attr_value_pb2.AttrValue) -> Iterator[bytes]:
    if value.HasField("tensor") and value.tensor.dtype == tf.string.as_datatype_enum:
        yield from tf.make_ndarray(value.tensor).ravel().tolist()


def _list_assets(export: Export) -> list[str]:
    return sorted(asset.filename for asset in export.meta_graph.asset_file_def)


def _list_json_texts(values: Any) -> Iterator[bytes]:
    if isinstance(values, str):
        yield values.encode()
    elif isinstance(values, list | dict):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _list_json_texts(value)


def _refuse_paths(texts: set[bytes], place: str) -> None:
    paths = sorted(text for text in texts if _ABSOLUTE_PATH.search(text))
    require(not paths, f"{place} names a path: {b', '.join(paths)[:200].decode(errors='replace')}")
