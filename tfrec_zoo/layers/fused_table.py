"""Tables of several features in one variable, each under its own name in a checkpoint."""

from collections.abc import Callable

import tensorflow as tf

from tfrec_zoo.distributed_variables import write_rows
from tfrec_zoo.layers.table_layout import Store, TablePart


class FusedTable(tf.Module):
    """The variable float [R, W] of a store; a checkpoint holds a tensor for each table in it.

    So a checkpoint can be read table by table, whatever else a table is stored with.
    """

    def __init__(self, store: Store, initialize: Callable[[int, TablePart], tf.Tensor]) -> None:
        """Makes the variable.

        Args:
            store: the tables.
            initialize: from the number and the layout of a part to its rows, float [n, W]. The
                padding row is zero.
        """
        super().__init__(name=f"width_{store.width}")
        self.store = store
        self.variable = tf.Variable(tf.zeros([store.num_rows, store.width]), name="rows")
        self.fill(initialize)

    def fill(self, initialize: Callable[[int, TablePart], tf.Tensor]) -> None:
        """Sets all rows, see the constructor."""
        for number, part in enumerate(self.store.parts):
            self._write(part, initialize(number, part))

    def __getitem__(self, part: TablePart) -> tf.Tensor:
        """Returns a part's rows, float [n, W]."""
        return self.variable[part.first_row : part.first_row + part.num_rows]

    def _write(self, part: TablePart, values: tf.Tensor) -> None:
        write_rows(self.variable, part.first_row + tf.range(part.num_rows), values)

    # The three hooks below are how TensorFlow lets an object write itself into a checkpoint.

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs) -> dict:
        children = super()._trackable_children(save_type, **kwargs)
        if save_type == "checkpoint":
            children.pop("variable", None)
        return children

    def _serialize_to_tensors(self) -> dict[str, tf.Tensor]:
        return {_key(part): tf.identity(self[part]) for part in self.store.parts}

    def _restore_from_tensors(self, restored_tensors: dict[str, tf.Tensor]) -> None:
        for part in self.store.parts:
            self._write(part, restored_tensors[_key(part)])


def _key(part: TablePart) -> str:
    """Returns a part's name in a checkpoint, which escapes dots in writing and not in reading."""
    return part.name.replace(".", ":")
