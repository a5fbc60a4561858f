"""Signals as something that a loop waits for, among other things."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from types import FrameType


class SignalInbox:
    """SIGINT and SIGTERM in the order in which they came; `fileno` is readable after any signal.

    Also after SIGCHLD, the end of a child.
    """

    def __init__(self, wakeup: socket.socket) -> None:
        """Begins empty; see `open_signal_inbox`."""
        self._wakeup = wakeup
        self.received: list[int] = []

    def fileno(self) -> int:
        """Returns what a selector watches."""
        return self._wakeup.fileno()

    def clear(self) -> None:
        """Makes `fileno` unreadable until the next signal."""
        with contextlib.suppress(BlockingIOError):
            while self._wakeup.recv(4096):
                pass


@contextlib.contextmanager
def open_signal_inbox() -> Iterator[SignalInbox]:
    """Returns a context within which signals go to an inbox; for the main thread."""
    with contextlib.ExitStack() as undo:
        reader, writer = (undo.enter_context(end) for end in socket.socketpair())
        reader.setblocking(False)
        writer.setblocking(False)
        inbox = SignalInbox(reader)

        def receive(signal_number: int, _: FrameType | None) -> None:
            if signal_number != signal.SIGCHLD:
                inbox.received.append(signal_number)

        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer.fileno()))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            undo.callback(signal.signal, number, signal.signal(number, receive))
        yield inbox
