"""The rules that TensorFlow Serving, and other runtimes of SavedModels, hold every model to."""

import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

from tfrec_zoo.export.conformance import Export, Rule, require
from tfrec_zoo.export.warmup import MAX_REQUESTS, read_warmup_requests

_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"}
# A path from the root, at the start of a text or within a name that TensorFlow made of one.
_ABSOLUTE_PATH = re.compile(rb"(?:^|[\s_:=])(?:/[\w.-]+){2,}|(?:^|[\s_])[A-Za-z]:\\")


def check_version_folder(export: Export) -> str:
    """A version's folder is named by a positive number and has model, weights and assets."""
    name = export.path.resolve().name
    require(
        name.isascii() and name.isdigit() and int(name) > 0,
        f"the folder's name is {name!r}, and a server takes only positive numbers for versions",
    )
    files = ("saved_model.pb", "variables/variables.index", "assets/config.json")
    missing = [file for file in files if not (export.path / file).is_file()]
    require(not missing, f"{', '.join(missing)} missing")
    return f"version {int(name)}"


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
    """The graph names no file of the machine that it was exported on."""
    texts = {text for node in _list_nodes(export) for text in _list_texts(node)}
    paths = sorted(text for text in texts if _ABSOLUTE_PATH.search(text))
    require(not paths, f"a path is inside the graph: {b', '.join(paths)[:200].decode()}")
    return f"{len(texts)} texts"


def check_loads(export: Export) -> str:
    """TensorFlow loads the model with all its variables and assets."""
    missing = set(export.signature_defs) - set(export.loaded.signatures)
    require(not missing, f"loaded without the signatures {', '.join(sorted(missing))}")
    return f"{len(export.loaded.signatures)} signatures"


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


SERVING_RULES = tuple(
    map(
        Rule.of,
        (
            check_version_folder,
            check_serve_tag,
            check_signature_form,
            check_stock_operations,
            check_no_python,
            check_no_absolute_paths,
            check_loads,
            check_warmup,
        ),
    )
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
