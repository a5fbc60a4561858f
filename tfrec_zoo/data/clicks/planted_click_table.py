"""Planted clicks as a raw table of texts and counts, for the way that a real log goes.

A value `v` of the feature `c3` has the text `c3-00042` and, in the world's own rows, row `v + 1`.
"""

import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tfrec_zoo.atomic_file import replace_file
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.vocabulary import Vocabulary

LABEL_COLUMN = "click"


def planted_vocabularies(rows: ClickRows, schema: ClickSchema) -> dict[str, Vocabulary]:
    """Returns the values of each feature in the order of a world's rows, with their counts.

    Args:
        rows: the examples of a planted world in which to count.
        schema: the world's.
    """
    found = {}
    for feature, slots in _list_slots(schema):
        counts = np.bincount(rows.rows[:, slots].ravel(), minlength=feature.num_rows)
        found[feature.name] = Vocabulary(_value_texts(feature), counts[1:])
    return found


def planted_table_spec(schema: ClickSchema) -> TableSpec:
    """Returns where `write_planted_table` puts what."""
    categorical = [
        {
            "name": feature.name,
            "separator": feature.separator,
            "weight_separator": feature.weight_separator,
            "max_values": feature.max_values,
            "pooling": feature.pooling,
        }
        for feature in schema.categorical
    ]
    dense = [{"name": feature.name, "transform": feature.transform} for feature in schema.dense]
    label = {"column": LABEL_COLUMN}
    return TableSpec.from_dict(
        {"format": "tsv", "label": label, "dense": dense, "categorical": categorical}
    )


def write_planted_table(rows: ClickRows, schema: ClickSchema, path: str | os.PathLike) -> None:
    """Writes examples of a planted world as a tab separated table with a header line.

    A count of 0 becomes a missing value, which the logarithm takes for 0 as well. What ends in
    `.gz` is compressed.

    Args:
        rows: examples of a planted world.
        schema: the world's.
        path: the file to write, atomically.
    """
    columns = {LABEL_COLUMN: pa.array(rows.labels.astype(np.int8))}
    for feature, logarithms in zip(schema.dense, rows.dense.T, strict=True):
        counts = np.rint(np.expm1(logarithms.astype(np.float64))).astype(np.int64)
        columns[feature.name] = pa.array(counts, mask=counts == 0)
    for feature, slots in _list_slots(schema):
        weights = rows.row_weights[:, slots] if feature.is_weighted else None
        columns[feature.name] = _format_values(feature, rows.rows[:, slots], weights)
    options = pa_csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
    with replace_file(path) as temporary, pa.output_stream(temporary) as stream:
        pa_csv.write_csv(pa.table(columns), stream, options)


def _list_slots(schema: ClickSchema) -> list[tuple[CategoricalFeature, slice]]:
    offsets = schema.slot_offsets
    slots = [slice(start, end) for start, end in zip(offsets, offsets[1:], strict=False)]
    return list(zip(schema.categorical, slots, strict=True))


def _value_texts(feature: CategoricalFeature) -> np.ndarray:
    """The texts of the values of rows 1, 2, ...; object `[num_rows - 1]`."""
    width = max(5, len(str(feature.num_rows)))
    return np.array(
        [f"{feature.name}-{value:0{width}d}" for value in range(feature.num_rows - 1)], object
    )


def _format_values(
    feature: CategoricalFeature, rows: np.ndarray, weights: np.ndarray | None
) -> pa.Array:
    """The text of each example's values, `[n]` out of `[n, max_values]`; row 0 is left out."""
    is_value = rows > 0
    texts = pa.array(_value_texts(feature), pa.string()).take(pa.array(rows[is_value] - 1))
    if weights is not None:
        numbers = pc.cast(pa.array(weights[is_value]), pa.string())
        texts = pc.binary_join_element_wise(texts, numbers, feature.weight_separator)
    offsets = np.concatenate([[0], np.cumsum(is_value.sum(axis=1))]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, texts), feature.separator or "")
