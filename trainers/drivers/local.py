"""The driver of one device, and what all drivers have in common."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec_zoo.data.block_dataset import BlockFeed
from tfrec_zoo.distributed_variables import copy_weights
from tfrec_zoo.program import TaskLostError
from tfrec_zoo.trainers.drivers.block_runner import make_block_runner

States = tuple[tf.Tensor, ...]
Block = dict[str, np.ndarray]
Result = TypeVar("Result")


class BlockSource(Protocol):
    """What a driver needs of a `tfrec_zoo.trainers.engine.Task`."""

    step: Any
    example_axes: dict[str, int]

    def blocks(self, epoch: int, first_block: int, stream: int = 0) -> Iterator[Block]:
        """Yields the blocks of a stream from its `first_block` on."""


class LocalDriver:
    """Runs blocks on one device, and stands for its interface.

    A *stream* is a sequence of blocks, each with states of its own; a *round* is what is run in one
    go: the next block of each stream.

    Attributes:
        is_chief: whether this process writes the run folder. Processes that train together all run
            the same program; one of them is the chief.
        num_streams: of a task.
    """

    is_chief = True
    num_streams = 1

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which variables are made that are trained."""
        return contextlib.nullcontext()

    def home(self) -> contextlib.AbstractContextManager:
        """Returns the context of the whole program: where it does what has no place of its own."""
        return contextlib.nullcontext()

    def divide(self, size: int, name: str) -> int:
        """Returns how much of a batch of `size` a stream has in its own.

        Raises:
            ValueError: it cannot be divided; `name` is what the size is called.
        """
        del name
        return size

    @property
    def streams(self) -> Sequence[int]:
        """The streams whose blocks are made by this process."""
        return range(self.num_streams)

    def total(self, number: int) -> int:
        """Returns the sum of the numbers of all processes that train together."""
        return number

    def take(self, task: BlockSource, jit_compile: bool, num_epochs: int) -> None:
        """Takes the task that is to be run.

        Args:
            task: the task.
            jit_compile: whether XLA compiles its steps.
            num_epochs: after which it ends at the latest.
        """
        self._task = task
        self._feeds = [
            BlockFeed(functools.partial(task.blocks, stream=stream), num_epochs)
            for stream in self.streams
        ]
        self._run = make_block_runner(task.step, jit_compile)

    def rounds(self, epoch: int, first_round: int) -> Iterator[Any]:
        """Yields the rounds of an epoch from `first_round` on, for `num_steps` and `run`."""
        (feed,) = self._feeds
        return feed(epoch, first_round)

    def stop(self) -> None:
        """Lets go of rounds that were made ahead."""
        for feed in self._feeds:
            feed.stop()

    def num_steps(self, blocks: Any) -> int:
        """Returns the steps of a round."""
        return int(blocks["num_steps"])

    def run(self, blocks: Any, states: Any) -> tuple[np.ndarray, int, Any]:
        """Trains on a round.

        Args:
            blocks: of `rounds`.
            states: of `deal`, or of the round before.

        Returns:
            The loss of each step, summed over its events, float [num_steps], the number of events,
            and the new states.
        """
        losses, num_events, states = self._run(blocks, states)
        return losses.numpy()[: self.num_steps(blocks)], int(num_events), states

    def deal(self, states: States) -> Any:
        """Returns states float [B, H_i] of all streams, in the form that `run` takes."""
        return states

    def collect(self, states: Any) -> States:
        """Returns what was dealt; the processes that train together do it together."""
        return states

    def decide(self, choose: Callable[[], Result]) -> Result:
        """Returns what the chief's `choose` returns, to all processes; JSON values.

        What depends on a clock, on files or on long calculations is decided by one for all.
        """
        return choose()

    def copy_for_evaluation(
        self, model: tf_keras.Model, make: Callable[[], tf_keras.Model]
    ) -> tf_keras.Model:
        """Returns a model of this device alone for evaluation: the trained one, or another."""
        del make
        return model

    def refresh(self, trained: tf_keras.Model, evaluated: tf_keras.Model) -> None:
        """Takes the trained weights into the model of `copy_for_evaluation`."""
        if self.is_chief and evaluated is not trained:
            copy_weights(trained.weights, evaluated.weights)

    def check_shared(self, token: Path) -> None:
        """Raises ValueError where another machine that reads or writes checkpoints lacks a file."""

    def watch(self) -> contextlib.AbstractContextManager:
        """Returns a context that turns the errors of lost tasks into a `TaskLostError`."""
        return contextlib.nullcontext()


def find_lost_task(error: tf.errors.OpError) -> TaskLostError:
    """Returns what an error of TensorFlow says about a task that is gone."""
    found = re.search(r"remote target /job:(\w+)/replica:\d+/task:(\d+)", error.message)
    who = f"{found.group(1)} {found.group(2)}" if found else "another task"
    return TaskLostError(f"{who} does not answer any more")


def slice_block(block: dict[str, Any], axes: dict[str, int], part: int, count: int) -> dict:
    """Returns a replica's part of a block.

    Args:
        block: of the whole batch.
        axes: the axis of the examples, of each array that has one.
        part: which one.
        count: of how many.
    """
    return {
        name: _slice(value, axes[name], part, count) if name in axes else value
        for name, value in block.items()
    }


def _slice(value: tf.Tensor, axis: int, part: int, count: int) -> tf.Tensor:
    size = value.shape[axis] // count
    index: Sequence[slice] = [slice(None)] * axis + [slice(part * size, (part + 1) * size)]
    return value[tuple(index)]
