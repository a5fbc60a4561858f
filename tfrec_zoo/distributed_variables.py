"""Variables that `tf.distribute` keeps in several copies or parts, read and written like others.

A *copy* is a replica's: each replica reads and writes its own, and all stay equal because all take
the same steps. A *part* is a range of a table's rows on a parameter server.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

# What the variables are called of which a step reads some rows.
TABLE_NAMES = ("item_table", "input_table", "rows")
HOST = "CPU:0"


class HostVariable(ResourceVariable):
    """A variable of which this process has one, in its own memory, whatever the strategy."""

    @classmethod
    def make(cls, initial_value: Any, name: str, **options: Any) -> "HostVariable":
        """Makes one of what `tf.Variable` is given; what a strategy needs is left out."""
        kept = {key: options[key] for key in ("trainable", "dtype") if key in options}
        with tf.device(HOST):
            return cls(initial_value, name=name, **kept)


def beside(variable: tf.Variable) -> contextlib.AbstractContextManager:
    """Returns a context in which variables are made where another one lies."""
    if isinstance(variable, HostVariable):
        return tf.variable_creator_scope(lambda make, **options: HostVariable.make(**options))
    if tf.distribute.has_strategy():
        return tf.distribute.get_strategy().extended.colocate_vars_with(variable)
    return contextlib.nullcontext()


def list_copies(variable: tf.Variable) -> tuple[tf.Variable, ...]:
    """Returns the copies of a variable in this process; itself where there are no replicas."""
    is_copied = isinstance(variable, tf.distribute.DistributedValues)
    return variable.values if is_copied else (variable,)


def own_copy(variable: tf.Variable) -> tf.Variable:
    """Returns the copy that this replica reads and writes."""
    copies = list_copies(variable)
    if len(copies) == 1:
        return copies[0]
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return copies[int(tf.get_static_value(tf.convert_to_tensor(replica))) % len(copies)]


def list_parts(table: tf.Variable) -> list[tf.Variable]:
    """Returns the variables that hold a table's rows, one after the other."""
    # A `ShardedVariable` has no public name to be recognised by, and is no `tf.Variable`.
    return [table] if isinstance(table, tf.Variable) else list(table.variables)


def locate_rows(table: tf.Variable, rows: tf.Tensor) -> Iterator[tuple[tf.Variable, tf.Tensor]]:
    """Yields each part of a table, with the numbers that its rows have there and a mask.

    Args:
        table: float [V, W].
        rows: int32 [U], of the whole table.

    Yields:
        The part, the rows as numbers of the part, int32 [U], and whether they lie in it, bool [U].
    """
    first = 0
    for part in list_parts(table):
        local = rows - first
        yield part, local, (local >= 0) & (local < part.shape[0])
        first += part.shape[0]


def read_rows(table: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Returns rows float [U, W] of a table, wherever they lie."""
    if isinstance(table, tf.Variable):
        return tf.gather(table, rows)
    return tf.nn.embedding_lookup(table, rows)


def write_rows(table: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    """Sets rows int32 [U] of a table to values float [U, W], in all copies and parts."""
    rows = tf.convert_to_tensor(rows, tf.int32)
    for part, local, is_inside in locate_rows(table, rows):
        slices = tf.IndexedSlices(
            tf.boolean_mask(values, is_inside), tf.boolean_mask(local, is_inside)
        )
        for copy in list_copies(part):
            copy.scatter_update(slices)


def copy_weights(sources: Iterable[tf.Variable], targets: Iterable[tf.Variable]) -> None:
    """Sets whole variables of this process to those of a model that is built in the same way.

    Args:
        sources: `weights` of the model; of a table in parts all of them, one after the other.
        targets: `weights` of the other model.
    """
    sources = iter(sources)
    for target in targets:
        value = next(sources).read_value()
        while value.shape != target.shape:
            value = tf.concat([value, next(sources).read_value()], axis=0)
        target.assign(value)
