"""What a server says when it does not answer."""

# gRPC's names of what can be wrong, for the codes that TensorFlow Serving's REST interface and the
# proxies before it answer. Where several have one code it is the likeliest of them.
_STATUS_OF_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
UNAVAILABLE = "UNAVAILABLE"
DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
INVALID_ARGUMENT = "INVALID_ARGUMENT"
# Of an answer that is none of TensorFlow Serving's.
UNKNOWN = "UNKNOWN"


class ServingError(RuntimeError):
    """A request was not answered.

    Attributes:
        status: gRPC's name of what was wrong, by REST as well: `INVALID_ARGUMENT` (400),
            `NOT_FOUND` (404), `UNAVAILABLE` (503, or nobody there), `DEADLINE_EXCEEDED` (no answer
            in time), `UNKNOWN` and others.
        message: what the server said, or the system where there was none.
    """

    def __init__(self, status: str, message: str, where: str = "") -> None:
        """Takes what was wrong, and where it was asked for."""
        super().__init__(f"{where}: {status}: {message}" if where else f"{status}: {message}")
        self.status = status
        self.message = message


def name_status(code: int) -> str:
    """Returns gRPC's name for a code of HTTP."""
    return _STATUS_OF_CODES.get(code, UNKNOWN)
