"""LiteRT, once TensorFlow Lite, for phones and small machines: fixed shapes.

The files are written by TensorFlow itself; to try them needs `pip install 'tfrec-zoo[litert]'`.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_zoo.export.formats.numeric_signature import Arrays, NumericSignature
from tfrec_zoo.export.formats.runtime_format import Run, RuntimeFormat

# The offsets in a flat buffer are signed, and the graph needs some of them.
_MAX_BYTES = 2**31 - 2**24


def write_tflite(signature: NumericSignature, path: Path, scratch: Path) -> None:
    """Writes a function as a file with one signature of its name."""
    signature.save(scratch, signature.name)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(scratch), signature_keys=[signature.name]
    )
    path.write_bytes(converter.convert())


def load_tflite(path: Path) -> Run:
    """Returns the function of a file in LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner()

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        return runner(**inputs)

    return run


TFLITE = RuntimeFormat(
    name="tflite",
    suffix=".tflite",
    packages=("ai_edge_litert",),
    extra="litert",
    write=write_tflite,
    load=load_tflite,
    has_fixed_shapes=True,
    max_bytes=_MAX_BYTES,
)
