"""Reads tables of any columns in blocks: CSV, TSV, Parquet, with side tables joined.

Nothing is done row by row in Python: pyarrow parses a block of whole lines at a time, on as many
threads as there are cores, into numbers and dictionary-encoded texts. Memory is bounded by some
blocks and the side tables.

What is wrong with a row is said in one sentence, with the line. The fast reader need not know it:
a block that it fails on is read once more as texts, and looked through (`table_values`).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from tfrec_zoo.data.log_format import expand_paths
from tfrec_zoo.data.run_ahead import run_ahead
from tfrec_zoo.data.tables.table_block import TableBlock, Values
from tfrec_zoo.data.tables.table_joins import JoinedTable
from tfrec_zoo.data.tables.table_plan import BlockReport, ColumnPlan
from tfrec_zoo.data.tables.table_rows import RawRows
from tfrec_zoo.data.tables.table_sources import Table, open_table
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.data.tables.text_table import TextTable

__all__ = ["TableBlock", "Values", "read_table_blocks"]

_MAX_THREADS = 4


def read_table_blocks(
    paths: str | os.PathLike | Iterable,
    spec: TableSpec,
    *,
    max_bad_rows: int = 0,
    needs_label: bool = True,
    on_bad_row: Callable[[str], None] = lambda sentence: None,
) -> Iterator[TableBlock]:
    """Reads one file or several as one table, block by block, in the order given.

    A block whose rows are all bad comes with no rows, for its `num_bad_rows`.

    Args:
        paths: a file or several; a name with wildcards stands for all files that match, sorted.
        spec: what the columns are.
        max_bad_rows: rows that may be passed over because of what is wrong with them: the number
            of fields, a label that is neither 0 nor 1, a number or a time that is none.
        needs_label: whether labels, weights and times are read; without them, only features are,
            and a text file with `column_names` may lack the label's column. The times of a table of
            items are read all the same.
        on_bad_row: is told what is wrong with each row that is passed over, and where it is.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what it should be; one sentence with file, line and value.
    """
    if needs_label and spec.label is None:
        raise ValueError("the column specification names no label, and labels are needed")
    if needs_label and spec.vectors:
        raise ValueError("vectors are features of items, a table of examples cannot have them yet")
    num_bad_rows, time_kind = 0, None
    tasks = _list_tasks(expand_paths(paths), spec, needs_label)
    for report in run_ahead(tasks, num_threads=min(_MAX_THREADS, os.cpu_count() or 1)):
        num_allowed = max_bad_rows - num_bad_rows
        if len(report.bad_rows) > num_allowed:
            number, problem = report.bad_rows[num_allowed]
            raise ValueError(f"{report.place} {number}: {problem}{_describe_limit(max_bad_rows)}")
        num_bad_rows += len(report.bad_rows)
        for number, problem in report.bad_rows:
            on_bad_row(f"{report.place} {number}: {problem}")
        if report.time_kind:
            time_kind = time_kind or report.time_kind
            if report.time_kind != time_kind:
                raise ValueError(
                    f"{report.place} {report.first_number()}: {spec.time} is a {report.time_kind} "
                    f"here, but it was a {time_kind} before"
                )
        if report.block.num_rows or report.bad_rows:
            yield replace(report.block, num_bad_rows=num_bad_rows)


def _list_tasks(
    files: list[Path], spec: TableSpec, needs_label: bool
) -> Iterator[Callable[[], BlockReport]]:
    """Yields the work on each block of each file."""
    columns = {*spec.numeric_columns, *(n for f in spec.categorical for n in f.columns)}
    joined = [JoinedTable(side, files[0].parent, columns) for side in spec.join]
    plans: dict[tuple[str, ...], ColumnPlan] = {}
    for path in files:
        table = open_table(path, spec.layout)
        if not needs_label and spec.label and isinstance(table, TextTable):
            table.leave_out(spec.label.column)
        names = tuple(table.names)
        if names not in plans:
            plans[names] = ColumnPlan(table, spec, joined, needs_label)
        is_empty = True
        for read in table.blocks(plans[names].types):
            is_empty = False
            yield partial(_convert, read, plans[names], table)
        if is_empty:
            raise ValueError(f"{path} has columns but no rows")


def _convert(read: Callable[[], RawRows], plan: ColumnPlan, table: Table) -> BlockReport:
    return plan.convert(read(), table)


def _describe_limit(max_bad_rows: int) -> str:
    if not max_bad_rows:
        return " (max_bad_rows lets some such rows pass)"
    return f"; it is one bad row more than max_bad_rows={max_bad_rows} allows"
