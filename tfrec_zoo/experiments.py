"""What a run is made of, model by model: the contents of `config.json`, the trainers' flags."""

import re
from dataclasses import dataclass, field

from tfrec_zoo.config import Config, option
from tfrec_zoo.data.batch_config import SessionBatchConfig
from tfrec_zoo.losses.ranking_config import RankingLossConfig
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig
from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig

_METRIC_NAME = re.compile(r"(recall|mrr|ndcg)@[1-9][0-9]*")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """How long to train, when to look at the validation data, what to keep."""

    epochs: int = option(
        10, "Passes over the training data.", aliases=("n_epochs",), affects_result=False
    )
    max_steps: int = option(
        0, "Stop after this many steps (whole blocks); 0: no limit.", affects_result=False
    )
    seed: int = option(42, "Of weights, dropout, session order and negatives.")
    steps_per_block: int = option(100, "Steps that one compiled call runs.")
    jit_compile: bool = option(True, "Compile the training steps with XLA.")
    validate_every_epochs: int = option(1, "Epochs between validations.")
    validate_every_steps: int = option(
        0, "Steps between validations within an epoch, rounded up to blocks; 0: none."
    )
    validation_sessions: int = option(
        0, "Validate on a sample of this many sessions; 0: on all.", aliases=("eval_max_sessions",)
    )
    primary_metric: str = option(
        "recall@20", "Validation metric that picks the best checkpoint and stops early."
    )
    early_stopping_patience: int = option(
        0, "Stop after this many validations without an improvement; 0: never."
    )
    min_improvement: float = option(0.0, "Smallest gain that counts as an improvement.")
    checkpoint_every_steps: int = option(
        0,
        "Steps between checkpoints within an epoch, rounded up to blocks; 0: one a minute.",
        affects_result=False,
    )
    keep_checkpoints: int = option(
        2, "Latest checkpoints that are kept, beside the best.", affects_result=False
    )
    profile_steps: tuple[int, ...] = option(
        (), "First and last step to profile for TensorBoard.", affects_result=False
    )

    def __post_init__(self) -> None:
        """Refuses numbers without a meaning."""
        super().__post_init__()
        for name, least in (
            ("epochs", 1),
            ("max_steps", 0),
            ("seed", 0),
            ("steps_per_block", 1),
            ("validate_every_epochs", 1),
            ("validate_every_steps", 0),
            ("validation_sessions", 0),
            ("early_stopping_patience", 0),
            ("checkpoint_every_steps", 0),
            ("keep_checkpoints", 1),
            ("min_improvement", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        steps = self.profile_steps
        if steps and (len(steps) != 2 or not 0 < steps[0] <= steps[1]):
            raise ValueError(f"profile_steps needs a first and a last step, got {steps}")

    def refuse_missing_validation(self) -> None:
        """Raises ValueError where an option asks for validation, in a run without such data."""
        for name in ("early_stopping_patience", "validate_every_steps", "validation_sessions"):
            if value := getattr(self, name):
                raise ValueError(
                    f"{name}={value} needs validation data (--validation), and there is none"
                )


@dataclass(frozen=True, kw_only=True)
class SessionLogConfig(Config):
    """What the columns of session logs are called."""

    session_column: str = option("SessionId", "Column of the session ids.", ("session_key",))
    item_column: str = option("ItemId", "Column of the item ids.", ("item_key",))
    time_column: str = option(
        "Time", "Column of the times; empty: clicks are in the order of the file.", ("time_key",)
    )


@dataclass(frozen=True, kw_only=True)
class GRU4RecExperiment(Config):
    """A run of GRU4Rec."""

    data: SessionLogConfig = field(default_factory=SessionLogConfig)
    model: GRU4RecConfig = field(default_factory=GRU4RecConfig)
    loss: RankingLossConfig = field(default_factory=RankingLossConfig)
    batches: SessionBatchConfig = field(default_factory=SessionBatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Refuses combinations that no group can see by itself."""
        super().__post_init__()
        if not _METRIC_NAME.fullmatch(self.training.primary_metric):
            raise ValueError(
                "primary_metric must be recall, mrr or ndcg with a cut-off, such as recall@20, got "
                f"{self.training.primary_metric!r}"
            )
        if self.loss.loss == "cross_entropy" and self.model.score_activation != "linear":
            raise ValueError(
                "loss=cross_entropy has its softmax inside and needs score_activation=linear, got "
                f"score_activation={self.model.score_activation}"
            )
        if self.loss.logq_weight and not self.batches.shared_negatives:
            raise ValueError("logq_weight needs shared negatives, but shared_negatives is off")
        if self.loss.logq_weight and self.batches.is_full_catalogue:
            raise ValueError(
                "logq_weight corrects for sampling, and num_negatives=none samples nothing"
            )
