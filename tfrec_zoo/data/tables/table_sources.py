"""The files of a table, of whatever format, and whether they have the columns that are needed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfrec_zoo.data.log_format import find_format
from tfrec_zoo.data.tables.parquet_table import ParquetTable
from tfrec_zoo.data.tables.table_columns import FileLayout
from tfrec_zoo.data.tables.text_table import TextTable

Table = TextTable | ParquetTable


def open_table(path: Path, layout: FileLayout) -> Table:
    """Opens a file in the layout's format, or else in the one that its ending stands for."""
    file_format = layout.format
    if file_format is None:
        try:
            file_format = find_format(path)
        except ValueError as error:
            raise ValueError(f'{error}; or the column specification names its "format"') from None
    if file_format == "parquet":
        return ParquetTable(path)
    return TextTable(path, layout, "csv" if file_format == "csv" else "tsv")


def check_column(name: str, table: Table, side_tables: Iterable[Any] = ()) -> None:
    """Raises ValueError unless `table` has the column `name` once.

    Args:
        name: the column.
        table: the file.
        side_tables: others that have not got it, either, for the sentence.
    """
    if table.names.count(name) == 1:
        return
    problem = "more than one column" if name in table.names else "no column"
    found = f"the columns found are {', '.join(table.names)}"
    for side in side_tables:
        found += f", and in {side.path} {', '.join(side.names)}"
    advice = ""
    if name not in table.names and isinstance(table, TextTable) and table.has_header:
        advice = "; if its first line is no header, name the columns with column_names"
    raise ValueError(f"{table.path} has {problem} {name!r}, {found}{advice}")
