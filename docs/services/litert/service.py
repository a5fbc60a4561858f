"""Answers from an export in LiteRT, whose shapes are fixed: no zoo, no TensorFlow.

python service.py served_tflite/1 '[["272660", "257291"], []]'
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

sys.path.append(str(Path(__file__).resolve().parents[1]))
from numeric_export import NumericExport, Run, answer_command_line  # noqa: E402


def load(export: NumericExport, signature: str) -> Run:
    """Returns the function of a signature, for any number of requests; not for several threads."""
    runner = Interpreter(model_path=str(export.find(signature))).get_signature_runner()
    shapes = {
        name: described["shape"]
        for name, described in export.signatures[signature]["inputs"].items()
    }

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        count, size = len(next(iter(inputs.values()))), next(iter(shapes.values()))[0]
        parts = []
        for start in range(0, count, size):
            part = {
                name: fit(values[start : start + size], shapes[name])
                for name, values in inputs.items()
            }
            parts.append(runner(**part))
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}

    return run


def fit(values: np.ndarray, shape: list[int]) -> np.ndarray:
    """Returns the last values of each row, and zeros, no click and no request, for missing ones."""
    if len(shape) > 1:
        values = values[:, -shape[1] :]
    missing = [(0, size - have) for size, have in zip(shape, values.shape, strict=True)]
    return np.pad(values, missing)


if __name__ == "__main__":
    answer_command_line(load, __doc__)
