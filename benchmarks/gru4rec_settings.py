"""What both sides of the GRU4Rec benchmark train: the same data, parameters and threads."""

import dataclasses
import json
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """One measurement; passed to the worker process as JSON on its command line."""

    train: str
    test: str
    loss: str = "cross_entropy"
    lanes: int = 32
    epochs: int = 2
    threads: int = 2
    hidden: int = 100
    negatives: int = 2048

    def to_json(self) -> str:
        """Returns the worker's argument."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_command_line(cls) -> "Settings":
        """Returns what the benchmark has passed to this worker."""
        return cls(**json.loads(sys.argv[1]))


def report(**numbers: float) -> None:
    """Prints a worker's result as the last line of its output."""
    print(json.dumps(numbers), flush=True)
