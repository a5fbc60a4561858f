"""What all sides of the DLRM benchmark train: the same arrays, architecture and parameters.

Read in the environment of every side, so it needs NumPy alone.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

EMBEDDING_DIM = 16
BOTTOM_MLP = (512, 256, 64, EMBEDDING_DIM)
TOP_MLP = (512, 256, 1)
LEARNING_RATES = {"sgd": 0.1, "adagrad": 0.01, "rowwise_adagrad": 0.01}


@dataclass(frozen=True)
class Settings:
    """One measurement; passed to the worker process as JSON on its command line."""

    data: str
    optimizer: str = "sgd"
    batch_size: int = 128
    epochs: int = 3
    seed: int = 1
    threads: int = 2
    # The peers know float32 alone.
    precision: str = "float32"

    @property
    def learning_rate(self) -> float:
        """The optimizer's learning rate; accumulators start at 0."""
        return LEARNING_RATES[self.optimizer]

    def to_json(self) -> str:
        """Returns the worker's argument."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_command_line(cls) -> "Settings":
        """Returns what the benchmark has passed to this worker."""
        return cls(**json.loads(sys.argv[1]))


@dataclass(frozen=True, eq=False)
class ClickData:
    """Examples that need no further preparation; the first `num_train` are for training.

    `labels` float32 [N]; `dense` float32 [N, 13], transformed; `ids` int32 [N, F], each feature's
    own rows with 0 for unknown values; `table_sizes` int64 [F], rows of the tables.
    """

    labels: np.ndarray
    dense: np.ndarray
    ids: np.ndarray
    table_sizes: np.ndarray
    num_train: int

    @property
    def num_interactions(self) -> int:
        """The width of what the top MLP is given: the bottom's vector and all pairs."""
        num_vectors = len(self.table_sizes) + 1
        return EMBEDDING_DIM + num_vectors * (num_vectors - 1) // 2

    def save(self, path: str) -> None:
        """Writes the arrays for the workers."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: str) -> "ClickData":
        """Returns what `save` has written."""
        with np.load(path) as arrays:
            values = dict(arrays)
        return cls(**{**values, "num_train": int(values["num_train"])})


def split_rows(start: int, stop: int, size: int) -> Iterator[slice]:
    """Yields the rows from `start` to `stop` in slices of `size`; the last may be shorter."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))
