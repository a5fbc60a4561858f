"""How click predictions are judged in training; free of TensorFlow."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option


@dataclass(frozen=True, kw_only=True)
class ClickLossConfig(Config):
    """The binary cross-entropy of a click."""

    positive_weight: float = option(1.0, "Factor of the losses of clicks.")
    label_smoothing: float = option(
        0.0, "Labels move towards 1/2: 1 becomes 1 - this / 2, 0 becomes this / 2."
    )

    def __post_init__(self) -> None:
        """Refuses numbers without a meaning."""
        super().__post_init__()
        if self.positive_weight <= 0:
            raise ValueError(f"positive_weight must be positive, got {self.positive_weight}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
