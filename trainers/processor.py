"""What the processor is good at, where that decides how steps are run."""

import os
from pathlib import Path

# As Linux names them: products of bfloat16 by AMX and by AVX-512, and vectors of 512 bits.
_BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}
_WIDE_FLAGS = {"avx512f"}
_CPUINFO = "/proc/cpuinfo"


def count_cores() -> int:
    """Returns how many of the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_threads() -> int:
    """Returns on how many threads TensorFlow computes: as the environment says, or one a core.

    Raises:
        ValueError: the environment says no number.
    """
    asked = os.environ.get("TF_NUM_INTRAOP_THREADS") or "0"
    if not asked.isdecimal():
        raise ValueError(
            f"TF_NUM_INTRAOP_THREADS={asked} is no number of threads: set one, or 0 for all cores"
        )
    return int(asked) or count_cores()


def multiplies_bfloat16(cpuinfo: str = _CPUINFO) -> bool:
    """Returns whether steps run on processors with instructions for bfloat16.

    TensorFlow's own products use them, by oneDNN; those that XLA compiles do not and are no faster
    than in float32.

    Args:
        cpuinfo: where Linux describes the processors; on other systems there is no such file.
    """
    return _has_any(_BFLOAT16_FLAGS, cpuinfo)


def has_wide_vectors(cpuinfo: str = _CPUINFO) -> bool:
    """Returns whether steps run on processors with vectors of 512 bits.

    Args:
        cpuinfo: see `multiplies_bfloat16`.
    """
    return _has_any(_WIDE_FLAGS, cpuinfo)


def _has_any(names: set[str], cpuinfo: str) -> bool:
    import tensorflow as tf

    # Not the logical devices: to list those starts TensorFlow's threads.
    if tf.config.list_physical_devices("GPU"):
        return False
    try:
        text = Path(cpuinfo).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return not names.isdisjoint(text.split())
