"""What a run is made of, model by model: the contents of `config.json`, the trainers' flags."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from tfrec_zoo.config import Config, option
from tfrec_zoo.data.clicks.click_batch_config import ClickBatchConfig
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.news.history_batch_config import HistoryBatchConfig
from tfrec_zoo.data.news.item_catalogue import MISSING_ITEMS
from tfrec_zoo.data.sessions.batch_config import SessionBatchConfig
from tfrec_zoo.distribution_config import DistributionConfig
from tfrec_zoo.losses.click_config import ClickLossConfig
from tfrec_zoo.losses.contrastive_config import ContrastiveLossConfig
from tfrec_zoo.losses.ranking_config import RankingLossConfig
from tfrec_zoo.models.dlrm_config import DLRMConfig
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig
from tfrec_zoo.models.ssr_config import SSRConfig
from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig

_METRIC_NAME = re.compile(r"(recall|mrr|ndcg)@[1-9][0-9]*")
_HISTORY_METRIC_NAME = re.compile(r"((un)?seen_)?(recall|mrr|ndcg)@[1-9][0-9]*|impression_auc")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """How long to train, when to look at the validation data, what to keep."""

    # Options without a meaning where there are no validation data.
    NEED_VALIDATION: ClassVar[tuple[str, ...]] = ("early_stopping_patience", "validate_every_steps")
    # Metrics of which less is better.
    FALLING_METRICS: ClassVar[tuple[str, ...]] = ("loss",)

    epochs: int = option(
        10, "Passes over the training data.", aliases=("n_epochs",), affects_result=False
    )
    max_steps: int = option(
        0, "Stop after this many steps (whole blocks); 0: no limit.", affects_result=False
    )
    seed: int = option(42, "Of weights, dropout, session order and negatives.")
    steps_per_block: int = option(100, "Steps that one compiled call runs.")
    jit_compile: bool | None = option(
        None,
        "Compile the training steps with XLA; unset: yes, but of DLRM only what lies between the "
        "products where TensorFlow's own are faster: in bfloat16 on a processor that has "
        "instructions for it, in large batches on one with AVX-512. Parameter servers never do.",
        affects_result=False,
    )
    validate_every_epochs: int = option(1, "Epochs between validations.")
    validate_every_steps: int = option(
        0, "Steps between validations within an epoch, rounded up to blocks; 0: none."
    )
    primary_metric: str = option(
        "loss", "Validation metric that picks the best checkpoint and stops early."
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

    def rate(self, metrics: Mapping[str, float]) -> float:
        """Returns the primary one of `metrics`, so signed that more is better."""
        value = metrics[self.primary_metric]
        return -value if self.is_falling else value

    @property
    def is_falling(self) -> bool:
        """Whether less of the primary metric is better."""
        return self.primary_metric in self.FALLING_METRICS

    def is_reached(self, metrics: Mapping[str, float]) -> bool:
        """Returns whether `metrics` are what the training was for, so that it can end."""
        del metrics
        return False

    def refuse_missing_validation(self) -> None:
        """Raises ValueError where an option asks for validation, in a run without such data."""
        for name in self.NEED_VALIDATION:
            if value := getattr(self, name):
                raise ValueError(
                    f"{name}={value} needs validation data (--validation, or that part of prepared "
                    "data), and there is none"
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
class SessionTrainingConfig(TrainingConfig):
    """How long to train, when to look at the validation sessions, what to keep."""

    NEED_VALIDATION: ClassVar[tuple[str, ...]] = (
        *TrainingConfig.NEED_VALIDATION,
        "validation_sessions",
    )

    validation_sessions: int = option(
        0, "Validate on a sample of this many sessions; 0: on all.", aliases=("eval_max_sessions",)
    )
    primary_metric: str = option(
        "recall@20", "Validation metric that picks the best checkpoint and stops early."
    )

    def __post_init__(self) -> None:
        """Refuses a metric that sessions do not have."""
        super().__post_init__()
        if self.validation_sessions < 0:
            raise ValueError(
                f"validation_sessions must be at least 0, got {self.validation_sessions}"
            )
        if not _METRIC_NAME.fullmatch(self.primary_metric):
            raise ValueError(
                "primary_metric must be recall, mrr or ndcg with a cut-off, such as recall@20, got "
                f"{self.primary_metric!r}"
            )


@dataclass(frozen=True, kw_only=True)
class HistoryTrainingConfig(TrainingConfig):
    """How long to train, when to look at the held-out sessions and impressions, what to keep."""

    primary_metric: str = option(
        "recall@20",
        "Validation metric that picks the best checkpoint and stops early: recall, mrr or ndcg "
        "with a cut-off, also as unseen_recall@20 or seen_recall@20, or impression_auc.",
    )

    def __post_init__(self) -> None:
        """Refuses a metric that there is not."""
        super().__post_init__()
        if not _HISTORY_METRIC_NAME.fullmatch(self.primary_metric):
            raise ValueError(
                "primary_metric must be recall, mrr or ndcg with a cut-off, such as recall@20 or "
                f"unseen_recall@20, or impression_auc, got {self.primary_metric!r}"
            )

    @property
    def primary_cut_offs(self) -> tuple[int, ...]:
        """The cut-off of the primary metric, if it has one."""
        cut_off = self.primary_metric.partition("@")[2]
        return (int(cut_off),) if cut_off else ()


@dataclass(frozen=True, kw_only=True)
class ClickTrainingConfig(TrainingConfig):
    """How long to train, when to look at the validation examples, what to keep."""

    NEED_VALIDATION: ClassVar[tuple[str, ...]] = (*TrainingConfig.NEED_VALIDATION, "target_auc")
    FALLING_METRICS: ClassVar[tuple[str, ...]] = ("log_loss", "normalized_entropy")

    epochs: int = option(
        1, "Passes over the training data.", aliases=("nepochs",), affects_result=False
    )
    primary_metric: str = option(
        "auc",
        "Validation metric that picks the best checkpoint and stops early.",
        choices=("auc", "log_loss", "normalized_entropy", "accuracy"),
    )
    redraw_tables: bool = option(
        False,
        "Each epoch starts with newly drawn tables, while the layers train on: further epochs of "
        "rare values then do not overfit (multi-epoch learning, Liu et al. 2023).",
    )
    target_auc: float = option(
        0.0, "Stop once a validation reaches this AUC; 0: never.", ("mlperf_auc_threshold",)
    )

    def __post_init__(self) -> None:
        """Refuses an AUC that is none."""
        super().__post_init__()
        if not 0 <= self.target_auc < 1:
            raise ValueError(f"target_auc must be in [0, 1), got {self.target_auc}")

    def is_reached(self, metrics: Mapping[str, float]) -> bool:
        """Returns whether the AUC is the one to reach."""
        return 0 < self.target_auc <= metrics["auc"]


@dataclass(frozen=True, kw_only=True)
class GRU4RecExperiment(Config):
    """A run of GRU4Rec."""

    PROGRAM: ClassVar[str] = "gru4rec"

    data: SessionLogConfig = field(default_factory=SessionLogConfig)
    model: GRU4RecConfig = field(default_factory=GRU4RecConfig)
    loss: RankingLossConfig = field(default_factory=RankingLossConfig)
    batches: SessionBatchConfig = field(default_factory=SessionBatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: SessionTrainingConfig = field(default_factory=SessionTrainingConfig)
    distribution: DistributionConfig = field(default_factory=DistributionConfig)

    def __post_init__(self) -> None:
        """Refuses combinations that no group can see by itself."""
        super().__post_init__()
        self.distribution.refuse_optimizer(self.optimizer.optimizer)
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


@dataclass(frozen=True, kw_only=True)
class ClickLogConfig(ClickPreparationConfig):
    """Raw click logs: their columns, and how their values become rows (not of prepared data)."""

    columns: str = option(
        "", "Column specification: a JSON file, or the name of one that comes along (criteo)."
    )


@dataclass(frozen=True, kw_only=True)
class DLRMExperiment(Config):
    """A run of DLRM."""

    PROGRAM: ClassVar[str] = "dlrm"

    data: ClickLogConfig = field(default_factory=ClickLogConfig)
    model: DLRMConfig = field(default_factory=DLRMConfig)
    loss: ClickLossConfig = field(default_factory=ClickLossConfig)
    batches: ClickBatchConfig = field(default_factory=ClickBatchConfig)
    # PyTorch's DLRM has this rate and adds 1e-10 to the root. Sums of squares start at 0, so that
    # Adagrad's first step moves each weight by the whole rate: more throws wide layers off.
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.01, epsilon=1e-20)
    )
    training: ClickTrainingConfig = field(default_factory=ClickTrainingConfig)
    distribution: DistributionConfig = field(default_factory=DistributionConfig)

    def __post_init__(self) -> None:
        """Refuses combinations that no group can see by itself."""
        super().__post_init__()
        self.distribution.refuse_optimizer(self.optimizer.optimizer)


@dataclass(frozen=True, kw_only=True)
class ItemLogConfig(SessionLogConfig):
    """Session logs and the table of the items in them."""

    item_columns: str = option(
        "",
        "Column specification of the table of items: a JSON file, or the name of one that comes "
        "along (mind); empty: there is no table, an item is its id.",
    )
    min_count: int = option(
        2, "How often a value must occur in the items of the training log to get its own row."
    )
    learn_from_all: bool = option(
        False, "Learn the values of items from the whole table, not from clicked items alone."
    )
    missing_items: str = option(
        "skip",
        "Clicks on items that the table lacks: left out (skip), or kept as an id alone (keep).",
        choices=MISSING_ITEMS,
    )
    max_bad_rows: int = option(
        0,
        "Rows of the table of items that may be passed over because of what is wrong with them, "
        "each of them named; more end the program.",
    )
    exclude_history: bool = option(
        True, "Items of a session are not recommended to it, nor are they candidates of a metric."
    )

    def __post_init__(self) -> None:
        """Refuses a count without a meaning."""
        super().__post_init__()
        if self.min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {self.min_count}")
        if self.max_bad_rows < 0:
            raise ValueError(f"max_bad_rows must be at least 0, got {self.max_bad_rows}")


@dataclass(frozen=True, kw_only=True)
class SSRExperiment(Config):
    """A run of SSR."""

    PROGRAM: ClassVar[str] = "ssr"

    data: ItemLogConfig = field(default_factory=ItemLogConfig)
    model: SSRConfig = field(default_factory=SSRConfig)
    loss: ContrastiveLossConfig = field(default_factory=ContrastiveLossConfig)
    batches: HistoryBatchConfig = field(default_factory=HistoryBatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: HistoryTrainingConfig = field(default_factory=HistoryTrainingConfig)
    distribution: DistributionConfig = field(default_factory=DistributionConfig)

    def __post_init__(self) -> None:
        """Refuses combinations that no group can see by itself."""
        super().__post_init__()
        self.distribution.refuse_optimizer(self.optimizer.optimizer)
        if self.loss.logq_weight and not self.batches.shared_negatives:
            raise ValueError("logq_weight needs shared negatives, but shared_negatives is off")
