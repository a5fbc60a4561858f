"""Reads impressions in the format of the Microsoft News dataset (MIND, `behaviors.tsv`).

Tab separated, with or without its header line:

    ImpressionId  UserId  Time                    History    Impressions
    13807         U49985  11/9/2019 12:01:13 AM   N5056 N29  N3491-1 N41881-0
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tfrec_zoo.data.log_format import expand_paths
from tfrec_zoo.data.news.impressions import ImpressionLog
from tfrec_zoo.data.news.item_table import Paths
from tfrec_zoo.data.text_errors import (
    GZIP_ERRORS,
    Dialect,
    explain_failure,
    line_of_row,
    open_bytes,
)
from tfrec_zoo.data.time_column import BadTimeError, parse_times

COLUMNS = ("ImpressionId", "UserId", "Time", "History", "Impressions")

_DIALECT = Dialect("\t", is_quoted=False)
_TIME_FORMAT = "%m/%d/%Y %I:%M:%S %p"
_SHOWN = r"^\S+-[01]$"
_BLOCK_BYTES = 1 << 24


def read_impressions(paths: Paths) -> ImpressionLog:
    """Reads one file of impressions or several as one.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what it should be; one sentence with file, line and value.
    """
    tables = [table for path in expand_paths(paths) for table in _read_file(path)]
    parts = [[table[name] for table in tables] for name in COLUMNS[:3]]
    texts = [pa.concat_arrays(part).to_numpy(zero_copy_only=False) for part in parts[:2]]
    history = pa.concat_arrays([table["History"] for table in tables])
    shown = pa.concat_arrays([table["Impressions"] for table in tables])
    marked = shown.flatten()
    # The mark is one character behind one dash.
    shown_ids = pc.utf8_slice_codeunits(marked, 0, -2)
    is_clicked = pc.ends_with(marked, "1").to_numpy(zero_copy_only=False)
    ids = pa.chunked_array([history.flatten(), shown_ids]).dictionary_encode()
    ids = ids.unify_dictionaries()
    codes = [chunk.indices.to_numpy() for chunk in ids.chunks]
    return ImpressionLog(
        impression_ids=texts[0],
        user_ids=texts[1],
        times=np.concatenate(parts[2]),
        item_ids=ids.chunk(0).dictionary.to_numpy(zero_copy_only=False),
        history_codes=codes[0],
        history_offsets=_offsets(history),
        shown_codes=codes[1],
        is_clicked=is_clicked,
        shown_offsets=_offsets(shown),
    )


def _read_file(path: Path) -> Iterator[dict[str, pa.Array | np.ndarray]]:
    has_header = _check_first_line(path)
    row = int(has_header)
    types = dict.fromkeys(COLUMNS, pa.large_string())
    compression = "gzip" if path.name.endswith(".gz") else None
    try:
        with pa.input_stream(os.fspath(path), compression=compression) as stream:
            reader = pa_csv.open_csv(
                stream,
                pa_csv.ReadOptions(column_names=COLUMNS, skip_rows=row, block_size=_BLOCK_BYTES),
                pa_csv.ParseOptions(delimiter="\t", quote_char=False),
                pa_csv.ConvertOptions(column_types=types),
            )
            for batch in reader:
                yield _parse(path, row, batch)
                row += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        if str(error) != "Empty CSV file":
            raise ValueError(explain_failure(path, _DIALECT, len(COLUMNS), error)) from None
    if row == int(has_header):
        raise ValueError(f"{path} has a header line but no impressions")


def _check_first_line(path: Path) -> bool:
    """Returns whether the first line names the columns."""
    try:
        with open_bytes(path) as file:
            line = file.readline().decode("utf-8-sig")
    except (*GZIP_ERRORS, UnicodeDecodeError) as error:
        raise ValueError(explain_failure(path, None, None, error)) from None
    if not line:
        raise ValueError(f"{path} is empty, expected impressions")
    fields = _DIALECT.split(line)
    if len(fields) != len(COLUMNS):
        raise ValueError(
            f"{path}, line 1: expected the {len(COLUMNS)} fields {', '.join(COLUMNS)}, found "
            f"{len(fields)}"
        )
    return fields[0] == COLUMNS[0]


def _parse(path: Path, first_row: int, batch: pa.RecordBatch) -> dict[str, pa.Array | np.ndarray]:
    def refuse(row: int, problem: str) -> ValueError:
        return ValueError(f"{path}, line {line_of_row(path, first_row + int(row))}: {problem}")

    parsed = {name: batch[name] for name in COLUMNS[:2]}
    for name, ids in parsed.items():
        if (row := pc.index(ids, "").as_py()) >= 0:
            raise refuse(row, f"{name} is empty")
    try:
        parsed["Time"] = _parse_times(batch["Time"])
    except BadTimeError as error:
        raise refuse(
            error.row, f"Time is {error.value!r}, expected one as 11/9/2019 12:01:13 AM"
        ) from None
    for name in COLUMNS[3:]:
        parsed[name] = _split(batch[name])
    shown = parsed["Impressions"]
    lengths = pc.list_value_length(shown).to_numpy()
    if len(lengths) and not lengths.all():
        raise refuse(np.argmin(lengths), "Impressions is empty, expected what was shown")
    marked = shown.flatten()
    is_bad = ~pc.match_substring_regex(marked, _SHOWN).to_numpy(zero_copy_only=False)
    if is_bad.any():
        place = int(np.argmax(is_bad))
        row = np.searchsorted(np.cumsum(lengths), place, side="right")
        problem = "expected an id with -1 behind it, if it was clicked, or -0"
        raise refuse(row, f"Impressions has {marked[place].as_py()!r}, {problem}")
    return parsed


def _parse_times(texts: pa.Array) -> np.ndarray:
    found = pc.strptime(texts, _TIME_FORMAT, "s", error_is_null=True)
    if not found.null_count:
        return found.cast(pa.int64()).to_numpy()
    if found.null_count == len(found):
        return parse_times(texts)[0]
    row = pc.index(pc.is_null(found), True).as_py()
    raise BadTimeError(row, texts[row].as_py())


def _split(texts: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(texts)
    parts = pc.utf8_split_whitespace(trimmed)
    # Nothing at all is one empty part.
    is_empty = pc.equal(trimmed, "")
    return pc.if_else(is_empty, pa.scalar([], parts.type), parts)


def _offsets(lists: pa.Array) -> np.ndarray:
    lengths = pc.list_value_length(lists).to_numpy()
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
