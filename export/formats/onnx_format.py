"""ONNX, for ONNX Runtime and whatever else reads it. Needs `pip install 'tfrec-zoo[onnx]'`."""

from pathlib import Path
from typing import Any

import numpy as np

from tfrec_zoo.export.formats.numeric_signature import Arrays, NumericSignature
from tfrec_zoo.export.formats.runtime_format import Run, RuntimeFormat

# The newest that tf2onnx writes; ONNX Runtime reads it since 1.14.
OPSET = 18
# A protocol buffer ends at 2 GiB, and the graph needs some of them.
_MAX_BYTES = 2**31 - 2**24


def write_onnx(signature: NumericSignature, path: Path, scratch: Path) -> None:
    """Writes a function as an ONNX graph whose inputs and outputs have its names."""
    import tf2onnx

    traced = signature.traced
    # Not tf2onnx.convert.from_function, which takes the constants of a function for inputs.
    inputs = [tensor.name for tensor in traced.inputs if tensor.op.name in signature.inputs]
    outputs = [tensor.name for tensor in traced.outputs]
    # TensorFlow has outputs in the order of their names.
    names = [*(name.partition(":")[0] for name in inputs), *sorted(traced.structured_outputs)]
    tf2onnx.convert.from_graph_def(
        tf2onnx.tf_loader.from_function(traced, inputs, outputs),
        input_names=inputs,
        output_names=outputs,
        opset=OPSET,
        custom_op_handlers={"SelectV2": (_select, [])},
        tensors_to_rename=dict(zip([*inputs, *outputs], names, strict=True)),
        output_path=str(path),
    )


def _select(graph: Any, node: Any, name: str, args: list) -> Any:
    """Converts `tf.where` to what it is in ONNX.

    By itself tf2onnx makes products with 0 and 1 of it, and 0 times -inf is no number.
    """
    node.type = "Where"
    return node


def load_onnx(path: Path) -> Run:
    """Returns the function of a file in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


ONNX = RuntimeFormat(
    name="onnx",
    suffix=".onnx",
    packages=("tf2onnx", "onnxruntime"),
    extra="onnx",
    write=write_onnx,
    load=load_onnx,
    max_bytes=_MAX_BYTES,
)
