"""ONNX, for ONNX Runtime and whatever else reads it. Needs `pip install 'tfrec-zoo[onnx]'`."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_zoo.export.formats.numeric_signature import Arrays, NumericSignature
from tfrec_zoo.export.formats.runtime_format import Run, RuntimeFormat

# The newest that tf2onnx writes; ONNX Runtime reads it since 1.14.
OPSET = 18
# A protocol buffer ends at 2 GiB, and the graph needs some of them.
_MAX_BYTES = 2**31 - 2**24


def write_onnx(signature: NumericSignature, path: Path, scratch: Path) -> None:
    """Writes a function as an ONNX graph whose inputs and outputs have its names."""
    import tf2onnx

    def answer(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature.function(**dict(zip(signature.inputs, tensors, strict=True)))

    tf2onnx.convert.from_function(
        tf.function(answer, autograph=False),
        input_signature=list(signature.inputs.values()),
        opset=OPSET,
        output_path=str(path),
    )


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
