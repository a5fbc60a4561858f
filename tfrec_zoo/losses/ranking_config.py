"""Which ranking loss a model is trained with; free of TensorFlow."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option

LOSSES = ("cross_entropy", "bpr", "bpr_mean", "bpr_max", "top1", "top1_max")
PEER_LOSS_NAMES = {
    "cross-entropy": "cross_entropy",
    "xe_logit": "cross_entropy",
    "bpr-max": "bpr_max",
    "top1-max": "top1_max",
}


@dataclass(frozen=True, kw_only=True)
class RankingLossConfig(Config):
    """The loss of an event against its candidates: the own target and the negatives."""

    loss: str = option(
        "cross_entropy", "The ranking loss.", choices=LOSSES, value_aliases=PEER_LOSS_NAMES
    )
    logq_weight: float = option(
        0.0, "Share of the log-popularity taken off the scores (cross_entropy only).", ("logq",)
    )
    label_smoothing: float = option(
        0.0, "Target mass given to the other candidates (cross_entropy only).", ("smoothing",)
    )
    score_penalty: float | None = option(
        None, "Weight of the negatives' squared scores (bpr_max only; 1.0 there).", ("bpreg",)
    )
    remove_accidental_hits: bool = option(
        False, "Leave out negatives that equal the row's own target."
    )
    loss_reduction: str = option(
        "lanes",
        "Sum of a step's losses divided by its lanes times its clicks (lanes), by the number of "
        "valid events (events), or by nothing (sum).",
        choices=("lanes", "events", "sum"),
    )

    def __post_init__(self) -> None:
        """Refuses options that the chosen loss does not have."""
        super().__post_init__()
        for name, top in (("logq_weight", 1.0), ("label_smoothing", 1.0)):
            value = getattr(self, name)
            if not 0 <= value <= top:
                raise ValueError(f"{name} must be in [0, {top:g}], got {value}")
            if value and self.loss != "cross_entropy":
                raise ValueError(f"{name}={value} needs loss=cross_entropy, got loss={self.loss}")
        if self.score_penalty is not None:
            if self.loss != "bpr_max":
                raise ValueError(f"score_penalty needs loss=bpr_max, got loss={self.loss}")
            if self.score_penalty < 0:
                raise ValueError(f"score_penalty must be 0 or positive, got {self.score_penalty}")

    @property
    def effective_score_penalty(self) -> float:
        """The penalty that holds: 1.0, as in the original, where nothing else is said."""
        return 1.0 if self.score_penalty is None else self.score_penalty
