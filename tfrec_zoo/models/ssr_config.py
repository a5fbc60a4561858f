"""What the two towers of SSR are made of; free of TensorFlow, so that flags are checked at once."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option

SESSION_ENCODERS = ("gru", "mean")
SESSION_POOLINGS = ("max", "last", "mean")


@dataclass(frozen=True, kw_only=True)
class SSRConfig(Config):
    """The towers of Sequence Semantic Retrieval (PaddlePaddle's SSR; Song et al. 2016)."""

    embedding_dim: int = option(128, "Width of the features' rows, which both towers share.")
    hidden_dim: int = option(128, "Units of the session tower's GRU.")
    vector_dim: int = option(128, "Width of the session and item vectors.")
    session_encoder: str = option(
        "gru",
        "gru: a GRU over the clicks, pooled by session_pooling; mean: their mean, without order.",
        choices=SESSION_ENCODERS,
    )
    session_pooling: str = option(
        "max", "What of the GRU's outputs becomes the session.", choices=SESSION_POOLINGS
    )
    normalize: bool = option(True, "Vectors have length 1: scores are cosines.")
    item_dropout: float = option(0.0, "Dropout of the clicks' inputs to the session tower.")
    table_init_scale: float = option(
        0.0, "Rows start in U(-s, s) with this s; 0: sqrt(1 / rows of the feature)."
    )
    age_buckets: int = option(
        0,
        "Recency: what an item's age at the time of the request adds to its score, learned for "
        "this many ages, each half as long again as the one before; 0: nothing.",
    )
    age_unit: float = option(
        900.0, "The first of the ages ends here, in the unit of the times (seconds)."
    )
    exposure_weight: float = option(
        0.0,
        "What it adds to an item's score that it is being shown e times as much, as impressions "
        "tell; not learned: the temperature makes it the odds of being shown; 0: nothing.",
    )
    exposure_half_life: float = option(
        3600.0, "A show that is this long ago counts half, in the unit of the times (seconds)."
    )
    exposure_prior: float = option(0.05, "Shows that every item has beside its own.")
    click_rate_weight: float = option(
        0.0,
        "What it adds to an item's score that it has been clicked e times as often as others, when "
        "it was shown, as impressions tell; 0: nothing.",
    )
    click_rate_prior: float = option(
        10.0, "Shows, clicked as often as all, that an item's click rate is made of beside its own."
    )

    def __post_init__(self) -> None:
        """Refuses sizes and combinations without a meaning."""
        super().__post_init__()
        for name in ("embedding_dim", "hidden_dim", "vector_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.item_dropout < 1:
            raise ValueError(f"item_dropout must be in [0, 1), got {self.item_dropout}")
        for name in ("exposure_weight", "click_rate_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")
        for name in ("exposure_half_life", "exposure_prior", "click_rate_prior"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.age_buckets < 0 or self.age_unit <= 0:
            raise ValueError(
                "age_buckets must be 0 or positive and age_unit positive, got "
                f"{self.age_buckets} and {self.age_unit}"
            )
        if self.table_init_scale < 0:
            raise ValueError(f"table_init_scale must be 0 or positive, got {self.table_init_scale}")

    @property
    def asks_impressions(self) -> bool:
        """Whether scores depend on what impressions tell of an item."""
        return self.exposure_weight > 0 or self.click_rate_weight > 0
