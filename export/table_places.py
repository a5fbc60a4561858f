"""Where each feature's table lies in an export of DLRM: the content of `assets/tables.json`."""

from typing import Any

from tfrec_zoo.export.quantized_weights import PLAIN, list_tables
from tfrec_zoo.models.dlrm import DLRM

TABLES_NAME = "tables.json"


def describe_tables(model: DLRM, tables: str = PLAIN) -> dict[str, dict[str, Any]]:
    """Returns the place of each table, by its name: the feature's, with `.quotient` and
    `.remainder` behind it for the two of one that is split.

    Tables of one width lie in one variable of the checkpoint `variables/variables`, row after row:

        variable             its name there
        first_row, rows      the table's rows; row r of the feature is row
        divisor, modulus         first_row + r // divisor % modulus
        width                of a row's vector
        first_order, factor  columns of a row's own weight in the logit, and of its learned factor
        projection           variable and position of the matrix that the vector is multiplied by

    where what a model lacks is left out. Of tables of float16 or int8 `variable` has the vectors
    alone; the rows' own columns are in the variable `exact`, counted from `width` on, and of int8 a
    row is multiplied by its number in the variable `scales`.
    """
    quantized = {id(table) for table, _ in list_tables(model)} if tables != PLAIN else set()
    config, places = model.config, {}
    extra = [name for name in ("first_order", "weighted_pooling") if getattr(config, name)]
    parts = zip(model.tables.stores, model.tables.tables, model.tables.projections, strict=True)
    for store, table, projection in parts:
        width = store.width - len(extra)
        for number, part in enumerate(store.parts):
            place = {
                "variable": _find_name(model, table.variable),
                "first_row": part.first_row,
                "rows": part.num_rows,
                "width": width,
            }
            if id(table.variable) in quantized:
                place["variable"] = _find_name(model, table.variable, "values")
                if tables == "int8":
                    place["scales"] = _find_name(model, table.variable, "scales")
                if extra:
                    place["exact"] = _find_name(model, table.variable, "exact")
            if store.remainders:
                place |= {"divisor": part.divisor, "modulus": part.modulus}
            if config.first_order:
                place["first_order"] = width
            if config.weighted_pooling:
                place["factor"] = width + config.first_order
            if projection is not None:
                index = number % len(store.features)
                place["projection"] = {"variable": _find_name(model, projection), "index": index}
            places[part.name] = place
    return places


def _find_name(model: DLRM, variable: Any, part: str = "") -> str:
    """Returns the name of one of a model's variables, or of a part, in an export's checkpoint."""
    index = next(i for i, weight in enumerate(model.weights) if weight is variable)
    return f"weights/{index}/{part and part + '/'}.ATTRIBUTES/VARIABLE_VALUE"
