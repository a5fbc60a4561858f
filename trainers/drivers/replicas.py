"""The driver of replicas in step: the devices of one machine, or workers, each with all weights."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec_zoo.distributed_variables import read_rows
from tfrec_zoo.trainers.drivers.local import (
    Block,
    BlockSource,
    LocalDriver,
    Result,
    States,
    find_lost_task,
    slice_block,
)

# Bytes of a decision, see `LocalDriver.decide`.
_DECISION_SIZE = 16_384
_SUM = tf.distribute.ReduceOp.SUM


class ReplicaDriver(LocalDriver):
    """Runs each step on all replicas at once: each finds gradients, all take the same step.

    Replicas that share negatives are parts of one batch. All of them read all rows of the step, and
    gradients of these are summed. Otherwise each replica is a stream: it has rows of its own, which
    are exchanged with their gradients, and those that several have read are brought together.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, *, share_negatives: bool, is_chief: bool = True
    ) -> None:
        """Takes the replicas of a strategy."""
        self._strategy = strategy
        self.is_chief = is_chief
        self._shares = share_negatives
        self._num_replicas = strategy.num_replicas_in_sync
        self.num_streams = 1 if share_negatives else self._num_replicas
        replicas = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(context.replica_id_in_sync_group)
        )
        self._replicas = [int(r) for r in strategy.experimental_local_results(replicas)]
        self._sum = tf.function(self._sum_over_replicas, autograph=False)

    @property
    def _is_alone(self) -> bool:
        """Whether all replicas are in this process."""
        return len(self._replicas) == self._num_replicas

    @property
    def streams(self) -> Sequence[int]:
        """The streams of this process's replicas."""
        return [0] if self._shares else self._replicas

    def total(self, number: int) -> int:
        """Returns the sum of the numbers of all processes, see `LocalDriver`."""
        return number if self._is_alone else int(self._add_up(np.array([number], np.int64))[0])

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the strategy's scope."""
        return self._strategy.scope()

    def divide(self, size: int, name: str) -> int:
        """Returns the size itself where replicas are parts of one batch, else a replica's part."""
        if size % self._num_replicas:
            raise ValueError(
                f"{name}={size} cannot be divided among {self._num_replicas} replicas: use a "
                f"multiple of {self._num_replicas}"
            )
        return size if self._shares else size // self._num_replicas

    def take(self, task: BlockSource, jit_compile: bool, num_epochs: int) -> None:
        """Takes the task that is to be run, see `LocalDriver`."""
        super().take(task, jit_compile, num_epochs)
        self._step = task.step
        compiled = {"jit_compile": jit_compile, "autograph": False}
        self._differentiate = tf.function(self._read_and_differentiate, **compiled)
        self._apply = tf.function(self._step.apply, **compiled)
        self._apply_merged = tf.function(self._merge_and_apply, **compiled)
        self._run = tf.function(self._run_steps, autograph=False)

    def rounds(self, epoch: int, first_round: int) -> Iterator[tuple[int, Any]]:
        """Yields the number of steps and the replicas' blocks of each round."""
        if self._shares:
            for block in super().rounds(epoch, first_round):
                yield int(block["num_steps"]), self._cut(block)
            return
        streams = [feed(epoch, first_round) for feed in self._feeds]
        last: list[Block | None] = [None] * len(streams)
        while True:
            blocks = [next(stream, None) for stream in streams]
            num_steps = max(0 if block is None else int(block["num_steps"]) for block in blocks)
            num_steps = self._find_most(num_steps)
            if not num_steps:
                return
            # Who has nothing left goes along with examples that are not valid.
            last = [
                self._empty(epoch, replica, old) if block is None else block
                for replica, old, block in zip(self._replicas, last, blocks, strict=True)
            ]
            yield num_steps, self._place(last)

    def _cut(self, block: Block) -> Any:
        """Returns the parts of a block, each on its device."""
        return self._place(
            [
                slice_block(block, self._task.example_axes, replica, self._num_replicas)
                for replica in self._replicas
            ]
        )

    def _empty(self, epoch: int, replica: int, old: Block | None) -> Block:
        old = old or next(self._task.blocks(epoch, 0, replica), None)
        if old is None:
            raise ValueError(
                f"the data make fewer blocks of steps than there are replicas ({self._num_replicas}"
                "), and without share_negatives each has blocks of its own: lower steps_per_block "
                "or batch_size, or share the negatives"
            )
        return {name: tf.zeros_like(value) for name, value in old.items()}

    def _place(self, parts: Sequence[Any]) -> Any:
        """Returns what belongs to each replica of this process, on its device."""
        # Where there is but one, `run` returns its results bare, which a loop must begin with, too.
        if len(parts) == 1:
            return parts[0]
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.nest.map_structure(
                tf.identity, parts[context.replica_id_in_sync_group - self._replicas[0]]
            )
        )

    def num_steps(self, blocks: tuple[int, Any]) -> int:
        """Returns the steps of a round."""
        return blocks[0]

    def run(self, blocks: tuple[int, Any], states: Any) -> tuple[np.ndarray, int, Any]:
        """Trains on a round, see `LocalDriver`."""
        num_steps, parts = blocks
        losses, num_events, states = self._run(tf.constant(num_steps), parts, states)
        return losses.numpy(), int(num_events), states

    def _run_steps(self, num_steps: tf.Tensor, parts: Any, states: Any) -> tuple:
        # The loop is around `run` and not inside: replicas that meet cannot do so within a loop.

        def body(index: tf.Tensor, losses: tf.Tensor, num_events: tf.Tensor, states: Any) -> tuple:
            loss, events, states = self._train_all(index, parts, states)
            loss, events = map(self._take_first, (loss, events))
            losses = tf.tensor_scatter_nd_update(losses, [[index]], [loss])
            return index + 1, losses, num_events + tf.cast(events, tf.int32), states

        _, losses, num_events, states = tf.while_loop(
            lambda index, *_: index < num_steps,
            body,
            (tf.constant(0), tf.zeros([num_steps]), tf.constant(0), states),
            parallel_iterations=1,
        )
        return losses, num_events, states

    def _take_first(self, value: Any) -> tf.Tensor:
        """Returns what all replicas have, as the first one of this process has it."""
        return self._strategy.experimental_local_results(value)[0]

    def _train_all(self, index: tf.Tensor, parts: Any, states: Any) -> tuple:
        """Takes a step on all replicas; returns loss, events and states of each."""
        return self._strategy.run(self._train, args=(index, parts, states))

    def _train(self, index: tf.Tensor, part: Block, states: States) -> tuple:
        """Takes a step on this replica; returns sums over all, and its own states."""
        batch = take_step(part, index)
        rows, values, found = self._differentiate(batch, states)
        events = tf.math.count_nonzero(batch["is_valid"], dtype=tf.float32)
        context = tf.distribute.get_replica_context()
        sums, num_tables = [found.loss, found.count, events], len(rows)
        if self._shares:
            sums = context.all_reduce(_SUM, [*sums, *found.gradients])
            self._apply(rows, values, sums[3:], sums[1])
        else:
            of_tables, of_dense = found.gradients[:num_tables], found.gradients[num_tables:]
            sums = context.all_reduce(_SUM, [*sums, *of_dense])
            rows = context.all_gather(rows, axis=0)
            of_tables = context.all_gather(of_tables, axis=0)
            self._apply_merged(rows, of_tables, sums[3:], sums[1])
        return sums[0], sums[2], found.states

    def _read_and_differentiate(self, batch: Block, states: States) -> tuple:
        rows, values = self._step.read(batch)
        return rows, values, self._step.differentiate(batch, states, values)

    def _merge_and_apply(
        self,
        rows: list[tf.Tensor],
        of_tables: list[tf.Tensor],
        of_dense: list[tf.Tensor],
        count: tf.Tensor,
    ) -> None:
        merged = [merge_rows(r, g) for r, g in zip(rows, of_tables, strict=True)]
        rows = [r for r, _ in merged]
        values = [read_rows(table, r) for table, r in zip(self._step.tables, rows, strict=True)]
        self._step.apply(rows, values, [*(g for _, g in merged), *of_dense], count)

    def deal(self, states: States) -> Any:
        """Returns each replica's part of states float [B, H_i]."""
        named = dict(enumerate(states))
        parts = [
            slice_block(named, dict.fromkeys(named, 0), replica, self._num_replicas)
            for replica in self._replicas
        ]
        return self._place([tuple(part.values()) for part in parts]) if states else ()

    def collect(self, states: Any) -> States:
        """Returns the states of all replicas, float [B, H_i]."""
        return tuple(self._strategy.gather(state, axis=0) for state in states)

    def decide(self, choose: Callable[[], Result]) -> Result:
        """Returns what the chief chooses, see `LocalDriver`."""
        if self._is_alone:
            return choose()
        text = json.dumps(choose()).encode() if self.is_chief else b""
        if len(text) > _DECISION_SIZE:
            raise ValueError(f"a decision takes {len(text)} bytes, more than {_DECISION_SIZE}")
        numbers = np.zeros(_DECISION_SIZE, np.int32)
        numbers[: len(text)] = np.frombuffer(text, np.uint8)
        return json.loads(bytes(self._add_up(numbers).astype(np.uint8)).rstrip(b"\0"))

    def _find_most(self, number: int) -> int:
        """Returns the greatest of the processes' numbers."""
        if self._is_alone:
            return number
        numbers = np.zeros(self._num_replicas, np.int32)
        numbers[self._replicas[0]] = number
        return int(self._add_up(numbers).max())

    def _add_up(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the sum of the processes' numbers; the others wait for the last."""
        first = self._replicas[0]
        values = self._place(
            [tf.constant(numbers * (replica == first)) for replica in self._replicas]
        )
        return self._strategy.experimental_local_results(self._sum(values))[0].numpy()

    def _sum_over_replicas(self, values: Any) -> Any:
        def add_up(value: tf.Tensor) -> tf.Tensor:
            # An argument of a function is on no device yet, and only what is on one can be summed.
            return tf.distribute.get_replica_context().all_reduce(_SUM, tf.identity(value))

        return self._strategy.run(add_up, args=(values,))

    def copy_for_evaluation(
        self, model: tf_keras.Model, make: Callable[[], tf_keras.Model]
    ) -> tf_keras.Model:
        """Returns a model of one device, see `LocalDriver`."""
        del model
        return make()

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Tells of other processes that are gone."""
        try:
            yield
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.InternalError,
        ) as error:
            if self._is_alone:
                raise
            raise find_lost_task(error) from None


def take_step(block: Block, index: tf.Tensor) -> Block:
    """Returns the arrays of a step of a block."""
    return {name: _take(value, index) for name, value in block.items() if name != "num_steps"}


def _take(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Returns what a block holds for a step; zeros, which are not valid, behind its last one."""
    size = values.shape[0]
    value = values[tf.minimum(index, size - 1)]
    return tf.where(index < size, value, tf.zeros_like(value))


def merge_rows(rows: tf.Tensor, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns distinct rows and the sums of their gradients, as a step of the optimizer needs them.

    Args:
        rows: int32 [U], in any order, some of them several times.
        gradient: float [U, W].

    Returns:
        rows int32 [U], the distinct ones first and the padding row behind, and their gradients,
        float [U, W]. No shape depends on values, so that XLA can compile it.
    """
    order = tf.argsort(rows)
    ordered = tf.gather(rows, order)
    is_new = tf.concat([[True], ordered[1:] != ordered[:-1]], axis=0)
    place = tf.cumsum(tf.cast(is_new, tf.int32)) - 1
    # Of parts from several machines the size is known no sooner than when they have come.
    merged = tf.math.unsorted_segment_sum(tf.gather(gradient, order), place, tf.shape(rows)[0])
    return tf.tensor_scatter_nd_max(tf.zeros_like(rows), place[:, None], ordered), merged
