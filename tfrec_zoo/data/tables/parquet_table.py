"""Parquet files as blocks of rows, as `text_table` has those of text files."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfrec_zoo.data.tables.table_rows import RawRows, as_one_array

_BLOCK_ROWS = 1 << 16


class ParquetTable:
    """A Parquet file; attributes and methods as `TextTable`."""

    unit = "row"

    def __init__(self, path: Path):
        """Reads the schema; ValueError where the file is not a sound one."""
        self.path = path
        self._schema = self._guard(lambda: pq.read_schema(path))
        self.names = self._schema.names

    def blocks(self, types: Mapping[str, pa.DataType]) -> Iterator[Callable[[], RawRows]]:
        """Yields the file's rows; `types` only says which columns, the types are the file's."""
        first_row = 1
        with self._guard(lambda: self._open(types)) as file:
            batches = file.iter_batches(_BLOCK_ROWS, columns=list(types))
            while (batch := self._guard(lambda: next(batches, None))) is not None:
                if batch.num_rows:
                    columns = {name: batch.column(name) for name in types}
                    numbers = partial(range, first_row, first_row + batch.num_rows)
                    yield partial(RawRows, columns, numbers)
                first_row += batch.num_rows

    def read_whole(self, types: Mapping[str, pa.DataType]) -> RawRows:
        """Returns all rows of the file at once."""
        with self._guard(lambda: self._open(types)) as file:
            table = self._guard(lambda: file.read(columns=list(types)))
        columns = {name: as_one_array(table.column(name)) for name in types}
        return RawRows(columns, partial(range, 1, table.num_rows + 1))

    def _open(self, types: Mapping[str, pa.DataType]) -> pq.ParquetFile:
        # Texts stay the codes that the file has, where it has them: three times as fast.
        texts = [n for n in types if _is_bytes(self._schema.field(n).type)]
        return pq.ParquetFile(self.path, read_dictionary=texts)

    def _guard(self, read: Callable):
        try:
            return read()
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.path} is not a sound Parquet file: {reason}") from None


def _is_bytes(data_type: pa.DataType) -> bool:
    kinds = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())
    return data_type in kinds
