"""SSR as the engine sees it: its data, its step, its validation."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tfrec_zoo.data.news.exposures import Exposures
from tfrec_zoo.data.news.held_out import HeldOut
from tfrec_zoo.data.news.history_batches import EXAMPLE_AXES, Block, HistoryBatches
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.news.training_examples import TrainingExamples
from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.drivers.local import LocalDriver
from tfrec_zoo.trainers.history_evaluation import (
    HistoryRanker,
    evaluate_held_out,
    refuse_unmeasured,
)
from tfrec_zoo.trainers.ssr_step import SSRStep
from tfrec_zoo.trainers.training_run import run_in_folder


class SSRTask:
    """A `tfrec_zoo.trainers.engine.Task`: trains SSR on histories."""

    unit = "examples"
    has_init_from = False
    prefers_xla = True
    example_axes = EXAMPLE_AXES

    def __init__(
        self,
        experiment: SSRExperiment,
        catalogue: ItemCatalogue,
        examples: TrainingExamples,
        *,
        validation: HeldOut | None = None,
        exposures: Exposures | None = None,
        cut_offs: tuple[int, ...] = (20,),
        tie_rule: str = "pessimistic",
        driver: LocalDriver | None = None,
    ) -> None:
        """Builds the model and the batches.

        Args:
            experiment: the configuration.
            catalogue: the items, with the clicks that negatives follow.
            examples: of the rows of `catalogue`.
            validation: what `validate` measures; None: there is no validation.
            exposures: how much items were being shown, see `HistoryRanker`.
            cut_offs: of the validation metrics, in addition to that of the primary one.
            tie_rule: see `tfrec_zoo.metrics.ranking`.
            driver: runs the steps; None: on this device.

        Raises:
            ValueError: the model needs times that there are not, or the primary metric cannot be
                measured on the validation data.
        """
        self.driver = driver or LocalDriver()
        self.experiment = experiment
        training, batches = experiment.training, experiment.batches
        if validation is not None:
            refuse_unmeasured(training.primary_metric, validation)

        def make_model() -> SSR:
            return SSR(experiment.model, catalogue.schema, training.seed)

        with self.driver.scope():
            self.model = make_model()
            self.step = SSRStep(self.model, experiment)
        self._evaluated = self.driver.copy_for_evaluation(self.model, make_model)
        batch_size = self.driver.divide(batches.batch_size, "batch_size")
        self._batches = HistoryBatches(
            examples,
            catalogue,
            replace(batches, batch_size=batch_size),
            [store.locate for store in self.model.tables.stores],
            has_ages=self.model.age_scores is not None,
            noise_width=self.model.noise_width,
            steps_per_block=training.steps_per_block,
            seed=training.seed,
        )
        self.num_events = examples.num_examples
        content = zlib.crc32(catalogue.features.fingerprint.encode())
        content = zlib.crc32("\n".join(catalogue.ids).encode(), content)
        if catalogue.times is not None:
            content = zlib.crc32(catalogue.times, content)
        self.fingerprint = f"{examples.fingerprint}, items {content:08x}"
        self.has_perplexity = experiment.loss.loss == "cross_entropy"
        self.has_validation = validation is not None
        self._validation = validation
        self._cut_offs = tuple(sorted({*cut_offs, *training.primary_cut_offs}))
        self._tie_rule = tie_rule
        self.ranker = HistoryRanker(
            self._evaluated,
            catalogue,
            exclude_history=experiment.data.exclude_history,
            exposures=exposures,
        )

    def blocks(self, epoch: int, first_block: int, stream: int = 0) -> Iterator[Block]:
        """Yields the training blocks of a stream, to which they are dealt in turn."""
        count = self.driver.num_streams
        return self._batches.blocks(epoch, first_block * count + stream, count)

    def refresh(self) -> None:
        """Takes the trained weights into the model that is evaluated."""
        self.driver.refresh(self.model, self._evaluated)

    def initial_states(self) -> tuple:
        """Returns nothing: an example holds its whole history."""
        return ()

    def begin_epoch(self, epoch: int) -> None:
        """Does nothing: an epoch begins where the one before has ended."""

    def check(self) -> None:
        """Accepts every model: the engine has looked at the losses."""

    def validate(self) -> dict[str, float]:
        """Returns the metrics of the validation sessions and impressions."""
        metrics = evaluate_held_out(self.ranker, self._validation, self._cut_offs, self._tie_rule)
        return {name: value for name, value in metrics.items() if isinstance(value, float)}


def train_in_folder(
    task: SSRTask, folder: RunFolder, catalogue: ItemCatalogue, experiment: SSRExperiment
) -> dict[str, Any]:
    """Trains in an open run folder, or continues there, see `run_in_folder`.

    Args:
        task: made of the two below.
        folder: opened with `experiment`.
        catalogue: the items, which become part of the run.
        experiment: as it was asked for.
    """

    def begin() -> None:
        if task.driver.is_chief:
            catalogue.save(folder.catalogue_path)

    return run_in_folder(task, folder, experiment, begin)
