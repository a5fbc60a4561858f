"""What a world of planted news is like; `tfrec_zoo.data.news.planted_news` draws it."""

from dataclasses import dataclass

from tfrec_zoo.config import Config, option


@dataclass(frozen=True, kw_only=True)
class PlantedNewsConfig(Config):
    """What a world of planted news is like; the letters are those of `planted_news`."""

    num_periods: int = option(30, "periods of an hour, one after the other; the last one is new")
    items_per_period: int = option(60, "items that appear at the start of each period")
    lifetime: int = option(5, "periods that an item is there")
    taste_dim: int = option(8, "numbers D of a taste vector")
    num_readers: int = option(24, "kinds R of readers, of which a session is one")
    num_words: int = option(600, "words that say something of a taste")
    num_fillers: int = option(60, "words that say nothing")
    title_words: int = option(6, "words of a title that say something")
    title_fillers: int = option(2, "words of a title that say nothing")
    word_focus: float = option(6.0, "how closely the words of a title agree")
    choice_sharpness: float = option(8.0, "factor b of the taste in the choice of an item")
    min_length: int = option(3, "clicks of a session at least")
    max_length: int = option(10, "clicks of a session at most")
    seed: int = option(0, "decides the world; the sessions drawn from it have a seed of their own")

    def __post_init__(self) -> None:
        """Refuses values that describe no world.

        Raises:
            ValueError: names the field, what was received and what is expected.
        """
        super().__post_init__()
        least = dict.fromkeys(
            ("items_per_period", "lifetime", "taste_dim", "num_readers", "num_words"), 1
        )
        least |= {"num_periods": 2, "title_words": 1, "min_length": 2, "max_length": 2}
        least |= dict.fromkeys(("num_fillers", "title_fillers", "seed"), 0)
        least |= {"word_focus": 0, "choice_sharpness": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {value}.")
        if self.max_length < self.min_length:
            raise ValueError(
                f"max_length is {self.max_length}, expected min_length or more, {self.min_length}."
            )
        if self.max_length > self.items_per_period:
            raise ValueError(
                f"max_length is {self.max_length}, expected at most items_per_period, "
                f"{self.items_per_period}: a session has each item once."
            )
        if self.title_fillers and not self.num_fillers:
            raise ValueError(f"title_fillers is {self.title_fillers}, but num_fillers is 0.")
