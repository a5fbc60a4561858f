"""OpenVINO's own format, a graph and its weights. Needs `pip install 'tfrec-zoo[openvino]'`.

OpenVINO reads SavedModels, too, but only `serving_default`, whose inputs are texts; and of ONNX
files not those with loops that read what is outside of them, as a session's loop reads its clicks.
"""

from pathlib import Path

import numpy as np

from tfrec_zoo.export.formats.numeric_signature import Arrays, NumericSignature
from tfrec_zoo.export.formats.runtime_format import Run, RuntimeFormat

# On processors with 16-bit arithmetic OpenVINO would use it, and change the answers.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}


def write_openvino(signature: NumericSignature, path: Path, scratch: Path) -> None:
    """Writes a function as a file of its graph, and beside it the weights, `.bin`."""
    import openvino

    signature.save(scratch, "serving_default")
    # Not openvino.convert_model, which reports every conversion to its makers.
    model = openvino.Core().read_model(str(scratch))
    openvino.save_model(model, path, compress_to_fp16=False)


def load_openvino(path: Path) -> Run:
    """Returns the function of a file in OpenVINO, on the processor."""
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", PRECISION)

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        answer = compiled(dict(inputs))
        return {output.get_any_name(): values for output, values in answer.items()}

    return run


OPENVINO = RuntimeFormat(
    name="openvino",
    suffix=".xml",
    packages=("openvino",),
    extra="openvino",
    write=write_openvino,
    load=load_openvino,
)
