"""What the zoo's models answer, and what a request is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DEFAULT_SIGNATURE = "serving_default"


class Recommendations(NamedTuple):
    """The best items first: raw ids object [B, K], "" where none is left; scores float32 [B, K]."""

    items: np.ndarray
    scores: np.ndarray


class Steps(NamedTuple):
    """The answer to a click, as `Recommendations`, and float32 [B, H_i] of each layer for the next.

    Attributes:
        items: object [B, K].
        scores: float32 [B, K].
        states: to be passed with the next click of the same sessions.
    """

    items: np.ndarray
    scores: np.ndarray
    states: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Target:
    """Who is asked: a model, and of its versions a number, a label, or none for the newest."""

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        """Raises a ValueError where both a version and a label are given."""
        if self.version is not None and self.label is not None:
            raise ValueError(
                f"got version={self.version} and label={self.label!r}: a request is to one of them"
            )

    def __str__(self) -> str:
        """Returns it in words."""
        if self.version is not None:
            return f"model {self.model}, version {self.version}"
        if self.label is not None:
            return f"model {self.model}, label {self.label}"
        return f"model {self.model}"


@dataclass(frozen=True)
class Call:
    """A predict request.

    Attributes:
        target: who is asked.
        signature: which of its signatures.
        inputs: arrays by name, as `tensors.as_input` makes them.
        outputs: the names of what is answered, as far as the caller knows them.
    """

    target: Target
    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: Sequence[str] = ()


class TensorShape(NamedTuple):
    """An input or an output of a signature; None for a size that is free."""

    dtype: np.dtype
    sizes: tuple[int | None, ...]


class Signature(NamedTuple):
    """What a signature takes and answers, by name."""

    inputs: Mapping[str, TensorShape]
    outputs: Mapping[str, TensorShape]
