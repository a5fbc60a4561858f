"""What embedding tables will take, said before they are made; refused where it is too much."""

from collections.abc import Sequence

import psutil
from absl import logging

from tfrec_zoo.layers.table_layout import Store, TablePart
from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig
from tfrec_zoo.optimizers.update_rules import slot_shapes

_BYTES_A_NUMBER = 4
_SHOWN_TABLES = 5


def check_tables(
    stores: Sequence[Store], optimizer: OptimizerConfig, available: int | None = None
) -> int:
    """Logs the size of every table, and returns the bytes of all with their slots.

    Args:
        stores: the layout.
        optimizer: keeps slots beside the rows.
        available: bytes of memory; None: what is available now.

    Raises:
        ValueError: they need more memory than there is.
    """
    parts = [(store, part) for store in stores for part in store.parts]
    parts.sort(key=lambda pair: -_size(*pair))
    for store, part in parts:
        logging.info(
            "table %s: %s rows x %d = %s",
            part.name,
            f"{part.num_rows:,}",
            store.width,
            format_bytes(_size(store, part)),
        )
    tables = sum(store.num_bytes for store in stores)
    needed = sum(_size_with_slots(store, optimizer) for store in stores)
    logging.info(
        "tables %s, with what %s keeps of each row %s",
        format_bytes(tables),
        optimizer.table_optimizer,
        format_bytes(needed),
    )
    available = psutil.virtual_memory().available if available is None else available
    if needed > available:
        largest = ", ".join(
            f"{part.name} {part.num_rows:,} x {store.width} = {format_bytes(_size(store, part))}"
            for store, part in parts[:_SHOWN_TABLES]
        )
        raise ValueError(
            f"the tables need {format_bytes(needed)} with what {optimizer.table_optimizer} keeps, "
            f"and {format_bytes(available)} of memory are free (largest: {largest}): prepare with "
            "a lower max_rows or a higher min_count, set qr_threshold, lower embedding_dim, or "
            "take rowwise_adagrad"
        )
    return needed


def format_bytes(number: int) -> str:
    """Returns a size in words: `412 B`, `1.5 MB`, `12.0 GB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"


def _size(store: Store, part: TablePart) -> int:
    return part.num_rows * store.width * _BYTES_A_NUMBER


def _size_with_slots(store: Store, optimizer: OptimizerConfig) -> int:
    if optimizer.is_keras:
        # Of the optimizers that tf_keras has, the greediest keep two numbers a weight.
        return 3 * store.num_bytes
    shapes = slot_shapes(optimizer.for_tables, (store.num_rows, store.width), is_table=True)
    slots = sum(rows * width for rows, width in shapes.values())
    return store.num_bytes + slots * _BYTES_A_NUMBER
