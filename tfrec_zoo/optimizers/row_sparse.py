"""Optimizers that touch a table's rows of this step and no others, whatever the table's size."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
import tf_keras

from tfrec_zoo.distributed_variables import beside, own_copy
from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig
from tfrec_zoo.optimizers.schedules import learning_rate_scale
from tfrec_zoo.optimizers.update_rules import move, slot_shapes


class RowGradient(NamedTuple):
    """The gradient of some rows of a table.

    `rows` int32 [U] are distinct, except that the padding row 0 may be repeated with zero
    gradients; `values` float [U, W] are the table's rows as they are before the step, which the
    step has gathered anyway; `gradient` float [U, W]. Duplicates in the batch are summed already
    (sum, then square).
    """

    rows: tf.Tensor
    values: tf.Tensor
    gradient: tf.Tensor


class _Optimizer(tf.Module):
    """What the optimizers share: their variables and the count of steps.

    A step is `count_step`, `clip`, `move_dense` and `move_tables`. The last two may be done by
    different devices, or side by side.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        tables: Sequence[tf.Variable],
        dense: Sequence[tf.Variable],
    ) -> None:
        """Makes what is kept from step to step.

        Args:
            config: the rule, the learning rates and the clipping.
            tables: variables [V, W] that get `RowGradient`s.
            dense: variables that get whole gradients.

        Raises:
            ValueError: tf_keras has no optimizer of the name in `config`.
        """
        super().__init__(name="optimizer")
        self.config = config
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="step")
        # Behind a function, so that a checkpoint of the optimizer has not all weights once more.
        self._get_weights = lambda: (list(tables), list(dense))
        self._make_history()

    @property
    def _tables(self) -> list[tf.Variable]:
        return self._get_weights()[0]

    @property
    def _dense(self) -> list[tf.Variable]:
        return self._get_weights()[1]

    def _make_history(self) -> None:
        """Makes the variables in which a rule remembers gradients."""
        raise NotImplementedError

    def slots_of_table(self, number: int) -> list[tf.Variable]:
        """Returns what is kept, row by row, of a table; none where tf_keras keeps it."""
        del number
        return []

    def slots_of_dense(self) -> list[tf.Variable]:
        """Returns what is kept of all dense variables; none where tf_keras keeps it."""
        return []

    def forget_tables(self) -> None:
        """Takes what is kept of tables back to its start."""
        raise NotImplementedError

    def count_step(self) -> tf.Tensor:
        """Begins a step, and returns its number, int64 []."""
        return own_copy(self.step).assign_add(1)

    def clip(
        self, of_tables: Sequence[tf.Tensor], of_dense: Sequence[tf.Tensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the gradients of the tables' rows and of dense variables.

        They are scaled down together, so that their global norm is at most `clip_norm` (0: any).
        """
        gradients = [*of_tables, *of_dense]
        if self.config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.clip_norm)
        return gradients[: len(of_tables)], gradients[len(of_tables) :]

    def move_dense(self, gradients: Sequence[tf.Tensor], step: tf.Tensor) -> None:
        """Moves the dense variables by clipped gradients."""
        raise NotImplementedError

    def move_tables(self, table_gradients: Sequence[RowGradient], step: tf.Tensor) -> None:
        """Moves the rows of all tables by clipped gradients."""
        raise NotImplementedError


class RowSparseOptimizer(_Optimizer):
    """One of the zoo's update rules, over rows of tables and over whole (dense) variables."""

    def _make_history(self) -> None:
        self.table_slots = [self._make_slots(table, is_table=True) for table in self._tables]
        self.dense_slots = [self._make_slots(variable, is_table=False) for variable in self._dense]

    def slots_of_table(self, number: int) -> list[tf.Variable]:
        """Returns what is kept, row by row, of a table."""
        return self.table_slots[number]

    def slots_of_dense(self) -> list[tf.Variable]:
        """Returns what is kept of all dense variables."""
        return [slot for slots in self.dense_slots for slot in slots]

    def forget_tables(self) -> None:
        """Takes the slots of tables back to their start."""
        config = self.config.for_tables
        for table, slots in zip(self._tables, self.table_slots, strict=True):
            names = slot_shapes(config, table.shape, is_table=True)
            for slot, name in zip(slots, names, strict=True):
                slot.assign(tf.fill(slot.shape, config.initial_slot(name)))

    def _make_slots(self, variable: tf.Variable, *, is_table: bool) -> list[tf.Variable]:
        config = self.config.for_tables if is_table else self.config
        shapes = slot_shapes(config, variable.shape, is_table=is_table)
        with beside(variable):
            return [
                tf.Variable(tf.fill(shape, config.initial_slot(name)), trainable=False, name=name)
                for name, shape in shapes.items()
            ]

    def move_tables(self, table_gradients: Sequence[RowGradient], step: tf.Tensor) -> None:
        """Moves the rows of all tables by clipped gradients."""
        _, rate = learning_rates(self.config, step)
        for table, slots, given in zip(
            self._tables, self.table_slots, table_gradients, strict=True
        ):
            self._move_rows(table, slots, given, rate, step)

    def move_dense(self, gradients: Sequence[tf.Tensor], step: tf.Tensor) -> None:
        """Moves the dense variables by clipped gradients."""
        rate, _ = learning_rates(self.config, step)
        for variable, slots, gradient in zip(self._dense, self.dense_slots, gradients, strict=True):
            self._move_whole(variable, slots, gradient, rate, step)

    def _move_rows(
        self,
        table: tf.Variable,
        slots: list[tf.Variable],
        given: RowGradient,
        rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        old = tuple(tf.gather(slot, given.rows) for slot in slots)
        config = self.config.for_tables
        weights, values = move(config, given.values, given.gradient, old, rate, step)
        for variable, value in zip((table, *slots), (weights, *values), strict=True):
            own_copy(variable).scatter_update(tf.IndexedSlices(value, given.rows))

    def _move_whole(
        self,
        variable: tf.Variable,
        slots: list[tf.Variable],
        gradient: tf.Tensor,
        rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        old = tuple(map(tf.convert_to_tensor, slots))
        weights, values = move(self.config, variable, gradient, old, rate, step)
        for slot, value in zip((variable, *slots), (weights, *values), strict=True):
            own_copy(slot).assign(value)


class KerasOptimizer(_Optimizer):
    """Any optimizer of `tf_keras` behind the same interface; it may walk whole tables."""

    def _make_history(self) -> None:
        self.table_optimizer = _make_keras_optimizer(self.config.for_tables.optimizer)
        self.dense_optimizer = _make_keras_optimizer(self.config.optimizer)
        self.table_optimizer.build(self._tables)
        self.dense_optimizer.build(self._dense)

    def forget_tables(self) -> None:
        """Takes what the optimizer keeps of tables back to zero."""
        for variable in self.table_optimizer.variables:
            if variable.shape.rank:
                variable.assign(tf.zeros_like(variable))

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        """All variables; `tf.Module` by itself does not look into optimizers of `tf_keras`."""
        slots = (*self.table_optimizer.variables, *self.dense_optimizer.variables)
        return (*super().variables, *slots)

    def move_tables(self, table_gradients: Sequence[RowGradient], step: tf.Tensor) -> None:
        """Moves the rows of all tables by clipped gradients."""
        _, rate = learning_rates(self.config, step)
        self.table_optimizer.learning_rate.assign(rate)
        slices = [
            tf.IndexedSlices(given.gradient, given.rows, dense_shape=table.shape)
            for given, table in zip(table_gradients, self._tables, strict=True)
        ]
        self.table_optimizer.apply_gradients(zip(slices, self._tables, strict=True))

    def move_dense(self, gradients: Sequence[tf.Tensor], step: tf.Tensor) -> None:
        """Moves the dense variables by clipped gradients."""
        rate, _ = learning_rates(self.config, step)
        self.dense_optimizer.learning_rate.assign(rate)
        self.dense_optimizer.apply_gradients(zip(gradients, self._dense, strict=True))


def _make_keras_optimizer(name: str) -> tf_keras.optimizers.Optimizer:
    name = name.removeprefix("keras:")
    try:
        return tf_keras.optimizers.get(name)
    except ValueError:
        raise ValueError(f"tf_keras has no optimizer {name!r}: use a name such as Adam") from None


def make_optimizer(
    config: OptimizerConfig, tables: Sequence[tf.Variable], dense: Sequence[tf.Variable]
) -> RowSparseOptimizer | KerasOptimizer:
    """Returns the optimizer that `config` names."""
    kind = KerasOptimizer if config.is_keras else RowSparseOptimizer
    return kind(config, tables, dense)


def learning_rates(config: OptimizerConfig, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the rate of dense variables and that of tables at a step, float [] each."""
    scale = learning_rate_scale(config, step)
    table_rate = config.embedding_learning_rate or config.learning_rate
    table_scale = scale if config.embedding_schedule else 1.0
    return config.learning_rate * scale, tf.convert_to_tensor(table_rate * table_scale)
