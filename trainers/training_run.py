"""A training run from its beginning, or its interruption, to the best weights."""

from collections.abc import Callable
from typing import Any

from absl import logging

from tfrec_zoo.experiments import DLRMExperiment, GRU4RecExperiment, SSRExperiment
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.engine import Task, Trainer


def run_in_folder(
    task: Task,
    folder: RunFolder,
    experiment: GRU4RecExperiment | DLRMExperiment | SSRExperiment,
    begin: Callable[[], None],
) -> dict[str, Any]:
    """Trains in an open run folder, or continues there, and loads the best weights.

    Args:
        task: the model with its data.
        folder: opened with `experiment`.
        experiment: as it was asked for.
        begin: is called where there is no run to continue, before the first step: writes what
            belongs to the run, if this process is the chief, and sets other initial weights.

    Returns:
        The numbers of the run, see `Trainer.summarize`.

    Raises:
        ValueError: the run in the folder is of other data, or the loss is not finite any more. In
            the first case the folder is as it was.
    """
    trainer = Trainer(task, experiment.training, folder)
    if trainer.restore():
        state = trainer.state
        if trainer.is_done:
            logging.info("nothing left to train after epoch %d, step %d", state.epoch, state.step)
        else:
            logging.info("continuing in epoch %d after step %d", state.epoch + 1, state.step)
    else:
        begin()
    if task.driver.is_chief:
        folder.update_config(experiment)
    trainer.run()
    trainer.restore_best()
    return trainer.summarize()
