"""The published preprocessing of session logs (RSC15, Hidasi et al. 2016), for any log.

    1. (option) of clicks on one item that follow each other in a session, keep the first
    2. drop sessions shorter than `min_session_length`
    3. drop items with fewer clicks than `min_item_support`
    4. drop sessions shorter than `min_session_length` again
    5. `test` = the newest sessions: those whose last click is within `test_seconds` of the newest
       click, or the newest `test_fraction` of all; the others are `train_full`
    6. of `test`, drop clicks on items that `train_full` lacks, then sessions of 1 click
    7. split `train_full` into `train` and `validation` by rules 5 and 6

Each rule runs once: dropping sessions in rule 4 may leave an item with less support than asked for,
as in the published script.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tfrec_zoo.config import Config, option
from tfrec_zoo.data.sessions.session_log import SessionLog

# The published script asks for 2 in these parts, whatever the first filter.
_MIN_TEST_LENGTH = 2


@dataclass(frozen=True, kw_only=True)
class PreparationConfig(Config):
    """What is dropped from a log, and how it is split."""

    drop_repeats: bool = option(
        False, "Keep only the first of clicks on one item that follow each other in a session."
    )
    min_session_length: int = option(
        2, "Drop sessions of fewer clicks; the published value is 2, and 1 keeps all."
    )
    min_item_support: int = option(
        5, "Drop items with fewer clicks; the published value is 5, and 1 keeps all."
    )
    test_seconds: float | None = option(
        86400.0,
        "Sessions whose last click is within this many seconds (units of the time column) of the "
        "newest click are the test part; none for no split.",
    )
    test_fraction: float | None = option(
        None,
        "Instead of --test_seconds: this share of the sessions, the newest by their last click, is "
        "the test part. For times that are no clock.",
    )
    use_validation: bool = option(
        True, "Also split the training part, by the same rule, into train and validation."
    )

    def __post_init__(self) -> None:
        """Checks the ranges."""
        super().__post_init__()
        for name in ("min_session_length", "min_item_support"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.test_seconds is not None and self.test_seconds < 0:
            raise ValueError(f"test_seconds must not be negative, got {self.test_seconds}")
        if self.test_fraction is not None and not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction must be between 0 and 1, got {self.test_fraction}")

    @property
    def has_split(self) -> bool:
        """Whether there is a test part."""
        return self.test_seconds is not None or self.test_fraction is not None


@dataclass(frozen=True)
class LogCounts:
    """The size of a log or of a part of it."""

    clicks: int
    sessions: int
    items: int

    @classmethod
    def of(cls, log: SessionLog) -> "LogCounts":
        """Counts `log`."""
        return cls(log.num_clicks, log.num_sessions, log.num_items)


@dataclass(frozen=True)
class RuleCount:
    """What one rule did to one part."""

    part: str
    rule: str
    before: LogCounts
    after: LogCounts


@dataclass(frozen=True, eq=False)
class Preparation:
    """The parts of a log and how they came about.

    Attributes:
        parts: `train_full`, and where the log is split `test`, and where that is asked for
            `train` and `validation`.
        rule_counts: the counts before and after each rule, in the order of the rules.
    """

    parts: dict[str, SessionLog]
    rule_counts: tuple[RuleCount, ...]


def prepare_sessions(log: SessionLog, config: PreparationConfig) -> Preparation:
    """Filters and splits a log by the rules at the head of this module.

    Raises:
        ValueError: a rule leaves nothing, or the log has no times to split by.
    """
    pipeline = _Pipeline()
    if config.drop_repeats:
        log = pipeline.apply("log", "consecutive repeats dropped", log, drop_repeats)
    log = pipeline.drop_short("log", log, config.min_session_length)
    log = pipeline.apply(
        "log",
        f"items >= {config.min_item_support} clicks",
        log,
        lambda log: drop_rare_items(log, config.min_item_support),
    )
    log = pipeline.drop_short("log", log, config.min_session_length)
    parts = {"train_full": log}
    if config.has_split:
        parts["train_full"], parts["test"] = pipeline.split(log, config, "train_full", "test")
        if config.use_validation:
            parts["train"], parts["validation"] = pipeline.split(
                parts["train_full"], config, "train", "validation"
            )
    return Preparation(parts, tuple(pipeline.counts))


def drop_repeats(log: SessionLog) -> SessionLog:
    """Drops each click on the item of the click before it in the same session."""
    is_kept = np.ones(log.num_clicks, bool)
    is_kept[1:] = log.item_codes[1:] != log.item_codes[:-1]
    is_kept[log.offsets[:-1]] = True
    return log.select_clicks(is_kept)


def drop_short_sessions(log: SessionLog, min_length: int) -> SessionLog:
    """Drops sessions of fewer than `min_length` clicks."""
    return log.select_sessions(log.lengths >= min_length)


def drop_rare_items(log: SessionLog, min_support: int) -> SessionLog:
    """Drops clicks on items that have fewer than `min_support` clicks."""
    counts = np.bincount(log.item_codes, minlength=log.num_items)
    return log.select_clicks((counts >= min_support)[log.item_codes])


def find_newest_sessions(
    log: SessionLog, config: PreparationConfig, part: str = "test"
) -> np.ndarray:
    """Returns which sessions are the newest, to be `part`; bool [S].

    Raises:
        ValueError: these are all, or there are no times to go by.
    """
    ends = log.end_times()
    if config.test_fraction is not None:
        num_test = max(1, round(config.test_fraction * log.num_sessions))
        is_test = np.zeros(log.num_sessions, bool)
        is_test[np.argsort(ends, kind="stable")[-num_test:]] = True
    elif log.times is None:
        raise ValueError("the log has no times to split by: set --test_fraction, for file order")
    else:
        is_test = ends >= ends.max() - config.test_seconds
    if is_test.all():
        raise ValueError(
            f"all {log.num_sessions} sessions would go into {part}, since they end between "
            f"{ends.min()} and {ends.max()}: lower --test_seconds or set --test_fraction"
        )
    return is_test


def find_known_clicks(log: SessionLog, is_train: np.ndarray) -> np.ndarray:
    """Returns which clicks are on items of the sessions `is_train`, bool [S]; bool [N]."""
    is_train_click = np.repeat(is_train, log.lengths)
    is_known = np.zeros(log.num_items, bool)
    is_known[log.item_codes[is_train_click]] = True
    return is_known[log.item_codes]


@dataclass
class _Pipeline:
    """Applies rules and keeps the counts."""

    counts: list[RuleCount] = field(default_factory=list)

    def apply(
        self, part: str, rule: str, log: SessionLog, function: Callable[[SessionLog], SessionLog]
    ) -> SessionLog:
        result = function(log)
        self.counts.append(RuleCount(part, rule, LogCounts.of(log), LogCounts.of(result)))
        if not result.num_sessions:
            raise ValueError(
                f"the rule '{rule}' leaves nothing of {part}, which had {log.num_clicks} clicks in "
                f"{log.num_sessions} sessions of up to {log.lengths.max()} clicks on "
                f"{log.num_items} items"
            )
        return result

    def drop_short(self, part: str, log: SessionLog, min_length: int) -> SessionLog:
        rule = f"sessions >= {min_length} clicks"
        return self.apply(part, rule, log, lambda log: drop_short_sessions(log, min_length))

    def split(
        self, log: SessionLog, config: PreparationConfig, older: str, newer: str
    ) -> tuple[SessionLog, SessionLog]:
        is_test = find_newest_sessions(log, config, newer)
        is_known = find_known_clicks(log, ~is_test)
        if config.test_fraction is not None:
            rule = f"newest {config.test_fraction:g} of the sessions"
        else:
            rule = f"last {config.test_seconds:,.10g} s"
        train = self.apply(
            older, f"without the {rule}", log, lambda log: log.select_sessions(~is_test)
        )
        test = self.apply(newer, rule, log, lambda log: log.select_sessions(is_test))
        known = is_known[np.repeat(is_test, log.lengths)]
        test = self.apply(newer, f"items of {older}", test, lambda test: test.select_clicks(known))
        return train, self.drop_short(newer, test, _MIN_TEST_LENGTH)
