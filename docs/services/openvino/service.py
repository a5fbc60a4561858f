"""Answers from an export in OpenVINO: no zoo, no TensorFlow.

python service.py served_openvino/1 '[["272660", "257291"], []]'
"""

import sys
from pathlib import Path

import openvino

sys.path.append(str(Path(__file__).resolve().parents[1]))
from numeric_export import NumericExport, Run, answer_command_line  # noqa: E402

# On processors with 16-bit arithmetic OpenVINO would use it, and change the answers.
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


def load(export: NumericExport, signature: str) -> Run:
    """Returns the function of a signature; a thread needs an `InferRequest` of its own."""
    model = openvino.Core().compile_model(str(export.find(signature)), "CPU", OPTIONS)
    request = model.create_infer_request()

    def run(inputs: dict) -> dict:
        outputs = request.infer(inputs)
        return {output.get_any_name(): values.copy() for output, values in outputs.items()}

    return run


if __name__ == "__main__":
    answer_command_line(load, __doc__)
