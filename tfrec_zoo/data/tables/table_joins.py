"""Side tables: files with more columns, read whole and joined to the rows of a log by a key."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrec_zoo.data.log_format import expand_paths
from tfrec_zoo.data.tables.table_block import Values
from tfrec_zoo.data.tables.table_categories import encode_texts, to_values
from tfrec_zoo.data.tables.table_columns import CategoricalColumn, SideTable
from tfrec_zoo.data.tables.table_rows import TEXT
from tfrec_zoo.data.tables.table_sources import check_column, open_table
from tfrec_zoo.data.tables.table_values import Problems, to_numbers


class JoinedTable:
    """A side table of m rows, read into memory.

    Its columns have m + 1 rows: in the last one everything is missing, so that it is what the row
    -1, of keys that are not there, finds.

    Attributes:
        path: the file.
        on: the column of the log that is looked up.
        names: the columns of the file.
    """

    def __init__(self, side: SideTable, log_folder: Path, wanted: Collection[str]):
        """Reads the file.

        Args:
            side: where it is and how it is written.
            log_folder: where a relative path starts.
            wanted: the columns to keep, as far as the file has them.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not what it should be, or a key is in it twice.
        """
        self.path = _find_file(side, log_folder)
        table = open_table(self.path, side)
        self.on, self.names = side.on, table.names
        self._place = f"{self.path}, {table.unit}"
        names = [name for name in table.names if name in wanted and name != side.key]
        for name in (side.key, *names):
            check_column(name, table)
        rows = table.read_whole({**dict.fromkeys(names, pa.string()), side.key: TEXT})
        self._rows = rows
        self._refuse({})
        keys = encode_texts(rows.columns[side.key], side.key)
        self._index_keys(keys.texts[keys.codes], side.key)
        self._columns = {
            name: pa.concat_arrays([column, pa.nulls(1, column.type)])
            for name, column in rows.columns.items()
        }

    def find_rows(self, keys: Values) -> np.ndarray:
        """Returns the row of each of the log's values [n]; -1 where the table has none."""
        found = self._keys.get_indexer(pd.Index(keys.texts, dtype=object))
        return self._key_rows[found][keys.codes]

    def read_numbers(self, name: str) -> np.ndarray:
        """Returns the numbers of a column, float32 [m + 1]."""
        problems: Problems = {}
        numbers = to_numbers(self._columns[name], name, problems)
        self._refuse(problems)
        return numbers

    def read_values(self, feature: CategoricalColumn) -> Values:
        """Returns the values of a feature, of m + 1 rows."""
        problems: Problems = {}
        values = to_values(self._columns, feature, problems)
        self._refuse(problems)
        return values

    def _index_keys(self, keys: np.ndarray, name: str) -> None:
        rows = np.flatnonzero(keys != "")
        self._keys = pd.Index(keys[rows], dtype=object)
        self._key_rows = np.append(rows, -1)
        if not self._keys.is_unique:
            row = rows[int(np.argmax(self._keys.duplicated()))]
            self._refuse({int(row): f"{name} {keys[row]!r} is there a second time"})

    def _refuse(self, problems: Problems) -> None:
        for number, problem in self._rows.list_problems(problems):
            raise ValueError(f"{self._place} {number}: {problem}")


def _find_file(side: SideTable, log_folder: Path) -> Path:
    try:
        files = expand_paths(log_folder / side.file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"join: {error}, to be joined by {side.on}") from None
    if len(files) > 1:
        names = ", ".join(map(str, files))
        raise ValueError(f"join: {side.file} is a side table in one file, but there are {names}")
    return files[0]
