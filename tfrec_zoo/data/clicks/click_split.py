"""Which part each row of click data belongs to: train, validation, test, or none.

Rows are ordered by time, and of one time by their place in the files; without times, by their place
alone. The newest are the test part, the newest of the others the validation part. Of the training
rows without a click, a random share may be dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_spill import ClickSpill

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST, DROPPED = range(4)

_SIGN = np.uint64(1 << 63)
_DIGIT_BITS = 16


@dataclass(frozen=True)
class Cut:
    """The oldest row of the newer side: its sort key and its place."""

    key: int
    place: int

    def is_newer(self, keys: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Returns which rows are on the newer side; bool [n]."""
        return (keys > self.key) | ((keys == self.key) & (places >= self.place))


def assign_parts(
    spill: ClickSpill, blocks: Mapping[str, range], config: ClickPreparationConfig, path: Path
) -> np.ndarray:
    """Assigns every row of the spill to a part.

    Args:
        spill: the rows.
        blocks: part -> the blocks of the files that were named for it. Those of `train` are split
            further, as the configuration says.
        config: the split and the share of examples without a click.
        path: of a file for the result, which is as long as the log.

    Returns:
        int8 [N], the place of each row's part in `PARTS`, or `DROPPED`; mapped from `path`.

    Raises:
        ValueError: the split leaves nothing to train on, or needs times and there are none.
    """
    parts = np.memmap(path, np.int8, "w+", shape=(spill.num_rows,))
    log = blocks["train"]
    cuts = find_cuts(spill, log, config)
    for block in range(spill.num_blocks):
        places = np.arange(spill.starts[block], spill.starts[block + 1])
        part = parts[places[0] : places[-1] + 1]
        if block not in log:
            part[:] = VALIDATION if block in blocks["validation"] else TEST
            continue
        keys = _sort_keys(spill, block)
        for number, cut in cuts.items():
            part[cut.is_newer(keys, places)] = number
        if config.negative_keep_rate < 1:
            draws = np.random.default_rng((config.sampling_seed, block)).random(len(part))
            is_negative = (part == TRAIN) & (spill.column("label", block) == 0)
            part[is_negative & (draws >= config.negative_keep_rate)] = DROPPED
    return parts


def find_cuts(spill: ClickSpill, log: range, config: ClickPreparationConfig) -> dict[int, Cut]:
    """Returns the cuts between the parts, `VALIDATION` before `TEST`; none where nothing is cut.

    Raises:
        ValueError: see `assign_parts`.
    """
    num_rows = int(sum(spill.lengths[block] for block in log))
    cuts, num_newer = {}, 0
    if config.test_time is not None:
        cuts[TEST] = _cut_by_time(spill, log, config.test_time)
        num_newer = _count_newer(spill, log, cuts[TEST])
    elif config.test_fraction is not None:
        num_newer = max(1, round(config.test_fraction * num_rows))
        cuts[TEST] = _cut_by_count(spill, log, num_newer)
    if config.validation_fraction is not None and num_newer < num_rows:
        num_newer += max(1, round(config.validation_fraction * (num_rows - num_newer)))
        cuts = {VALIDATION: _cut_by_count(spill, log, num_newer), **cuts}
    if num_newer >= num_rows:
        raise ValueError(
            f"the split of {num_rows} rows into {' and '.join(PARTS[n] for n in reversed(cuts))} "
            "leaves none to train on: lower test_time, test_fraction or validation_fraction"
        )
    return cuts


def _cut_by_time(spill: ClickSpill, log: range, span: float) -> Cut:
    times = (spill.column("time", block) for block in log)
    newest = max((-np.inf if t is None else t.max() for t in times), default=-np.inf)
    if newest == -np.inf:
        raise ValueError(
            "test_time needs the column of times, and the specification names none: set its time, "
            "or test_fraction for the order of the rows"
        )
    return Cut(int(_as_keys(np.array([newest - span]))[0]), spill.num_rows)


def _count_newer(spill: ClickSpill, log: range, cut: Cut) -> int:
    return sum(int((_sort_keys(spill, block) > cut.key).sum()) for block in log)


def _cut_by_count(spill: ClickSpill, log: range, count: int) -> Cut:
    """Returns the cut that has `count` rows on its newer side.

    The key is found digit by digit, from counts of digits, so that memory does not grow with the
    log.
    """
    prefix, left = 0, count
    for shift in range(64 - _DIGIT_BITS, -1, -_DIGIT_BITS):
        counts = np.zeros(1 << _DIGIT_BITS, np.int64)
        for block in log:
            keys = _sort_keys(spill, block) >> np.uint64(shift)
            digits = keys & np.uint64(len(counts) - 1)
            chosen = digits[keys >> np.uint64(_DIGIT_BITS) == prefix]
            counts += np.bincount(chosen.astype(np.int64), minlength=len(counts))
        num_from = np.cumsum(counts[::-1])[::-1]
        digit = int(np.flatnonzero(num_from >= left)[-1])
        left -= int(num_from[digit] - counts[digit])
        prefix = prefix << _DIGIT_BITS | digit
    for block in reversed(log):
        places = np.flatnonzero(_sort_keys(spill, block) == prefix)
        if len(places) >= left:
            return Cut(prefix, int(spill.starts[block] + places[len(places) - left]))
        left -= len(places)
    raise AssertionError("counted more rows than there are")


def _sort_keys(spill: ClickSpill, block: int) -> np.ndarray:
    """Returns uint64 [n] in the order of the times; all equal where there are none."""
    times = spill.column("time", block)
    return np.zeros(spill.lengths[block], np.uint64) if times is None else _as_keys(times)


def _as_keys(times: np.ndarray) -> np.ndarray:
    # The bits of a float are in its order, but for the sign; + 0.0 makes one zero of two.
    bits = (times + 0.0).view(np.uint64)
    return np.where(bits & _SIGN != 0, ~bits, bits | _SIGN)
