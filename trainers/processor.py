"""What the processor is good at, where that decides how steps are run."""

from pathlib import Path

import tensorflow as tf

# As Linux names them: products of bfloat16 by AMX and by AVX-512.
_BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}


def multiplies_bfloat16(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Returns whether steps run on processors with instructions for bfloat16.

    TensorFlow's own products use them, by oneDNN; those that XLA compiles do not and are no faster
    than in float32.

    Args:
        cpuinfo: where Linux describes the processors; on other systems there is no such file.
    """
    if tf.config.list_logical_devices("GPU"):
        return False
    try:
        text = Path(cpuinfo).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return not _BFLOAT16_FLAGS.isdisjoint(text.split())
