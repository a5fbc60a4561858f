"""Reads click logs into dictionary-encoded columns: TSV, CSV, Parquet, one session a line.

Nothing is done row by row in Python: pyarrow parses a block of the file at a time, ids become int32
codes at once, and only codes, times and the distinct ids are kept. Ids stay the texts that the file
has ("007" stays "007"); integers of a Parquet file become their decimals.

What is wrong with a file is said in one sentence, with the line. The fast reader need not know it:
once it has failed, `text_errors` walks through the file and looks.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tfrec_zoo.data.log_format import SessionColumns, expand_paths, find_format
from tfrec_zoo.data.sessions.session_lines import read_session_lines
from tfrec_zoo.data.text_errors import explain_failure, line_of_row, read_header
from tfrec_zoo.data.time_column import BadTimeError, parse_times

_BLOCK_BYTES = 1 << 24
_BLOCK_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class LogColumns:
    """The clicks of a log in the order of the file.

    Attributes:
        session_codes: int32 [N], position in `session_ids`.
        session_ids: object [S], distinct ids in the order of first appearance.
        item_codes: int32 [N], position in `item_ids`.
        item_ids: object [n], distinct ids in the order of first appearance.
        times: int64 or float64 [N]; None without a time column.
    """

    session_codes: np.ndarray
    session_ids: np.ndarray
    item_codes: np.ndarray
    item_ids: np.ndarray
    times: np.ndarray | None


@dataclass(frozen=True)
class _Block:
    """Rows of a file as it has them; `first_row` counts from 0, a header line included."""

    path: Path
    is_text: bool
    first_row: int
    columns: dict[str, pa.Array]

    def error(self, row: int, problem: str) -> ValueError:
        """Returns the error that says what is wrong with row `row` of the block."""
        row += self.first_row
        place = f"line {line_of_row(self.path, row)}" if self.is_text else f"row {row + 1}"
        return ValueError(f"{self.path}, {place}: {problem}")


def read_columns(paths: str | os.PathLike | Iterable, columns: SessionColumns) -> LogColumns:
    """Reads one log or several as one, in the order given.

    Args:
        paths: a file or several; a name with wildcards stands for all files that match, sorted.
        columns: where the files have what. Of a one-session-a-line file (`.txt`) the line number
            becomes the session id, counted through all files, and there are no times.

    Returns:
        At least one click.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what it should be; one sentence with file, line and value.
    """
    files = expand_paths(paths)
    formats = [columns.file_format or find_format(path) for path in files]
    if set(formats) == {"lines"}:
        return _read_lines(files)
    if "lines" in formats:
        raise ValueError("one-session-a-line files (.txt) cannot be read together with others")
    sessions, items, times, time_kinds = [], [], [], set()
    for path, file_format in zip(files, formats, strict=True):
        is_parquet = file_format == "parquet"
        num_blocks = len(items)
        for block in (
            _read_parquet(path, columns) if is_parquet else _read_text(path, file_format, columns)
        ):
            sessions.append(_encode_ids(block, columns.session))
            items.append(_encode_ids(block, columns.item))
            if columns.time:
                times.append(_convert_times(block, columns.time, time_kinds))
        if len(items) == num_blocks:
            raise ValueError(f"{path} has columns but no clicks")
    session_codes, session_ids = _unify(sessions)
    item_codes, item_ids = _unify(items)
    all_times = np.concatenate(times) if columns.time else None
    return LogColumns(session_codes, session_ids, item_codes, item_ids, all_times)


def _read_text(path: Path, file_format: str, columns: SessionColumns) -> Iterator[_Block]:
    header, dialect = read_header(path, file_format)
    names = list(columns.names) or header
    columns.check(names, "--column_names" if columns.names else str(path))
    row = 0 if columns.names else 1
    compression = "gzip" if path.name.endswith(".gz") else None
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            reader = pa_csv.open_csv(
                stream,
                pa_csv.ReadOptions(column_names=names, skip_rows=row, block_size=_BLOCK_BYTES),
                pa_csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char='"' if dialect.is_quoted else False,
                ),
                pa_csv.ConvertOptions(include_columns=columns.used, column_types=_types(columns)),
            )
            for batch in reader:
                arrays = dict(zip(columns.used, batch.columns, strict=True))
                yield _Block(path, True, row, arrays)
                row += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        if str(error) != "Empty CSV file":
            raise ValueError(explain_failure(path, dialect, len(names), error)) from None


def _types(columns: SessionColumns) -> dict[str, pa.DataType]:
    text_code = pa.dictionary(pa.int32(), pa.string())
    # Times are read as texts: whether they are integers is known only at the end of the file.
    return {columns.session: text_code, columns.item: text_code, columns.time or "": pa.string()}


def _read_parquet(path: Path, columns: SessionColumns) -> Iterator[_Block]:
    row = 0
    try:
        schema = pq.read_schema(path)
        columns.check(schema.names, str(path))
        # Texts stay the codes that the file has, where it has them: three times as fast.
        texts = [name for name in columns.used[:2] if _is_text(schema.field(name).type)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(_BLOCK_ROWS, columns=columns.used):
                if batch.num_rows:
                    arrays = {name: batch.column(name) for name in columns.used}
                    yield _Block(path, False, row, arrays)
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is not a sound Parquet file: {reason}") from None


def _read_lines(files: list[Path]) -> LogColumns:
    lengths, items = [], []
    for path in files:
        file_lengths, file_items = read_session_lines(path)
        if not file_lengths.any():
            raise ValueError(f"{path} has no sessions, expected one a line")
        lengths.append(file_lengths)
        items += file_items
    lengths = np.concatenate(lengths)
    line_numbers = np.flatnonzero(lengths) + 1
    session_ids = pa.array(line_numbers).cast(pa.string()).to_numpy(zero_copy_only=False)
    session_codes = np.repeat(
        np.arange(len(line_numbers), dtype=np.int32), lengths[line_numbers - 1]
    )
    return LogColumns(session_codes, session_ids, *_unify(items), None)


def _encode_ids(block: _Block, name: str) -> pa.DictionaryArray:
    """Returns a column as codes and texts, none of them missing or empty."""
    ids = block.columns[name]
    if pa.types.is_dictionary(ids.type) and (
        not _is_text(ids.type.value_type) or ids.dictionary.null_count
    ):
        ids = ids.dictionary_decode()
    if not pa.types.is_dictionary(ids.type):
        if not (_is_text(ids.type) or pa.types.is_integer(ids.type)):
            raise ValueError(
                f"{block.path}: column {name!r} must hold texts or integers, its type is {ids.type}"
            )
        ids = ids.dictionary_encode()
    if ids.null_count:
        raise block.error(pc.index(pc.is_null(ids), True).as_py(), f"{name} is missing")
    texts = ids.dictionary.cast(pa.large_string())
    empty = pc.index(texts, "").as_py()
    if empty >= 0 and (is_empty := ids.indices.to_numpy() == empty).any():
        raise block.error(int(np.argmax(is_empty)), f"{name} is empty")
    return pa.DictionaryArray.from_arrays(ids.indices.cast(pa.int32()), texts)


def _is_text(data_type: pa.DataType) -> bool:
    return pa.types.is_string(data_type) or pa.types.is_large_string(data_type)


def _convert_times(block: _Block, name: str, kinds: set[str]) -> np.ndarray:
    try:
        times, kind = parse_times(block.columns[name])
    except BadTimeError as error:
        problem = f"{name} is {error.value!r}, expected a number or an ISO-8601 timestamp"
        raise block.error(error.row, problem) from None
    kinds.add(kind)
    if len(kinds) > 1:
        raise block.error(0, f"{name} is a {kind} here, but of the other kind before")
    return times


def _unify(chunks: list[pa.DictionaryArray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns int32 codes [N] and the distinct ids, in the order of first appearance."""
    unified = pa.chunked_array(chunks).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks])
    ids = unified.chunk(0).dictionary.to_numpy(zero_copy_only=False)
    # A dictionary of a Parquet file may be sorted, and hold ids that no row has.
    first_rows = np.full(len(ids), len(codes))
    first_rows[codes[::-1]] = np.arange(len(codes))[::-1]
    order = np.argsort(first_rows, kind="stable")
    order = order[: np.count_nonzero(first_rows < len(codes))]
    if len(order) < len(ids) or (order[1:] < order[:-1]).any():
        places = np.zeros(len(ids), np.int32)
        places[order] = np.arange(len(order))
        codes, ids = places[codes], ids[order]
    return codes, ids
