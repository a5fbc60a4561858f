"""Times of a log: integers stay int64, other numbers become float64, timestamps epoch seconds."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUMBER = "number"
TIMESTAMP = "timestamp"

_TIMESTAMP_TYPES = tuple(
    pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")
)


class BadTimeError(ValueError):
    """A value that is no time: `row` is its place in the array, `value` what is there."""

    def __init__(self, row: int, value: object):
        """Takes the place and the value."""
        super().__init__(f"{value!r} is not a time")
        self.row = row
        self.value = value


def parse_times(values: pa.Array) -> tuple[np.ndarray, str]:
    """Reads times as numbers, or else as ISO-8601 timestamps (UTC unless they name a zone).

    Args:
        values: texts, numbers, timestamps or dates [N].

    Returns:
        times: int64 [N] where all are whole numbers (or whole seconds), else float64 [N].
        kind: `NUMBER` or `TIMESTAMP`; the latter are seconds since 1970-01-01 UTC.

    Raises:
        BadTimeError: the first value that is missing, not finite or of another kind.
    """
    if values.null_count:
        raise BadTimeError(pc.index(pc.is_null(values), True).as_py(), None)
    if not _is_text(values.type):
        return _read_typed(values)
    times = _cast_any(values) or _cast_any(pc.utf8_trim_whitespace(values))
    if times is None:
        raise _find_bad_text(pc.utf8_trim_whitespace(values))
    return times


def _is_text(arrow_type: pa.DataType) -> bool:
    return pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type)


def _read_typed(values: pa.Array) -> tuple[np.ndarray, str]:
    if pa.types.is_temporal(values.type) and not pa.types.is_time(values.type):
        target = pa.timestamp("us") if pa.types.is_date(values.type) else values.type
        return _to_seconds(values.cast(target)), TIMESTAMP
    is_integer = pa.types.is_integer(values.type)
    if not (is_integer or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type)):
        raise BadTimeError(0, values[0].as_py())
    times = values.cast(pa.int64() if is_integer else pa.float64()).to_numpy()
    return _checked_finite(times, values), NUMBER


def _cast_any(texts: pa.Array) -> tuple[np.ndarray, str] | None:
    for number in (pa.int64(), pa.float64()):
        if (cast := _try_cast(texts, number)) is not None:
            return _checked_finite(cast.to_numpy(), texts), NUMBER
    for timestamp in _TIMESTAMP_TYPES:
        if (cast := _try_cast(texts, timestamp)) is not None:
            return _to_seconds(cast), TIMESTAMP
    return None


def _try_cast(texts: pa.Array, target: pa.DataType) -> pa.Array | None:
    try:
        return texts.cast(target)
    except pa.ArrowInvalid:
        return None


def _checked_finite(times: np.ndarray, values: pa.Array) -> np.ndarray:
    is_finite = np.isfinite(times)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise BadTimeError(row, values[row].as_py())
    return times


def _to_seconds(timestamps: pa.Array) -> np.ndarray:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[timestamps.type.unit]
    ticks = timestamps.cast(pa.int64()).to_numpy()
    seconds, rest = np.divmod(ticks, per_second)
    return seconds + rest / per_second if rest.any() else seconds


def _find_bad_text(texts: pa.Array) -> BadTimeError:
    """Bisects for the first text that is not of the kind of the first one."""
    fits = [t for t in (pa.float64(), *_TIMESTAMP_TYPES) if _try_cast(texts[:1], t) is not None]
    bad_rows = []
    for target in fits:
        good, end = 1, len(texts)  # The first `good` are fine, the first `end` are not.
        while end - good > 1:
            middle = (good + end) // 2
            is_fine = _try_cast(texts[good:middle], target) is not None
            good, end = (middle, end) if is_fine else (good, middle)
        bad_rows.append(good)
    row = max(bad_rows, default=0)
    return BadTimeError(row, texts[row].as_py())
