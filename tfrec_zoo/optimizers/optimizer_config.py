"""How weights are updated; free of TensorFlow."""

from dataclasses import dataclass, replace

from tfrec_zoo.config import Config, option

ROW_SPARSE_OPTIMIZERS = ("adagrad", "rowwise_adagrad", "sgd", "adam", "rmsprop", "adadelta")
_KERAS = "keras:"
_ADAGRADS = ("adagrad", "rowwise_adagrad")
_VALUE_ALIASES = {"rwsadagrad": "rowwise_adagrad"}


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Config):
    """The optimizer, its learning rate over the steps, and what happens to the gradients before.

    `optimizer` is one of the zoo's row-sparse ones or, written `keras:Name`, any optimizer of
    `tf_keras.optimizers` (those walk or deduplicate whole tables).
    """

    optimizer: str = option(
        "adagrad",
        f"One of {', '.join(ROW_SPARSE_OPTIMIZERS)}, or keras:Name for tf_keras' own; "
        "rowwise_adagrad is DLRM's rwsadagrad.",
        aliases=("adapt",),
        value_aliases=_VALUE_ALIASES,
    )
    learning_rate: float = option(0.05, "Learning rate (1 is the usual one of adadelta).")
    embedding_optimizer: str | None = option(
        None, "Optimizer of the tables' rows; none: optimizer.", (), None, _VALUE_ALIASES
    )
    embedding_learning_rate: float | None = option(
        None, "Learning rate of the tables' rows; none: learning_rate."
    )
    embedding_schedule: bool = option(
        True, "The rate of the tables' rows follows warm-up and decay, too; off: it is constant."
    )
    initial_accumulator: float = option(
        0.0, "What the sums of squares of adagrad and rowwise_adagrad start at."
    )
    epsilon: float = option(
        1e-6,
        "Guard of adagrad, g / sqrt(a + this): 1e-6 is GRU4Rec's; PyTorch's DLRM has next to none, "
        "which matters in large batches, whose gradients are small.",
    )
    momentum: float = option(
        0.0, "Classical momentum, applied after adaptation; touched rows only."
    )
    l2_penalty: float = option(0.0, "Weight decay per step; touched rows only.", ("lmbd",))
    clip_norm: float = option(0.0, "Largest global gradient norm; 0: no clipping.", ("grad_cap",))
    warmup_steps: int = option(0, "Steps over which the learning rate rises linearly from 0.")
    decay: str = option(
        "constant",
        "Course of the learning rate after the warm-up: constant; linear, cosine or polynomial "
        "(power 2) to decay_floor within decay_steps; exponential (halved every decay_steps).",
        choices=("constant", "linear", "cosine", "polynomial", "exponential"),
    )
    decay_start_step: int = option(0, "Step at which the decay begins.")
    decay_steps: int = option(0, "Length of the decay in steps (half-life for exponential).")
    decay_floor: float = option(0.0, "Smallest share of the learning rate that decay leaves.")

    def __post_init__(self) -> None:
        """Refuses rates out of range and options that the optimizer does not have."""
        super().__post_init__()
        for name in ("optimizer", "embedding_optimizer"):
            value = self.table_optimizer if name != "optimizer" else self.optimizer
            if value not in ROW_SPARSE_OPTIMIZERS and not value.startswith(_KERAS):
                raise ValueError(
                    f"{name} must be one of {', '.join(ROW_SPARSE_OPTIMIZERS)} or keras:Name, "
                    f"got {value!r}"
                )
        if self.table_optimizer.startswith(_KERAS) != self.is_keras:
            raise ValueError(
                "optimizer and embedding_optimizer must both be the zoo's or both keras:Name, got "
                f"{self.optimizer} and {self.embedding_optimizer}"
            )
        self._check_numbers()
        self._check_decay()
        if self.is_keras and (self.momentum or self.l2_penalty):
            raise ValueError(
                f"momentum and l2_penalty belong to the row-sparse optimizers, got {self.optimizer}"
            )
        names = {self.optimizer, self.table_optimizer}
        if self.initial_accumulator and not names & set(_ADAGRADS):
            raise ValueError(
                f"initial_accumulator belongs to {' and '.join(_ADAGRADS)}, got {self.optimizer}"
            )

    def _check_numbers(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.embedding_learning_rate is not None and self.embedding_learning_rate <= 0:
            raise ValueError(
                f"embedding_learning_rate must be positive, got {self.embedding_learning_rate}"
            )
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {self.epsilon}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")
        for name in (
            "l2_penalty",
            "clip_norm",
            "warmup_steps",
            "decay_start_step",
            "initial_accumulator",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or positive, got {getattr(self, name)}")

    def _check_decay(self) -> None:
        if not 0 <= self.decay_floor <= 1:
            raise ValueError(f"decay_floor must be in [0, 1], got {self.decay_floor}")
        if (self.decay != "constant") != (self.decay_steps > 0):
            raise ValueError(
                f"decay and decay_steps go together, got decay={self.decay} with "
                f"decay_steps={self.decay_steps}"
            )
        if self.decay == "constant" and (self.decay_start_step or self.decay_floor):
            raise ValueError(
                "decay_start_step and decay_floor need a decay, got decay=constant with "
                f"decay_start_step={self.decay_start_step}, decay_floor={self.decay_floor}"
            )

    @property
    def is_keras(self) -> bool:
        """Whether the optimizer is one of `tf_keras`."""
        return self.optimizer.startswith(_KERAS)

    @property
    def table_optimizer(self) -> str:
        """The optimizer of the tables' rows."""
        return self.embedding_optimizer or self.optimizer

    @property
    def for_tables(self) -> "OptimizerConfig":
        """What holds for the rows of tables, as a configuration whose `optimizer` is theirs."""
        if self.table_optimizer == self.optimizer:
            return self
        start = self.initial_accumulator if self.table_optimizer in _ADAGRADS else 0.0
        return replace(
            self,
            optimizer=self.table_optimizer,
            embedding_optimizer=None,
            initial_accumulator=start,
        )

    def initial_slot(self, name: str) -> float:
        """Returns what the slot `name` starts at."""
        is_sum = name == "accumulator" and self.optimizer in _ADAGRADS
        return self.initial_accumulator if is_sum else 0.0
