"""The training engine: one loop for all models, from blocks of steps to a run folder."""

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from absl import logging

from tfrec_zoo.experiments import TrainingConfig
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.checkpoints import RunCheckpoints
from tfrec_zoo.trainers.drivers.local import LocalDriver
from tfrec_zoo.trainers.profiler import StepProfiler
from tfrec_zoo.trainers.progress import Progress
from tfrec_zoo.trainers.scalars import write_scalar
from tfrec_zoo.trainers.training_state import TrainingState

States = tuple[tf.Tensor, ...]
SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Task(Protocol):
    """What the engine needs of a model and its data.

    `step(batch, states) -> loss_sum, states` is a `tf.Module` with the attributes `model` and
    `optimizer`; `num_events` are an epoch's, called `unit` (`events`, `examples`) in what a run
    says; `fingerprint` tells one set of training data from another; `has_perplexity` says whether
    exp(loss) means something, `has_init_from` whether its program starts from other runs,
    `prefers_xla` whether steps are faster compiled where the user has not chosen.
    `example_axes` are the axes of the examples in the arrays of a block.
    """

    step: Any
    driver: LocalDriver
    example_axes: dict[str, int]
    num_events: int
    unit: str
    fingerprint: str
    has_perplexity: bool
    has_init_from: bool
    prefers_xla: bool
    has_validation: bool

    def blocks(
        self, epoch: int, first_block: int, stream: int = 0
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the blocks of a driver's stream in an epoch, from its `first_block` on."""

    def initial_states(self) -> States:
        """Returns the states of all streams at an epoch's start; empty for a model without."""

    def begin_epoch(self, epoch: int) -> None:
        """Is called before an epoch's first step, and again where a run goes on from there."""

    def refresh(self) -> None:
        """Takes the trained weights into the model that the next two and others look at."""

    def check(self) -> None:
        """Raises ValueError, at the end of an epoch, where the model has learned nothing usable."""

    def validate(self) -> dict[str, float]:
        """Returns the metrics of the validation data."""


class Trainer:
    """Trains a task in a run folder, continuing what is there.

    After `run`, the weights are the last ones; `restore_best` brings back the best.
    """

    def __init__(self, task: Task, config: TrainingConfig, folder: RunFolder) -> None:
        """Prepares; nothing is read or written yet.

        Raises:
            ValueError: the configuration asks for validation, and the task has no data for it.
        """
        if not task.has_validation:
            config.refuse_missing_validation()
        self._task = task
        self._config = config
        self._folder = folder
        self._driver = task.driver
        is_compiled = task.prefers_xla if config.jit_compile is None else config.jit_compile
        self._driver.take(task, is_compiled, config.epochs)
        self._lane_states = self._driver.deal(task.initial_states())
        self.state = TrainingState(data_fingerprint=task.fingerprint)
        self._checkpoints = RunCheckpoints(task, folder, config.keep_checkpoints)
        self._block_steps, self._last_loss = 0, math.nan
        self._validated: tuple[int, dict[str, float]] = (-1, {})
        self._saved_at, self._saved_time = (-1, -1), time.monotonic()
        self._profiler = StepProfiler(config.profile_steps, str(folder.tensorboard_path))

    def restore(self) -> bool:
        """Goes back to the last checkpoint; returns whether there was one.

        What was written after it is dropped: it will come again.

        Raises:
            ValueError: the checkpoint cannot be continued or was trained on other data.
        """
        restored = self._checkpoints.restore_last()
        if restored:
            self.state, self._lane_states = restored
            self._saved_at = self._position
        lines = self._folder.load_metrics_log()
        kept = [line for line in lines if line["step"] <= self.state.step]
        if self._driver.is_chief and kept != lines:
            self._folder.write_metrics_log(kept)
        return restored is not None

    def restore_best(self) -> None:
        """Loads the weights of the best validation, where there was one."""
        self._checkpoints.restore_best()
        self._task.refresh()

    def run(self) -> TrainingState:
        """Trains until it is done."""
        if self.is_done:
            return self.state
        self._writer = tf.summary.create_noop_writer()
        if self._driver.is_chief:
            self._writer = tf.summary.create_file_writer(str(self._folder.tensorboard_path))
        try:
            with self._writer.as_default():
                while not self.is_done:
                    self._run_epoch()
        finally:
            self._driver.stop()
            self._profiler.stop()
            self._writer.close()
        self._save()
        return self.state

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.state.is_done(self._config)

    def _run_epoch(self) -> None:
        state, config = self.state, self._config
        title = f"epoch {state.epoch + 1}/{config.epochs}"
        if not state.block:
            self._task.begin_epoch(state.epoch)
        progress = Progress(
            title,
            self._task.num_events,
            state.epoch_events,
            self._task.has_perplexity,
            self._task.unit,
        )
        try:
            for blocks in self._driver.rounds(state.epoch, state.block):
                # Before a block and never after the last one: what follows that is the epoch's end,
                # which saves under the same number of steps.
                self._maybe_save()
                self._train_blocks(blocks, progress)
                self._maybe_validate_within_epoch(progress)
                if self.is_done:
                    return
        finally:
            progress.close()
        self._end_epoch(title, progress)

    def _train_blocks(self, blocks: Any, progress: Progress) -> None:
        state = self.state
        num_steps = self._driver.num_steps(blocks)
        self._profiler.before(state.step + 1, state.step + num_steps)
        start = time.monotonic()
        losses, num_events, self._lane_states = self._driver.run(blocks, self._lane_states)
        state.train_seconds += time.monotonic() - start
        self._refuse_nan(losses)
        state.block += 1
        state.step += num_steps
        self._block_steps = num_steps
        state.epoch_events += num_events
        state.epoch_loss_sum += float(losses.sum(dtype=np.float64))
        self._profiler.after(state.step)
        loss = float(losses.sum(dtype=np.float64)) / max(num_events, 1)
        write_scalar("train/loss", loss, state.step)
        progress.update(num_events, loss)

    def _refuse_nan(self, losses: np.ndarray) -> None:
        broken = np.flatnonzero(~np.isfinite(losses))
        if len(broken):
            step = self.state.step + int(broken[0]) + 1
            last = losses[broken[0] - 1] if broken[0] else self._last_loss
            raise ValueError(
                f"the loss became {losses[broken[0]]} at step {step} (summed loss of the step "
                f"before: {last:.6g}, mean of the epoch so far: {self.state.epoch_loss:.6g}): "
                "start a new run with a lower learning_rate, with clip_norm or with warmup_steps"
            )
        self._last_loss = float(losses[-1])

    def _maybe_validate_within_epoch(self, progress: Progress) -> None:
        every = self._config.validate_every_steps
        if every and self._task.has_validation and self._crossed(every):
            with progress.paused():
                self._validate({"epoch": self.state.epoch + 1, "step": self.state.step})

    def _crossed(self, every: int) -> bool:
        """Returns whether the block that was just run reached a multiple of `every` steps."""
        return self.state.step // every > (self.state.step - self._block_steps) // every

    def _end_epoch(self, title: str, progress: Progress) -> None:
        state, config = self.state, self._config
        line = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "loss": state.epoch_loss,
            f"{self._task.unit}_per_second": progress.events_per_second,
        }
        if self._task.has_perplexity:
            line["perplexity"] = math.exp(min(state.epoch_loss, 700.0))
        logging.info(
            "%s: %s, %.0f %s/s",
            title,
            progress.describe_loss(state.epoch_loss),
            progress.events_per_second,
            self._task.unit,
        )
        self._task.refresh()
        self._task.check()
        state.begin_epoch(state.epoch + 1)
        self._lane_states = self._driver.deal(self._task.initial_states())
        if self._task.has_validation and state.epoch % config.validate_every_epochs == 0:
            self._validate(line)
        else:
            self._log_line(line)
        self._save()

    def _validate(self, line: dict[str, Any]) -> None:
        """Validates, logs `line` with the metrics, keeps the best, decides on stopping."""
        state, config = self.state, self._config
        validated_step, metrics = self._validated
        is_new = validated_step != state.step
        if is_new:
            self._task.refresh()
            metrics = self._driver.decide(self._task.validate)
            self._validated = state.step, metrics
        self._log_line({**line, **{f"validation/{name}": v for name, v in metrics.items()}})
        # The epoch's end may come just after a validation within it, of the same weights.
        if not is_new:
            return
        is_best = state.note_validation(config.rate(metrics), config.min_improvement)
        logging.info(
            "validation %s %.4f%s",
            config.primary_metric,
            metrics[config.primary_metric],
            ", the best so far" * is_best,
        )
        if config.is_reached(metrics):
            logging.info("stopping: the target is reached")
            state.is_stopped_early = True
        if 0 < config.early_stopping_patience <= state.bad_validations:
            logging.info("stopping early: no better for %d validations", state.bad_validations)
            state.is_stopped_early = True
        if is_best:
            self._checkpoints.save_best(state, self._lane_states)

    def _log_line(self, line: dict[str, Any]) -> None:
        if self._driver.is_chief:
            self._folder.append_metrics(line)
        for name, value in line.items():
            if isinstance(value, float):
                tag = name if "/" in name else f"epoch/{name}"
                write_scalar(tag, value, self.state.step)
        self._writer.flush()

    def _maybe_save(self) -> None:
        every = self._config.checkpoint_every_steps
        is_due = self._crossed(every) if every else self._driver.decide(self._is_long_ago)
        if is_due:
            self._save()

    def _save(self) -> None:
        if self._saved_at == self._position:
            return
        self._checkpoints.save_last(self.state, self._lane_states)
        self._saved_at, self._saved_time = self._position, time.monotonic()

    def _is_long_ago(self) -> bool:
        return time.monotonic() - self._saved_time > SECONDS_BETWEEN_CHECKPOINTS

    @property
    def _position(self) -> tuple[int, int]:
        return self.state.epoch, self.state.step

    def summarize(self) -> dict[str, Any]:
        """Returns the flat numbers of the run for `metrics.json`."""
        lines = [line for line in self._folder.load_metrics_log() if "loss" in line]
        last = lines[-1] if lines else {}
        throughput = f"{self._task.unit}_per_second"
        state = dataclasses.asdict(self.state)
        if state["best_value"] is not None and self._config.is_falling:
            state["best_value"] *= -1
        return {
            "loss": last.get("loss", self.state.epoch_loss),
            "epochs": self.state.epoch,
            "steps": self.state.step,
            throughput: last.get(throughput, 0.0),
            **{name: state[name] for name in ("train_seconds", "best_step", "best_value")},
        }
