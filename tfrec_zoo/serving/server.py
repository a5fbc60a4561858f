"""A server, however it is spoken to: asked again where it is unavailable, within a time."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from tfrec_zoo.serving.answers import Call, Signature, Target
from tfrec_zoo.serving.errors import UNKNOWN, ServingError
from tfrec_zoo.serving.retries import ask_again
from tfrec_zoo.serving.tensors import as_input

_ADDRESS = re.compile(r"(?:(grpcs?)://)?([^/]+:\d+)/?")

Answer = TypeVar("Answer")


class Connection(Protocol):
    """One of the two ways to speak to a server."""

    def predict(self, call: Call, timeout: float) -> dict[str, np.ndarray]:
        """Returns the outputs of a call by name, or raises a ServingError."""

    def describe(self, target: Target, timeout: float) -> dict[str, Signature]:
        """Returns a model's signatures by name, or raises a ServingError."""

    def close(self) -> None:
        """Closes the connection."""


class Server:
    """A server by its address; see `Client` for the arguments."""

    def __init__(
        self, url: str, timeout: float, retries: int, headers: Mapping[str, str], by_rows: bool
    ) -> None:
        """Takes the address and how patient to be.

        Raises:
            ValueError: an argument makes no sense.
        """
        if not (timeout > 0 and math.isfinite(timeout)) or retries < 0:
            raise ValueError(
                f"timeout must be positive and retries not negative, got {timeout} and {retries}"
            )
        self._url, self._timeout, self._retries = url, timeout, retries
        self._connection = _connect(url, headers, by_rows)

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def predict(
        self,
        target: Target,
        signature: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature by name.

        Args:
            target: who is asked.
            signature: which of its signatures.
            inputs: arrays or lists by name.
            outputs: what must be answered; none: anything.

        Raises:
            ServingError: there is no answer, or it lacks one of `outputs`.
            ValueError: the inputs cannot be sent.
        """
        arrays = {name: as_input(value, name) for name, value in inputs.items()}
        call = Call(target, signature, arrays, tuple(outputs))

        def ask(timeout: float) -> dict[str, np.ndarray]:
            found = self._connection.predict(call, timeout)
            if missing := sorted(set(outputs) - set(found)):
                raise ServingError(UNKNOWN, f"answers {sorted(found)}, not {', '.join(missing)}")
            return found

        return self._ask(ask, f"{target}, signature {signature}")

    def describe(self, target: Target) -> dict[str, Signature]:
        """Returns the signatures of a model by name.

        Raises:
            ServingError: there is no answer.
        """
        return self._ask(
            lambda timeout: self._connection.describe(target, timeout), f"{target}, its signatures"
        )

    def _ask(self, ask: Callable[[float], Answer], what: str) -> Answer:
        try:
            return ask_again(ask, self._timeout, self._retries)
        except ServingError as error:
            where = f"{what}, at {self._url}"
            raise ServingError(error.status, error.message, where) from error.__cause__


def _connect(url: str, headers: Mapping[str, str], by_rows: bool) -> Connection:
    if url.startswith(("http://", "https://")):
        from tfrec_zoo.serving.rest import RestConnection

        return RestConnection(url, headers, by_rows)
    address = _ADDRESS.fullmatch(url)
    if not address:
        raise ValueError(
            f"the server's address is {url!r}, expected http://host:8501 for REST, or "
            "grpc://host:8500 or host:8500 for gRPC"
        )
    if by_rows:
        raise ValueError(f"row_format is of REST, and {url} is gRPC: leave it out")
    from tfrec_zoo.serving.rpc import RpcConnection

    scheme, place = address.groups()
    return RpcConnection(place, headers, is_secure=scheme == "grpcs")
