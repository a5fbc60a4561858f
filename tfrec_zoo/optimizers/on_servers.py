"""The optimizer of parameter servers: a server moves the weights that it holds."""

import tensorflow as tf
from tensorflow.python.distribute.sharded_variable import ShardedVariable

from tfrec_zoo.distributed_variables import list_parts, locate_rows
from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig
from tfrec_zoo.optimizers.row_sparse import RowGradient, RowSparseOptimizer
from tfrec_zoo.optimizers.update_rules import move


class ServerOptimizer(RowSparseOptimizer):
    """The zoo's update rules where several workers train on the same weights without waiting.

    A worker sends rows and gradients alone. The server reads what the rows are by then and adds the
    difference that the rule makes, so that of two workers who move a row at the same time neither
    undoes the other's step. The slots of a weight lie on its server.
    """

    def _make_slots(self, variable: tf.Variable, *, is_table: bool) -> list[tf.Variable]:
        of_parts = [
            super(ServerOptimizer, self)._make_slots(part, is_table=is_table)
            for part in list_parts(variable)
        ]
        if len(of_parts) == 1:
            return of_parts[0]
        return [ShardedVariable(slots) for slots in zip(*of_parts, strict=True)]

    def _move_rows(
        self,
        table: tf.Variable,
        slots: list[tf.Variable],
        given: RowGradient,
        rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        slots_of_parts = zip(*map(list_parts, slots), strict=True) if slots else None
        for part, local, is_inside in locate_rows(table, given.rows):
            variables = (part, *(next(slots_of_parts) if slots else ()))
            rows = tf.boolean_mask(local, is_inside)
            gradient = tf.boolean_mask(given.gradient, is_inside)
            with tf.device(part.device):
                old = [tf.gather(variable, rows) for variable in variables]
                for variable, before, after in zip(
                    variables,
                    old,
                    _move(self.config.for_tables, old, gradient, rate, step),
                    strict=True,
                ):
                    variable.scatter_nd_add(rows[:, None], after - before)

    def _move_whole(
        self,
        variable: tf.Variable,
        slots: list[tf.Variable],
        gradient: tf.Tensor,
        rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        with tf.device(variable.device):
            old = [tf.convert_to_tensor(kept) for kept in (variable, *slots)]
            for kept, before, after in zip(
                (variable, *slots), old, _move(self.config, old, gradient, rate, step), strict=True
            ):
                kept.assign_add(after - before)


def _move(
    config: OptimizerConfig,
    old: list[tf.Tensor],
    gradient: tf.Tensor,
    rate: tf.Tensor,
    step: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """Returns weights and slots, all in one, after the step of a rule."""
    weights, slots = move(config, old[0], gradient, tuple(old[1:]), rate, step)
    return (weights, *slots)
