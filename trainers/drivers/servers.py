"""The driver of parameter servers: workers train on blocks of their own, without waiting."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.python.distribute.sharded_variable import ShardedVariable

from tfrec_zoo.distributed_variables import TABLE_NAMES
from tfrec_zoo.trainers.drivers.local import Block, BlockSource, LocalDriver, States, find_lost_task


class ServerDriver(LocalDriver):
    """The coordinator: hands each worker a block, and waits for a round of them.

    There is a stream for each worker, and its states go with its blocks: any worker can take over
    what another one has not finished. What a dying worker has done of a block is done once more;
    counts and losses are those that came back, so none is counted twice.

    Attributes:
        num_streams: workers.
    """

    def __init__(
        self,
        strategy: tf.distribute.ParameterServerStrategy,
        *,
        num_workers: int,
        num_servers: int,
        max_shards: int,
        min_shard_bytes: int,
    ) -> None:
        """Takes a cluster.

        Args:
            strategy: knows the tasks.
            num_workers: of them.
            num_servers: of them.
            max_shards: parts of a table at most; 0: one for each server.
            min_shard_bytes: the least of a part.
        """
        self._strategy = strategy
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self.num_streams = num_workers
        self._num_servers = num_servers
        self._max_shards = max_shards or num_servers
        self._min_shard_bytes = min_shard_bytes

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which tables become parts, each on a server."""
        stack = contextlib.ExitStack()
        stack.enter_context(self._strategy.scope())
        stack.enter_context(tf.variable_creator_scope(self._share_out))
        return stack

    def _share_out(self, make: Callable, **options: Any) -> Any:
        """Makes a variable, of a table its parts; the servers take turns."""
        if options.get("name") not in TABLE_NAMES:
            return make(**options)
        value = options.pop("initial_value")
        value = tf.convert_to_tensor(value() if callable(value) else value)
        num_rows, num_bytes = value.shape[0], value.shape.num_elements() * value.dtype.size
        count = max(1, min(self._max_shards, num_bytes // self._min_shard_bytes, num_rows))
        if count == 1:
            return make(initial_value=value, **options)
        options.pop("shape", None)
        # As `embedding_lookup` has it: the first parts take what is left over, a row each.
        size, rest = divmod(num_rows, count)
        bounds = [part * size + min(part, rest) for part in range(count + 1)]
        return ShardedVariable(
            [
                make(initial_value=value[first:last], **options)
                for first, last in zip(bounds, bounds[1:], strict=False)
            ],
            name=options["name"],
        )

    def take(self, task: BlockSource, jit_compile: bool, num_epochs: int) -> None:
        """Takes the task that is to be run; XLA cannot compile what lies on several machines."""
        del jit_compile
        super().take(task, False, num_epochs)

    def rounds(self, epoch: int, first_round: int) -> Iterator[list[Block | None]]:
        """Yields the next block of each stream, None where a stream has ended."""
        streams = [feed(epoch, first_round) for feed in self._feeds]
        while True:
            blocks = [next(stream, None) for stream in streams]
            if all(block is None for block in blocks):
                return
            yield blocks

    def num_steps(self, blocks: list[Block | None]) -> int:
        """Returns the steps of a round."""
        return sum(int(block["num_steps"]) for block in blocks if block is not None)

    def run(self, blocks: list[Block | None], states: list[States]) -> tuple:
        """Trains on a round, see `LocalDriver`: as many blocks as workers, side by side."""
        results = [
            None if block is None else self._coordinator.schedule(self._run, args=(block, state))
            for block, state in zip(blocks, states, strict=True)
        ]
        losses, num_events, new_states = [], 0, []
        for block, state, result in zip(blocks, states, results, strict=True):
            if result is None:
                new_states.append(state)
                continue
            block_losses, block_events, state = result.fetch()
            losses.append(block_losses[: int(block["num_steps"])])
            num_events += int(block_events)
            new_states.append(tuple(map(tf.constant, state)))
        return np.concatenate(losses), num_events, new_states

    def deal(self, states: States) -> list[States]:
        """Returns the states of each stream, of states float [B, H_i] of all."""
        parts = [tf.split(state, self.num_streams) for state in states]
        return [tuple(part[number] for part in parts) for number in range(self.num_streams)]

    def collect(self, states: list[States]) -> States:
        """Returns the states of all streams, float [B, H_i]."""
        return tuple(tf.concat(parts, axis=0) for parts in zip(*states, strict=True))

    def copy_for_evaluation(
        self, model: tf_keras.Model, make: Callable[[], tf_keras.Model]
    ) -> tf_keras.Model:
        """Returns a model of the coordinator's own, see `LocalDriver`."""
        del model
        return make()

    def check_shared(self, token: Path) -> None:
        """Asks each server, which writes and reads its own part of a checkpoint."""
        for number in range(self._num_servers):
            try:
                with tf.device(f"/job:ps/task:{number}"):
                    tf.io.read_file(str(token.absolute()))
            except tf.errors.NotFoundError:
                raise ValueError(
                    f"ps {number} does not share the run folder {token.parent}, where it would "
                    "keep its part of the checkpoints; use a folder on storage that all tasks have"
                ) from None

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Tells of servers that are gone; workers come and go."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
            raise find_lost_task(error) from None
