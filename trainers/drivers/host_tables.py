"""The driver of replicas whose tables are too large for them, and lie in the memory of the host."""

import contextlib
from typing import Any

import tensorflow as tf

from tfrec_zoo.distributed_variables import HOST, TABLE_NAMES, HostVariable
from tfrec_zoo.trainers.drivers.local import Block, BlockSource, States
from tfrec_zoo.trainers.drivers.replicas import ReplicaDriver, take_step


class HostTableDriver(ReplicaDriver):
    """Replicas in step that are parts of one batch, beside tables of which a process has one copy.

    The host reads the rows of a step and sends them to the replicas; these find the sums of the
    gradients, and each moves its own dense weights; the host moves the rows. Neither the tables nor
    what the optimizer keeps of their rows ever lie on the devices of replicas.
    """

    def __init__(self, strategy: tf.distribute.Strategy, *, is_chief: bool = True) -> None:
        """Takes the replicas of a strategy."""
        super().__init__(strategy, share_negatives=True, is_chief=is_chief)

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the strategy's scope, in which tables are made on the host."""
        stack = contextlib.ExitStack()
        stack.enter_context(super().scope())
        stack.enter_context(
            tf.variable_creator_scope(
                lambda make, **options: (
                    HostVariable.make(**options)
                    if options.get("name") in TABLE_NAMES
                    else make(**options)
                )
            )
        )
        return stack

    def home(self) -> contextlib.AbstractContextManager:
        """Returns the host: a model that is evaluated or exported has whole tables."""
        return tf.device(HOST)

    def take(self, task: BlockSource, jit_compile: bool, num_epochs: int) -> None:
        """Takes the task that is to be run, see `LocalDriver`."""
        super().take(task, jit_compile, num_epochs)
        compiled = {"jit_compile": jit_compile, "autograph": False}
        self._find_gradients = tf.function(self._step.differentiate, **compiled)
        self._apply_to_dense = tf.function(self._step.apply_to_dense, **compiled)
        self._apply_to_tables = tf.function(self._step.apply_to_tables, **compiled)

    def _cut(self, block: Block) -> Any:
        # The host reads rows by the whole block.
        return block, super()._cut(block)

    def _train_all(self, index: tf.Tensor, parts: Any, states: Any) -> tuple:
        block, parts = parts
        with tf.device(HOST):
            rows, values = self._step.read(take_step(block, index))
        *results, gradients, step = self._strategy.run(
            self._train_beside, args=(index, parts, states, values)
        )
        gradients = [self._take_first(gradient) for gradient in gradients]
        with tf.device(HOST):
            self._apply_to_tables(rows, values, gradients, self._take_first(step))
        return tuple(results)

    def _train_beside(
        self, index: tf.Tensor, part: Block, states: States, values: list[tf.Tensor]
    ) -> tuple:
        """Takes a replica's half of a step.

        Returns:
            The sums of losses and events, the replica's own states, what all rows are moved by, and
            the number of the step.
        """
        batch = take_step(part, index)
        found = self._find_gradients(batch, states, values)
        events = tf.math.count_nonzero(batch["is_valid"], dtype=tf.float32)
        context = tf.distribute.get_replica_context()
        loss, count, events, *gradients = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [found.loss, found.count, events, *found.gradients]
        )
        of_tables, step = self._apply_to_dense(gradients, count)
        return loss, events, found.states, of_tables, step
