"""Keeps what is freed for the next step, in place of giving it back to the system.

A step of training or scoring allocates some tens of megabytes and frees them again. The C library
would return them to the system each time and have them zeroed page by page for the next step, which
took a third of the time of DLRM's on two cores.
"""

import ctypes

# Parameters of glibc's `mallopt` (malloc.h), and the greatest values that it takes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = {_MMAP_THRESHOLD: 1 << 25, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 1 << 26}


def keep_freed_memory() -> bool:
    """Tells the C library of this process to keep freed memory; returns whether it has agreed.

    Only glibc can be told; elsewhere nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, value) for parameter, value in _SETTINGS.items())
