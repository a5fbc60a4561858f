"""DLRM as the engine sees it: its data, its step, its validation."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from absl import logging

from tfrec_zoo.data.clicks.click_batches import Block, ClickBatches
from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickTable
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.models.dlrm import DLRM, list_stores
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.batch_shards import choose_num_shards
from tfrec_zoo.trainers.click_data import copy_description, warn_of_large_numbers
from tfrec_zoo.trainers.click_evaluation import (
    ClickScorer,
    click_rate,
    evaluate_clicks,
    refuse_constant,
)
from tfrec_zoo.trainers.dlrm_step import DLRMStep
from tfrec_zoo.trainers.dlrm_warm_start import warm_start
from tfrec_zoo.trainers.drivers.local import LocalDriver
from tfrec_zoo.trainers.processor import multiplies_bfloat16
from tfrec_zoo.trainers.table_budget import check_tables
from tfrec_zoo.trainers.training_run import run_in_folder

_CHECKED_EXAMPLES = 4096
_EPOCH_SEED = 104_729
# An AUC this near to 1/2 is that of a model that has learned nothing.
_CHANCE = 1e-3


class DLRMTask:
    """A `tfrec_zoo.trainers.engine.Task`: trains DLRM on clicks."""

    unit = "examples"
    has_perplexity = False
    has_init_from = True

    def __init__(
        self,
        experiment: DLRMExperiment,
        schema: ClickSchema,
        table: ClickTable,
        *,
        validation: ClickTable | None = None,
        driver: LocalDriver | None = None,
    ) -> None:
        """Builds the model and the batches.

        Args:
            experiment: the configuration.
            schema: the features.
            table: the training examples.
            validation: the examples of `validate`; None: there is no validation.
            driver: runs the steps; None: on this device.

        Raises:
            ValueError: the tables do not fit into memory, or there are no examples.
        """
        self.driver = driver or LocalDriver()
        self.experiment = experiment
        training, batches = experiment.training, experiment.batches
        check_tables(list_stores(experiment.model, schema), experiment.optimizer)

        def make_model() -> DLRM:
            return DLRM(experiment.model, schema, training.seed)

        self._num_shards = choose_num_shards(experiment)
        with self.driver.scope():
            self.model = make_model()
            if experiment.model.click_rate_bias:
                self.model.set_click_rate(click_rate(table))
            self.step = DLRMStep(self.model, experiment, num_shards=self._num_shards)
        self._evaluated = self.driver.copy_for_evaluation(self.model, make_model)
        self.scorer = ClickScorer(self._evaluated, num_shards=self._num_shards or 1)
        batch_size = self.driver.divide(batches.batch_size, "batch_size")
        self._batches = ClickBatches(
            table,
            schema,
            replace(batches, batch_size=batch_size),
            [store.locate for store in self.model.tables.stores],
            noise_width=self.model.noise_width,
            steps_per_block=training.steps_per_block,
            seed=training.seed,
        )
        self.example_axes = self._batches.example_axes
        self.num_events = self._batches.num_examples
        self.fingerprint = f"{table.num_rows} examples, checksum {table.fingerprint}"
        self.has_validation = validation is not None
        self._table, self._validation = table, validation
        if self.driver.is_chief:
            warn_of_large_numbers(table.slice(0, _CHECKED_EXAMPLES), schema)

    @property
    def prefers_xla(self) -> bool:
        """Whether steps are faster compiled."""
        is_bfloat16 = self.experiment.model.precision == "mixed_bfloat16"
        return not (self._num_shards or (is_bfloat16 and multiplies_bfloat16()))

    def blocks(self, epoch: int, first_block: int, stream: int = 0) -> Iterator[Block]:
        """Yields the training blocks of a stream, to which they are dealt in turn."""
        count = self.driver.num_streams
        return self._batches.blocks(epoch, first_block * count + stream, count)

    def refresh(self) -> None:
        """Takes the trained weights into the model that is evaluated."""
        self.driver.refresh(self.model, self._evaluated)

    def initial_states(self) -> tuple:
        """Returns nothing: a click has no history."""
        return ()

    def begin_epoch(self, epoch: int) -> None:
        """Draws the tables anew, where that is asked for."""
        training = self.experiment.training
        if training.redraw_tables and epoch:
            self.model.tables.redraw(training.seed + _EPOCH_SEED * epoch)
            self.step.optimizer.forget_tables()

    def check(self) -> None:
        """Raises ValueError where the predictions of training examples are constant or NaN."""
        refuse_constant(self.scorer(self._table.slice(0, _CHECKED_EXAMPLES)))

    def validate(self) -> dict[str, float]:
        """Returns the metrics of the validation examples."""
        metrics = evaluate_clicks(self.scorer, self._validation)
        if abs(metrics["auc"] - 0.5) < _CHANCE:
            logging.warning(
                "AUC %.4f is that of chance: the learning rate may be too high, the labels random",
                metrics["auc"],
            )
        return {name: value for name, value in metrics.items() if isinstance(value, float)}


def train_in_folder(
    task: DLRMTask,
    folder: RunFolder,
    experiment: DLRMExperiment,
    data: PreparedClicks,
    init_from: str | None = None,
) -> dict[str, Any]:
    """Trains in an open run folder, or continues there, see `run_in_folder`.

    Args:
        task: the model with its data.
        folder: opened with `experiment`.
        experiment: as it was asked for.
        data: the data of the task, whose description belongs to the run.
        init_from: the run that a new one starts from, see `warm_start`.
    """

    def begin() -> None:
        if init_from:
            warm_start(task, data.vocabularies(), init_from)
        if task.driver.is_chief:
            copy_description(data, folder)

    return run_in_folder(task, folder, experiment, begin)
