"""How sessions become training steps, and against which negatives."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option


@dataclass(frozen=True, kw_only=True)
class SessionBatchConfig(Config):
    """The schedule of sessions and the negatives of a step."""

    schedule: str = option(
        "lanes",
        "lanes: session-parallel, a lane plays one session after the other; sessions: batches of "
        "whole sessions of similar length, with backpropagation through all of their clicks.",
        choices=("lanes", "sessions"),
    )
    num_lanes: int = option(32, "Sessions that are played side by side.", aliases=("batch_size",))
    session_order: str = option(
        "time",
        "Sessions by their first click's time, newly shuffled each epoch, or as in the file.",
        choices=("time", "random", "file"),
    )
    unroll_steps: int = option(
        1, "Clicks that gradients flow back through (schedule=lanes).", aliases=("bptt",)
    )
    max_session_length: int = option(
        0, "Longer sessions are cut into pieces of this many clicks; 0: never."
    )
    num_negatives: int | None = option(
        2048, "Extra negatives of a step; none: every item of the catalogue.", ("n_sample",)
    )
    popularity_exponent: float = option(
        0.5, "Extra negatives are drawn with p ~ count ** this; 0: uniformly.", ("sample_alpha",)
    )
    in_batch_negatives: bool = option(
        True, "The other lanes' targets are negatives, too (of shared negatives)."
    )
    shared_negatives: bool = option(
        True, "One set of extra negatives for the whole step, or num_negatives for each event."
    )

    def __post_init__(self) -> None:
        """Refuses sizes and combinations without a meaning."""
        super().__post_init__()
        for name in ("num_lanes", "unroll_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_session_length and self.max_session_length < 2:
            raise ValueError(
                f"max_session_length must be 0 or at least 2, got {self.max_session_length}"
            )
        if self.schedule == "sessions" and self.unroll_steps != 1:
            raise ValueError(
                f"unroll_steps={self.unroll_steps} belongs to schedule=lanes: whole sessions are "
                "always unrolled in full"
            )
        if self.popularity_exponent < 0:
            raise ValueError(
                f"popularity_exponent must be 0 or positive, got {self.popularity_exponent}"
            )
        self._check_negatives()

    def _check_negatives(self) -> None:
        if self.is_full_catalogue:
            if not self.shared_negatives:
                raise ValueError(
                    "num_negatives=none scores every item, so shared_negatives cannot be off"
                )
            return
        if self.num_negatives < 0:
            raise ValueError(f"num_negatives must be 0 or positive, got {self.num_negatives}")
        if self.num_negatives == 0 and (not self.in_batch_negatives or not self.shared_negatives):
            raise ValueError(
                "there is nothing to rank against: num_negatives is 0, and in-batch negatives are "
                "off or not shared"
            )
        if self.num_negatives == 0 and self.num_lanes * self.unroll_steps < 2:
            raise ValueError("in-batch negatives alone need num_lanes of at least 2, got 1")

    @property
    def is_full_catalogue(self) -> bool:
        """Whether each event is ranked against all items."""
        return self.num_negatives is None
