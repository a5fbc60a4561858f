"""The weights of a model in an export whose tables are stored as float16 or int8.

What is quantized are the tables of items and of features; all layers stay float32. Of a tied or
output table of GRU4Rec the items' biases stay, too, and of tables of features the rows' own weights
(`first_order`, `weighted_pooling`). A table of single numbers stays as it is: it would not shrink.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrec_zoo.layers.quantized_table import QuantizedTable, round_rows
from tfrec_zoo.layers.row_quantization import TABLE_FORMATS
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.ssr import SSR

PLAIN = TABLE_FORMATS[0]
# Of `export` in an export's config.json.
FORMAT_KEY = "tables"

AnyModel = GRU4Rec | SSR | DLRM
Weight = tf.Variable | QuantizedTable


def find_format(about: Mapping[str, Any] | None) -> str:
    """Returns how the tables of an export are stored, by what its `config.json` says in `export`.

    Raises:
        ValueError: in a way that this version of the zoo does not know.
    """
    found = (about or {}).get(FORMAT_KEY, PLAIN)
    require_format(found)
    return found


def require_format(table_format: str) -> None:
    """Raises ValueError unless tables can be stored so."""
    if table_format not in TABLE_FORMATS:
        raise ValueError(
            f"tables can be stored as {', '.join(TABLE_FORMATS)}, got {table_format!r}"
        )


def list_tables(model: AnyModel) -> list[tuple[tf.Variable, int]]:
    """Returns the tables that are quantized, each with how many of its last columns are not."""
    if isinstance(model, GRU4Rec):
        tables = [(model.item_table, int(model.config.use_item_bias))]
        if model.input_table is not None:
            tables.append((model.input_table, 0))
    else:
        num_exact = model.tables.settings.num_extra_columns
        tables = [(table.variable, num_exact) for table in model.tables.tables]
    return [(table, num_exact) for table, num_exact in tables if table.shape[1] - num_exact > 1]


def quantize_weights(model: AnyModel, table_format: str) -> list[Weight]:
    """Returns the weights of a model in its order, the tables in `table_format`."""
    require_format(table_format)
    if table_format == PLAIN:
        return list(model.weights)
    tables = {id(table): num_exact for table, num_exact in list_tables(model)}
    return [
        QuantizedTable(weight.numpy(), table_format, tables[id(weight)])
        if id(weight) in tables
        else weight
        for weight in model.weights
    ]


def assign_weights(model: AnyModel, weights: list[Weight]) -> None:
    """Sets a model's tables to those of `quantize_weights`; the others are its own."""
    for weight, stored in zip(model.weights, weights, strict=True):
        if isinstance(stored, QuantizedTable):
            weight.assign(stored.numpy())


def round_tables(model: AnyModel, table_format: str) -> None:
    """Sets a model's tables to what an export in `table_format` has of them."""
    if table_format == PLAIN:
        return
    for table, num_exact in list_tables(model):
        table.assign(round_rows(table.numpy(), table_format, num_exact))
