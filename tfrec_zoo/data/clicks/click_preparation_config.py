"""How click data are encoded and split; free of TensorFlow, so that flags are checked at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfrec_zoo.config import Config, option
from tfrec_zoo.data.clicks.click_schema import MAX_ROWS


@dataclass(frozen=True, kw_only=True)
class ClickPreparationConfig(Config):
    """How values become rows, and which examples are for what."""

    min_count: int = option(
        2,
        "Values with fewer training examples share row 0 of their table with unknown ones; 1 keeps "
        "all. A specification may say otherwise for a feature.",
    )
    max_rows: int | None = option(
        None,
        "Features whose table would have more rows than this are hashed to so many.",
        aliases=("max_ind_range",),
    )
    test_fraction: float | None = option(
        None,
        "This share of the examples is the test part: the newest by the time column, the last ones "
        "of the files where there is none.",
    )
    test_time: float | None = option(
        None,
        "Instead of --test_fraction: the test part is the newest this much, in units of the time "
        "column (seconds for timestamps).",
    )
    validation_fraction: float | None = option(
        None, "This share of the other examples, again the newest, is the validation part."
    )
    negative_keep_rate: float = option(
        1.0,
        "Share of the training examples without a click that is kept, drawn at random; each gets "
        "the weight 1 / share, so that predicted probabilities stay right.",
    )
    sampling_seed: int = option(42, "Of the examples drawn by --negative_keep_rate.")
    num_shards: int = option(1, "Files of each part, each a contiguous run of examples.")
    max_bad_rows: int = option(
        0, "Rows with wrong fields, labels or numbers that are passed over, and counted."
    )

    def __post_init__(self) -> None:
        """Checks the ranges."""
        super().__post_init__()
        for name, least in (
            ("min_count", 1),
            ("sampling_seed", 0),
            ("num_shards", 1),
            ("max_bad_rows", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if self.max_rows is not None and not 2 <= self.max_rows <= MAX_ROWS:
            raise ValueError(f"max_rows must be from 2 to {MAX_ROWS}, got {self.max_rows}")
        for name in ("test_fraction", "validation_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value}")
        if self.test_time is not None and self.test_time <= 0:
            raise ValueError(f"test_time must be positive, got {self.test_time}")
        if self.test_time is not None and self.test_fraction is not None:
            raise ValueError("test_time and test_fraction are two ways to say one thing: set one")
        if not 0 < self.negative_keep_rate <= 1:
            raise ValueError(
                f"negative_keep_rate must be above 0, up to 1, got {self.negative_keep_rate}"
            )

    def refuse_two_splits(self, files: Mapping[str, Sequence[str]]) -> None:
        """Raises ValueError where a part is given as `files` (part -> paths) and by a rule, too."""
        rules = {"test": ("test_fraction", "test_time"), "validation": ("validation_fraction",)}
        for part, names in rules.items():
            for name in names:
                if files[part] and getattr(self, name) is not None:
                    raise ValueError(
                        f"the {part} part is given as files and as {name}={getattr(self, name)}: "
                        "choose one of them"
                    )
