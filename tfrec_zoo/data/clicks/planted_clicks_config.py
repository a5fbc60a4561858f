"""What a world of planted clicks is like; `tfrec_zoo.data.clicks.planted_clicks` draws it."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option
from tfrec_zoo.data.clicks.click_schema import POOLINGS


@dataclass(frozen=True, kw_only=True)
class PlantedClicksConfig(Config):
    """What a world of planted clicks is like; the letters are those of `planted_clicks`."""

    num_dense: int = option(3, "dense features, counts x")
    value_counts: tuple[int, ...] = option(
        (20, 30, 50, 100), "values of each single-valued feature"
    )
    bag_value_counts: tuple[int, ...] = option((20,), "values of each multi-valued feature")
    max_values: int = option(4, "most values in a bag; it has none up to this many")
    pooling: str = option("mean", "what becomes of a bag's values", choices=POOLINGS)
    weighted_bags: bool = option(False, "the values of a bag carry weights")
    zipf_exponent: float = option(1.2, "exponent p of the frequencies of values")
    latent_dim: int = option(2, "width of the latent vectors u")
    click_rate: float = option(0.25, "mean of the true probabilities; it decides the bias")
    first_order_spread: float = option(1.0, "standard deviation of the logit's first-order part")
    interaction_spread: float = option(1.0, "standard deviation of the logit's last sum")
    seed: int = option(0, "decides the world; the examples drawn from it have a seed of their own")

    def __post_init__(self):
        """Refuses values that describe no world.

        Raises:
            ValueError: names the field, what was received and what is expected.
        """
        super().__post_init__()
        at_least = {
            "num_dense": 0,
            "max_values": 2,
            "zipf_exponent": 0,
            "latent_dim": 1,
            "first_order_spread": 0,
            "interaction_spread": 0,
            "seed": 0,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}.")
        for name in ("value_counts", "bag_value_counts"):
            if min(getattr(self, name), default=2) < 2:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, expected at least 2 values of each feature."
                )
        if len(self.value_counts) + len(self.bag_value_counts) < 2:
            raise ValueError(
                f"value_counts is {self.value_counts} and bag_value_counts "
                f"{self.bag_value_counts}, expected at least two features that can meet."
            )
        if not 0 < self.click_rate < 1:
            raise ValueError(f"click_rate is {self.click_rate}, expected more than 0, less than 1.")
