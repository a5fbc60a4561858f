"""How examples of clicks become training steps."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option


@dataclass(frozen=True, kw_only=True)
class ClickBatchConfig(Config):
    """The batches of a step and the order of the examples."""

    batch_size: int = option(128, "Examples of a batch.", aliases=("mini_batch_size",))
    accumulate_steps: int = option(
        1,
        "Batches whose gradients make one step, the same as one batch of all their examples.",
        aliases=("mlperf_grad_accum_iter",),
    )
    shuffle: bool = option(True, "A new order of the examples each epoch; off: that of the log.")
    shuffle_window: int = option(
        0,
        "Neighbouring examples that are shuffled among each other, the windows in random order, "
        "for data that do not fit into memory; 0: all.",
    )
    unknown_rate: float = option(
        0.0, "Share of the vocabularies' values that are fed as unknown, to train for those."
    )

    def __post_init__(self) -> None:
        """Refuses numbers without a meaning."""
        super().__post_init__()
        for name, least in (("batch_size", 1), ("accumulate_steps", 1), ("shuffle_window", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.shuffle_window and not self.shuffle:
            raise ValueError(f"shuffle_window={self.shuffle_window} needs shuffle, which is off")
        if not 0 <= self.unknown_rate < 1:
            raise ValueError(f"unknown_rate must be in [0, 1), got {self.unknown_rate}")
