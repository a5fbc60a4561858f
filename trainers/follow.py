"""Evaluation beside a training: the newest checkpoint of its run, again and again as one appears.

Nothing is asked of the training, which may be of any strategy and on other machines that share the
folder: checkpoints are found by the file that names them, written after all others of theirs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from tfrec_zoo.atomic_file import cut_torn_line
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.metrics_table import is_of_group

if TYPE_CHECKING:
    from tfrec_zoo.export.restored import AnyRestored

FLAGS = flags.FLAGS
SECONDS_BETWEEN_LOOKS = 1.0
# Flags that change nothing about the metrics of a checkpoint.
_OTHER_FLAGS = {"run_dir", "follow", "follow_timeout"}

# Returns the metrics of the model, whose weights are those of the checkpoint of this name.
Evaluation = Callable[[str], dict[str, Any]]


class Patience:
    """Waits between looks, and knows when nothing has come for too long."""

    def __init__(
        self,
        seconds: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes how long to wait in vain; it counts from here."""
        self._seconds, self._sleep, self._clock = seconds, sleep, clock
        self.renew()

    def renew(self) -> None:
        """Counts from now."""
        self._start = self._clock()

    def wait(self) -> bool:
        """Waits a moment for the next look; returns False at once where it is too long already."""
        if self._clock() - self._start >= self._seconds:
            logging.info("nothing new for %g s: ending", self._seconds)
            return False
        self._sleep(SECONDS_BETWEEN_LOOKS)
        return True


def await_file(path: Path, patience: Patience) -> None:
    """Waits for a file; ends the program, with exit code 0, where that is in vain."""
    if not path.is_file():
        logging.info("waiting for %s", path)
    while not path.is_file():
        if not patience.wait():
            sys.exit(0)


def await_checkpoint(folder: RunFolder) -> RunFolder:
    """Returns a run folder as soon as it has a checkpoint; otherwise see `await_file`."""
    patience = Patience(FLAGS.follow_timeout)
    await_file(folder.config_path, patience)
    patience.renew()
    await_file(folder.checkpoints_path / "last" / "checkpoint", patience)
    return folder


def follow_run(folder: RunFolder, make_evaluation: Callable[[AnyRestored], Evaluation]) -> None:
    """Evaluates the checkpoints of a run until it is finished, or nothing new comes for too long.

    Args:
        folder: of the run, with a checkpoint.
        make_evaluation: is called once, and prepares the evaluation of a model whose weights change
            from call to call.

    Raises:
        ValueError: time was up, and the newest checkpoint could not be read in all of it.
    """
    cut_torn_line(folder.evaluations_path)
    follower = Follower(folder, make_evaluation, list_given_flags())
    patience = Patience(FLAGS.follow_timeout)
    while not follower.is_finished():
        if follower.look():
            patience.renew()
        elif not patience.wait():
            follower.refuse_unreadable()
            return
    logging.info("the training is finished, and its last checkpoint is evaluated")


def list_given_flags() -> dict[str, Any]:
    """Returns the flags on the command line that say what is evaluated, and how."""
    names = [
        name
        for module, found in FLAGS.flags_by_module_dict().items()
        for name in (flag.name for flag in found if not flag.using_default_value)
        if not module.startswith("absl.") and name not in _OTHER_FLAGS
    ]
    return {name: FLAGS[name].value for name in sorted(names)}


class Follower:
    """Evaluates the newest checkpoint of a run, and remembers in its folder which it has done."""

    def __init__(
        self,
        folder: RunFolder,
        make_evaluation: Callable[[AnyRestored], Evaluation],
        given_flags: dict[str, Any],
    ) -> None:
        """Prepares; what was evaluated under the same flags before counts as done."""
        self._folder, self._make_evaluation, self._flags = folder, make_evaluation, given_flags
        lines = folder.load_evaluations()
        self._done = {line["checkpoint"] for line in lines if line["flags"] == given_flags}
        self._restored: AnyRestored | None = None
        self._evaluate: Evaluation | None = None
        self._error: ValueError | None = None

    def look(self) -> bool:
        """Evaluates the newest checkpoint, where it is new; returns whether it was."""
        path = find_newest(self._folder)
        if path is None or _name(path) in self._done:
            self._error = None
            return False
        try:
            position = self._restore(path)
        except ValueError as error:
            self._note_unreadable(path, error)
            return False
        if self._evaluate is None:
            self._evaluate = self._make_evaluation(self._restored)
        metrics = self._evaluate(_name(path))
        line = {**position, "checkpoint": _name(path), "flags": self._flags, **metrics}
        self._folder.append_evaluation(line)
        self._done.add(_name(path))
        self._error = None
        print(format_evaluation(position, metrics), flush=True)
        return True

    def is_finished(self) -> bool:
        """Returns whether the run has its final metrics, and its last checkpoint is evaluated.

        The metrics may be those of an earlier end, before more epochs were asked for.
        """
        from tfrec_zoo.export.restore import read_experiment
        from tfrec_zoo.trainers.training_state import read_state

        if not self._folder.metrics_path.is_file():
            return False
        path = find_newest(self._folder)
        if path is None or _name(path) not in self._done:
            return False
        training = read_experiment(self._folder).training
        try:
            state = read_state(path)
        except ValueError:
            return False
        return state.is_done(training) and self._folder.load_metrics().get("steps") == state.step

    def refuse_unreadable(self) -> None:
        """Raises the error of the last look, where it found a checkpoint that cannot be read."""
        if self._error:
            raise self._error

    def _restore(self, path: str) -> dict[str, int]:
        """Reads the weights of a checkpoint; returns its step and its epoch, from 1 on."""
        import tensorflow as tf

        from tfrec_zoo.export.restore import restore_again, restore_run
        from tfrec_zoo.trainers.training_state import read_state

        try:
            if self._restored is None:
                self._restored = restore_run(self._folder, path)
            else:
                self._restored = restore_again(self._restored, path)
        # Of files that are cut off, or go away while they are read.
        except (tf.errors.OpError, IndexError, OSError) as error:
            raise ValueError(f"the checkpoint {path} cannot be read: {error}") from None
        state = read_state(path)
        return {"step": state.step, "epoch": state.epoch + (state.block > 0)}

    def _note_unreadable(self, path: str, error: ValueError) -> None:
        """Takes note of a checkpoint that is damaged, or that the training has just removed."""
        if not Path(f"{path}.index").is_file():
            self._error = None
        elif str(error) != str(self._error):
            logging.warning("%s; trying again, or the next one", error)
            self._error = error


def find_newest(folder: RunFolder) -> str | None:
    """Returns the path of the newest whole checkpoint to go on from; None where there is none."""
    import tensorflow as tf

    state = tf.train.get_checkpoint_state(str(folder.checkpoints_path / "last"))
    paths = state.all_model_checkpoint_paths if state else []
    return next((path for path in reversed(paths) if Path(f"{path}.index").is_file()), None)


def format_evaluation(position: dict[str, int], metrics: dict[str, Any]) -> str:
    """Returns the metrics of a checkpoint in a line, without those of groups of events."""
    shown = [
        f"{name} {value:.4f}"
        for name, value in metrics.items()
        if isinstance(value, float) and not is_of_group(name)
    ]
    return f"step {position['step']}, epoch {position['epoch']}: {', '.join(shown)}"


def _name(path: str) -> str:
    return f"{Path(path).parent.name}/{Path(path).name}"
