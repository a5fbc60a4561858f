"""How reading histories become training steps, and against which negatives."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option
from tfrec_zoo.data.news.histories import REPEATS, TARGETS


@dataclass(frozen=True, kw_only=True)
class HistoryBatchConfig(Config):
    """The examples of a log, the batches, and the negatives of a step."""

    batch_size: int = option(128, "Examples of a step.")
    targets: str = option(
        "all",
        "all: every click of a session but its first is a target, of the clicks before; last: the "
        "last click alone.",
        choices=TARGETS,
    )
    max_history: int = option(50, "Most recent clicks that the session tower reads.")
    repeats: str = option(
        "keep",
        "Clicks left out of sessions: none (keep), on the item of the click before (adjacent), on "
        "any item that the session has already (all).",
        choices=REPEATS,
    )
    num_negatives: int = option(256, "Extra negatives of a step.", ("n_sample",))
    popularity_exponent: float = option(
        0.5, "Extra negatives are drawn with p ~ clicks ** this; 0: uniformly.", ("sample_alpha",)
    )
    in_batch_negatives: bool = option(
        True, "The other examples' targets are negatives, too (of shared negatives)."
    )
    shared_negatives: bool = option(
        True, "One set of extra negatives for the whole step, or num_negatives for each example."
    )
    num_shown_negatives: int = option(
        4,
        "Negatives that an example of an impression gets from what was shown with its target and "
        "not clicked (needs impressions).",
    )
    impression_weight: float = option(
        1.0, "How much an example of an impression counts; one of a session log counts 1."
    )
    unknown_rate: float = option(
        0.0,
        "Share of the vocabularies' values of items that are fed as unknown, so that an id does "
        "not make the content superfluous.",
    )

    def __post_init__(self) -> None:
        """Refuses numbers without a meaning."""
        super().__post_init__()
        for name, least in (
            ("batch_size", 1),
            ("max_history", 1),
            ("num_negatives", 0),
            ("popularity_exponent", 0),
            ("num_shown_negatives", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.impression_weight <= 0:
            raise ValueError(f"impression_weight must be positive, got {self.impression_weight}")
        if not 0 <= self.unknown_rate < 1:
            raise ValueError(f"unknown_rate must be in [0, 1), got {self.unknown_rate}")
        has_partners = self.in_batch_negatives and self.shared_negatives and self.batch_size > 1
        if not self.num_negatives and not has_partners:
            raise ValueError(
                "there is nothing to rank against: num_negatives is 0, and in-batch negatives are "
                "off, not shared, or of a batch of one"
            )
