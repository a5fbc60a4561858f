"""Tables for tests: written, read whole, and decoded to plain Python values."""

import gzip
import math
from pathlib import Path

import numpy as np

from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec


def write(path: Path, text: str | bytes) -> Path:
    """Writes a text file, packed where its name ends in `.gz`."""
    content = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(paths, spec: TableSpec | dict, **options) -> dict:
    """Returns all rows: `label`, `weight`, `time`, and each column and feature, as lists.

    A missing number is None; the values of a multi-valued feature are a tuple a row, of pairs with
    the weight where there are weights.
    """
    spec = spec if isinstance(spec, TableSpec) else TableSpec.from_dict(spec)
    table: dict = {}
    for block in read_table_blocks(paths, spec, **options):
        parts = {"label": block.labels, "weight": block.weights, "time": block.times}
        columns = {n: p.tolist() for n, p in parts.items() if p is not None}
        for name, numbers in block.dense.items():
            assert numbers.dtype == np.float32
            columns[name] = [None if math.isnan(x) else x for x in numbers.tolist()]
        columns |= {name: decode(values) for name, values in block.categorical.items()}
        for name, column in columns.items():
            assert len(column) == block.num_rows
            table.setdefault(name, []).extend(column)
        table["num_bad_rows"] = block.num_bad_rows
    return table


def decode(values) -> list:
    """Returns the values of a categorical feature, a text or a tuple a row."""
    assert values.codes.dtype == np.int32 and values.texts.dtype == object
    assert len(set(values.texts)) == len(values.texts)
    found = values.texts[values.codes].tolist()
    if values.offsets is None:
        return found
    assert values.offsets.dtype == np.int64 and values.offsets[0] == 0
    if values.weights is not None:
        assert values.weights.dtype == np.float32
        found = list(zip(found, values.weights.tolist(), strict=True))
    bounds = zip(values.offsets[:-1], values.offsets[1:], strict=True)
    return [tuple(found[start:end]) for start, end in bounds]
