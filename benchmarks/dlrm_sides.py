"""The sides of the DLRM benchmarks: whom they compare, and how one of them is run."""

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from absl import flags
from dlrm_settings import Settings

FLAGS = flags.FLAGS
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Side:
    """A worker script and the environment in which it runs."""

    name: str
    script: str
    python: str = sys.executable
    # Folders that its imports need beside the zoo's own.
    path: tuple[str, ...] = ()
    precision: str = "float32"
    optimizers: tuple[str, ...] = ("sgd", "adagrad", "rowwise_adagrad")

    @property
    def is_zoo(self) -> bool:
        """Whether this is the zoo, and no peer."""
        return self.script == "dlrm_zoo.py"

    def measure(self, settings: Settings) -> dict:
        """Runs the worker and returns what it reports.

        Raises:
            ValueError: the worker has failed; with the last line that it said.
        """
        settings = dataclasses.replace(settings, precision=self.precision)
        path = os.pathsep.join([*map(os.path.abspath, self.path), str(FOLDER.parent)])
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(settings.threads),
            "PYTHONPATH": path,
        }
        command = [self.python, str(FOLDER / self.script), settings.to_json()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"{self.script} failed: {done.stderr.strip().splitlines()[-1:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])


def define_side_flags() -> None:
    """Defines the flags that name the sides."""
    flags.DEFINE_multi_enum(
        "side",
        ["zoo", "official", "tfrs"],
        ["zoo", "official", "tfrs"],
        "Whom to run: the zoo, facebookresearch/dlrm (needs --peer), TensorFlow Recommenders.",
    )
    flags.DEFINE_multi_enum(
        "precision",
        ["float32"],
        ["float32", "mixed_bfloat16"],
        "Precisions of the zoo, each a side of its own; the peers compute in float32.",
    )
    flags.DEFINE_string("peer", None, "Clone of facebookresearch/dlrm.")
    flags.DEFINE_string("peer_python", sys.executable, "Python with the peer's packages.")
    flags.DEFINE_integer("threads", 2, "Threads of a process.", lower_bound=1)


def list_sides() -> list[Side]:
    """Returns the sides that the flags name, the zoo first."""
    sides = []
    if "zoo" in FLAGS.side:
        sides += [Side(f"zoo {kind}", "dlrm_zoo.py", precision=kind) for kind in FLAGS.precision]
    if "official" in FLAGS.side and FLAGS.peer:
        sides.append(Side("official", "dlrm_official.py", FLAGS.peer_python, (FLAGS.peer,)))
    if "tfrs" in FLAGS.side:
        sides.append(Side("tfrs", "dlrm_tfrs.py", optimizers=("sgd", "adagrad")))
    return sides
