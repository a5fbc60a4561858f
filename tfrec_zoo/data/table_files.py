"""Reads tables of any columns in blocks: CSV, TSV, Parquet, with side tables joined."""

import os
from collections.abc import Iterable, Iterator

from tfrec_zoo.data.table_block import TableBlock, Values
from tfrec_zoo.data.table_spec import TableSpec

__all__ = ["TableBlock", "Values", "read_table_blocks"]


def read_table_blocks(
    paths: str | os.PathLike | Iterable,
    spec: TableSpec,
    *,
    max_bad_rows: int = 0,
    needs_label: bool = True,
) -> Iterator[TableBlock]:
    """Reads one file or several as one table, block by block, in the order given.

    Args:
        paths: a file or several; a name with wildcards stands for all files that match, sorted.
        spec: what the columns are.
        max_bad_rows: rows that may be passed over because of what is wrong with them.
        needs_label: whether labels, weights and times are read; without them, only features are.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what it should be; one sentence with file, line and value.
    """
    raise NotImplementedError
