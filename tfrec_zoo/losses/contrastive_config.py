"""Which contrastive loss a model is trained with; free of TensorFlow."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option

CONTRASTIVE_LOSSES = ("cross_entropy", "hinge")


@dataclass(frozen=True, kw_only=True)
class ContrastiveLossConfig(Config):
    """The loss of a session's vector against those of its target and its negatives."""

    loss: str = option(
        "cross_entropy",
        "cross_entropy: softmax over target and negatives of scores / temperature; hinge: the mean "
        "over the negatives of max(0, margin - score of the target + score of the negative).",
        choices=CONTRASTIVE_LOSSES,
        value_aliases={"softmax": "cross_entropy"},
    )
    temperature: float = option(0.1, "Scores are divided by it (cross_entropy only).")
    margin: float = option(0.8, "By how much a target should be ahead (hinge only).")
    logq_weight: float = option(
        0.0,
        "Share of the log-probability of having been drawn that is taken off a negative's score "
        "(cross_entropy with shared negatives only).",
        ("logq",),
    )
    remove_accidental_hits: bool = option(
        True, "Leave out negatives that equal the example's own target."
    )
    num_hard_negatives: int = option(
        0, "Only this many negatives of each example, the best scored, count; 0: all."
    )

    def __post_init__(self) -> None:
        """Refuses numbers without a meaning and options that the loss does not have."""
        super().__post_init__()
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.margin < 0:
            raise ValueError(f"margin must be 0 or positive, got {self.margin}")
        if not 0 <= self.logq_weight <= 1:
            raise ValueError(f"logq_weight must be in [0, 1], got {self.logq_weight}")
        if self.logq_weight and self.loss != "cross_entropy":
            raise ValueError(
                f"logq_weight={self.logq_weight} needs loss=cross_entropy, got loss={self.loss}"
            )
        if self.num_hard_negatives < 0:
            raise ValueError(
                f"num_hard_negatives must be 0 or positive, got {self.num_hard_negatives}"
            )
        if self.num_hard_negatives and not self.remove_accidental_hits:
            raise ValueError(
                "num_hard_negatives needs remove_accidental_hits: the hardest negative of all is "
                "the target itself"
            )
