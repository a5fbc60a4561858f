"""The checkpoints of a run: the last ones, to go on from, and the best."""

import shutil
from typing import Any

import tensorflow as tf

from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.training_state import (
    CheckpointedState,
    TrainingState,
    read_lane_shape,
    read_state,
)


class RunCheckpoints:
    """Weights, optimizer, position and lanes' states of a run, in its folder.

    Of processes that train together the chief writes; all of them read.
    """

    def __init__(self, task: Any, folder: RunFolder, max_to_keep: int) -> None:
        """Takes what is to be kept; nothing is read or written yet.

        Args:
            task: see `tfrec_zoo.trainers.engine.Task`.
            folder: of the run.
            max_to_keep: of the last ones.
        """
        self._task, self._driver, self._folder = task, task.driver, folder
        self._stored = CheckpointedState(task.initial_states())
        self._checkpoint = tf.train.Checkpoint(
            model=task.step.model, optimizer=task.step.optimizer, state=self._stored
        )
        self._last = self._manage("last", max_to_keep)
        self._best = self._manage("best", 1)

    def _manage(self, name: str, max_to_keep: int) -> tf.train.CheckpointManager:
        path = str(self._folder.checkpoints_path / name)
        return tf.train.CheckpointManager(self._checkpoint, path, max_to_keep)

    def restore_last(self) -> tuple[TrainingState, Any] | None:
        """Goes back to the last checkpoint.

        Returns:
            The position, and the lanes' states as the driver deals them; None where there is no
            checkpoint. Then a best one, of a run that wrote no last one, is removed.

        Raises:
            ValueError: the checkpoint cannot be continued, or was trained on other data, or by
                another version of the zoo.
        """
        path = self._driver.decide(lambda: self._last.latest_checkpoint)
        if not path:
            if self._driver.is_chief and self._best.latest_checkpoint:
                shutil.rmtree(self._best.directory)
                self._best = self._manage("best", 1)
            return None
        # First, since weights for other data may have other shapes.
        self._refuse_other_data(read_state(path).data_fingerprint)
        self._refuse_other_lanes(path)
        try:
            self._checkpoint.restore(path).assert_consumed()
        # What other variables, other shapes and other types end in.
        except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"the checkpoint {path} has other variables than this version of the zoo trains: "
                "continue the run with the version that began it, or choose another --run_dir"
            ) from error
        state, lane_states = self._stored.load()
        return state, self._driver.deal(lane_states)

    def restore_best(self) -> None:
        """Loads the weights of the best validation, where there was one."""
        path = self._driver.decide(lambda: self._best.latest_checkpoint)
        if path:
            self._checkpoint.restore(path).assert_existing_objects_matched()

    def save_last(self, state: TrainingState, lane_states: Any) -> None:
        """Writes a checkpoint to go on from."""
        self._save(self._last, state, lane_states)

    def save_best(self, state: TrainingState, lane_states: Any) -> None:
        """Writes the checkpoint of the best validation so far."""
        self._save(self._best, state, lane_states)

    def _save(
        self, manager: tf.train.CheckpointManager, state: TrainingState, lane_states: Any
    ) -> None:
        collected = self._driver.collect(lane_states)
        if self._driver.is_chief:
            self._stored.store(state, collected)
            manager.save(checkpoint_number=state.step)

    def _refuse_other_data(self, fingerprint: str) -> None:
        # The data of others may be parts of their own.
        if self._driver.is_chief and fingerprint != self._task.fingerprint:
            start = ", with --init_from to start from that run" if self._task.has_init_from else ""
            raise ValueError(
                f"the run in {self._folder.path} was trained on other data "
                f"({fingerprint}; now: {self._task.fingerprint}): give the same data, or choose "
                f"another --run_dir{start}"
            )

    def _refuse_other_lanes(self, checkpoint: str) -> None:
        for number, variable in enumerate(self._stored.lane_states):
            shape = read_lane_shape(checkpoint, number)
            if shape != variable.shape:
                raise ValueError(
                    f"the run in {self._folder.path} has {shape[0]} lanes in all, and now there "
                    f"would be {variable.shape[0]}: continue it with as many workers as before"
                )
