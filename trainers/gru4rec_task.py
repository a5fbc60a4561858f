"""GRU4Rec as the engine sees it: its data, its step, its validation."""

import dataclasses
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfrec_zoo.config import Config
from tfrec_zoo.data.sessions.session_batches import EXAMPLE_AXES, Block, SessionBatches
from tfrec_zoo.data.sessions.session_log import Sessions
from tfrec_zoo.distributed_variables import write_rows
from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.export.restore import restore_gru4rec
from tfrec_zoo.models.gru4rec import GRU4Rec, States
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.drivers.local import LocalDriver
from tfrec_zoo.trainers.gru4rec_step import GRU4RecStep
from tfrec_zoo.trainers.session_evaluation import SessionRanker, evaluate_sessions
from tfrec_zoo.trainers.training_run import run_in_folder
from tfrec_zoo.vocabulary import Vocabulary

# What the seeds of two streams differ by.
_STREAM_SEED = 15_485_863


class GRU4RecTask:
    """A `tfrec_zoo.trainers.engine.Task`: trains GRU4Rec on sessions."""

    unit = "events"
    has_init_from = True
    prefers_xla = True
    example_axes = EXAMPLE_AXES

    def __init__(
        self,
        experiment: GRU4RecExperiment,
        sessions: Sessions,
        vocabulary: Vocabulary,
        *,
        model: GRU4Rec | None = None,
        validation: Sessions | None = None,
        cut_offs: tuple[int, ...] = (20,),
        tie_rule: str = "pessimistic",
        driver: LocalDriver | None = None,
    ) -> None:
        """Builds the model and the batches.

        Args:
            experiment: the configuration; more lanes than sessions are reduced, with a warning.
            sessions: the training sessions as rows of `vocabulary`.
            vocabulary: with the counts that negatives follow.
            model: another network than the configured one (a subclass of `GRU4Rec`).
            validation: the sessions of `validate`; None: there is no validation.
            cut_offs: of the validation metrics, in addition to that of the primary one.
            tie_rule: see `tfrec_zoo.metrics.ranking`.
            driver: runs the steps; None: on this device.

        Raises:
            ValueError: the lanes cannot be divided among replicas, or there are fewer sessions
                than the lanes of all workers.
        """
        self.driver = driver or LocalDriver()
        streams = self.driver.streams
        # With `shard_input` the sessions are already those of this process.
        is_part = experiment.distribution.shard_input
        num_parts = len(streams) if is_part else self.driver.num_streams
        experiment = fit_lanes(experiment, sessions.num_sessions // num_parts)
        self.experiment = experiment
        training = experiment.training
        counts = vocabulary.row_counts()

        def make_model() -> GRU4Rec:
            return GRU4Rec(experiment.model, vocabulary.num_rows, training.seed)

        with self.driver.scope():
            self.model = model or make_model()
            self.step = GRU4RecStep(self.model, experiment, counts)
        self._evaluated = self.driver.copy_for_evaluation(self.model, make_model)
        self._num_lanes = self.driver.divide(experiment.batches.num_lanes, "num_lanes")
        self._streams = {
            stream: SessionBatches(
                sessions.part(stream - streams[0] * is_part, num_parts),
                counts,
                dataclasses.replace(experiment.batches, num_lanes=self._num_lanes),
                noise_width=self.model.noise_width,
                has_tied_inputs=self.model.input_table is None,
                steps_per_block=training.steps_per_block,
                seed=training.seed + _STREAM_SEED * stream,
            )
            for stream in (streams if is_part else range(num_parts))
        }
        num_events = sum(stream.num_events for stream in self._streams.values())
        self.num_events = self.driver.total(num_events) if is_part else num_events
        self.fingerprint = _fingerprint(sessions, vocabulary)
        self.has_perplexity = experiment.loss.loss == "cross_entropy"
        self.has_validation = validation is not None
        self._validation = validation
        if validation is not None and training.validation_sessions:
            self._validation = validation.sample(training.validation_sessions, training.seed)
        primary_cut_off = int(training.primary_metric.partition("@")[2])
        self._cut_offs = tuple(sorted({*cut_offs, primary_cut_off}))
        self._tie_rule = tie_rule
        self.ranker = SessionRanker(self._evaluated)

    def blocks(self, epoch: int, first_block: int, stream: int = 0) -> Iterator[Block]:
        """Yields the training blocks of a stream: a part of the sessions, in lanes of its own."""
        return self._streams[stream].blocks(epoch, first_block)

    def initial_states(self) -> States:
        """Returns zeros: no lane has seen a click."""
        return self.model.initial_state(self._num_lanes * self.driver.num_streams)

    def begin_epoch(self, epoch: int) -> None:
        """Does nothing: an epoch begins where the one before has ended."""

    def refresh(self) -> None:
        """Takes the trained weights into the model that is evaluated."""
        self.driver.refresh(self.model, self._evaluated)

    def check(self) -> None:
        """Accepts every model: the engine has looked at the losses."""

    def validate(self) -> dict[str, float]:
        """Returns recall, MRR and NDCG of the validation sessions."""
        metrics = evaluate_sessions(
            self.ranker, self._validation, ks=self._cut_offs, tie_rule=self._tie_rule
        )
        return {name: value for name, value in metrics.items() if isinstance(value, float)}


def train_in_folder(
    task: GRU4RecTask,
    folder: RunFolder,
    vocabulary: Vocabulary,
    experiment: GRU4RecExperiment,
    init_from: str | Path | None = None,
) -> dict[str, Any]:
    """Trains in an open run folder, or continues there, and loads the best weights.

    Args:
        task: made of the three below.
        folder: opened with `experiment`.
        vocabulary: of the training data.
        experiment: as it was asked for.
        init_from: the run that a new one starts from, see `warm_start`.

    Returns:
        The numbers of the run, see `Trainer.summarize`.

    Raises:
        ValueError: the run in the folder is of other data, or the loss is not finite any more. In
            the first case the folder is as it was.
    """

    def begin() -> None:
        if init_from:
            warm_start(task, init_from)
        if task.driver.is_chief:
            vocabulary.save(folder.vocabulary_path)

    return run_in_folder(task, folder, experiment, begin)


def warm_start(task: GRU4RecTask, run_dir: str | Path) -> None:
    """Takes over weights and optimizer slots of another run, whose vocabulary the new one extends.

    Rows of items that the other run knew keep their place; rows of new items stay as initialised.

    Raises:
        ValueError: the other run's network or optimizer is another one.
    """
    old = restore_gru4rec(run_dir, "last", type(task.model))
    _refuse_difference("network", old.experiment.model, task.experiment.model)
    _refuse_difference("optimizer", old.experiment.optimizer, task.experiment.optimizer)
    old_step = GRU4RecStep(old.model, old.experiment, old.vocabulary.row_counts())
    checkpoint = tf.train.Checkpoint(model=old.model, optimizer=old_step.optimizer)
    checkpoint.read(old.checkpoint).expect_partial()
    old_variables = (*old.model.variables, *old_step.optimizer.variables)
    new_variables = (*task.model.variables, *task.step.optimizer.variables)
    for source, target in zip(old_variables, new_variables, strict=True):
        if source.shape == target.shape:
            target.assign(source)
        else:
            write_rows(target, tf.range(source.shape[0]), source)


def _refuse_difference(what: str, old: Config, new: Config) -> None:
    shaping = ("hidden_dims", "tie_embeddings", "embedding_dim", "use_item_bias", "optimizer")
    for name in (field.name for field in dataclasses.fields(old)):
        before, now = getattr(old, name), getattr(new, name)
        is_slot_missing = name == "momentum" and bool(before) != bool(now)
        if is_slot_missing or (name in shaping and before != now):
            raise ValueError(
                f"init_from needs the same {what}, but {name} is {before} there and {now} here"
            )


def fit_lanes(experiment: GRU4RecExperiment, num_sessions: int) -> GRU4RecExperiment:
    """Returns the experiment with no more lanes than sessions; warns where it had more."""
    batches = experiment.batches
    if batches.schedule != "lanes" or batches.num_lanes <= num_sessions:
        return experiment
    logging.warning(
        "num_lanes=%d is more than the %d sessions: reduced to %d",
        batches.num_lanes,
        num_sessions,
        num_sessions,
    )
    batches = dataclasses.replace(batches, num_lanes=num_sessions)
    return dataclasses.replace(experiment, batches=batches)


def _fingerprint(sessions: Sessions, vocabulary: Vocabulary) -> str:
    checksum = zlib.crc32("\n".join(vocabulary.ids).encode())
    for values in (sessions.offsets, sessions.rows, sessions.start_times):
        checksum = zlib.crc32(np.ascontiguousarray(values), checksum)
    return f"{sessions.num_sessions} sessions, checksum {checksum:08x}"
