"""One process of a launched job: its output line by line, signals to it, and its end."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TextIO

_PR_SET_PDEATHSIG = 1
_CHUNK_BYTES = 65_536


class PrefixedOutput:
    """Passes on what a process writes, a whole line at a time, each behind a prefix."""

    def __init__(self, source: IO[bytes], target: TextIO, prefix: str) -> None:
        """Begins; `source` is read without waiting from now on."""
        self.source = source
        self._target = target
        self._prefix = prefix.encode()
        self._rest = b""
        os.set_blocking(source.fileno(), False)

    def forward(self) -> bool:
        """Passes on the next lines; returns whether there was something, which may come again."""
        chunk = self.source.read(_CHUNK_BYTES)
        if not chunk:
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _CHUNK_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        self._write(lines)
        return True

    def close(self) -> None:
        """Passes on what is left, the last line even if it has no end."""
        while self.forward():
            pass
        self._write([self._rest] if self._rest else [])
        self.source.close()

    def _write(self, lines: Sequence[bytes]) -> None:
        if lines:
            self._target.flush()
            self._target.buffer.write(b"".join(self._prefix + line + b"\n" for line in lines))
            self._target.flush()


class TaskProcess:
    """A process with a process group of its own, which lives no longer than this one.

    What it has started itself belongs to its group, and ends with it.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], prefix: str) -> None:
        """Starts the process.

        Args:
            command: the program and its arguments.
            environment: of the process, whole.
            prefix: stands before each line of its output.

        Raises:
            OSError: the program cannot be run.
        """
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            preexec_fn=_make_mortal(),
        )
        self.outputs = [
            PrefixedOutput(self._process.stdout, sys.stdout, prefix),
            PrefixedOutput(self._process.stderr, sys.stderr, prefix),
        ]

    @property
    def pid(self) -> int:
        """The number of the process, and of its group."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Returns whether the process has ended; what it wrote may still be on its way."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def finish(self) -> int:
        """Ends the group of a process that has ended, and passes on the last that it wrote.

        Returns:
            The exit code, negative the number of the signal that ended the process.
        """
        # As long as nobody has asked for the exit code, no other group can have this number.
        self.send(signal.SIGKILL)
        code = self._process.wait()
        for output in self.outputs:
            output.close()
        return code

    def abandon(self) -> None:
        """Kills the process and its group, and drops what they wrote."""
        self.send(signal.SIGKILL)
        self._process.wait()
        for output in self.outputs:
            output.source.close()

    def send(self, signal_number: int) -> None:
        """Sends a signal to the process and all of its group; before `finish` and `abandon`."""
        os.killpg(self.pid, signal_number)


def describe_end(code: int) -> str:
    """Returns how a process with this exit code ended, as the end of a sentence."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def to_exit_code(code: int) -> int:
    """Returns the exit code of a program whose process ended so; signals as shells have them."""
    return 128 - code if code < 0 else code


def _make_mortal() -> Callable[[], None] | None:
    """Returns what a child does first, so that the kernel kills it when this process has ended.

    It runs between fork and exec, and so does as little as it can. Linux alone has that call.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def run_in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # It may have ended before the call.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return run_in_child
