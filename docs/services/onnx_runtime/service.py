"""Answers from an export in ONNX Runtime: no zoo, no TensorFlow.

python service.py served_onnx/1 '[["272660", "257291"], []]'
"""

import sys
from pathlib import Path

import onnxruntime

sys.path.append(str(Path(__file__).resolve().parents[1]))
from numeric_export import NumericExport, Run, answer_command_line  # noqa: E402


def load(export: NumericExport, signature: str) -> Run:
    """Returns the function of a signature, which threads may share."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # for requests; more threads make a request no faster
    session = onnxruntime.InferenceSession(
        str(export.find(signature)), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


if __name__ == "__main__":
    answer_command_line(load, __doc__)
