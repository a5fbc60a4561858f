"""The C library keeps freed memory, where it can be told to."""

import platform
import subprocess
import sys

import pytest

CODE = """
import ctypes, resource
from tfrec_zoo.freed_memory import keep_freed_memory

assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def use():
    pieces = [libc.malloc(ctypes.c_size_t(20 << 20)) for _ in range(5)]
    for piece in pieces:
        ctypes.memset(piece, 1, 20 << 20)
    for piece in pieces:
        libc.free(piece)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_is_freed_is_used_again():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    # Given back and taken anew, ten times 100 MiB are 256,000 pages.
    assert int(run.stdout) < 5_000
