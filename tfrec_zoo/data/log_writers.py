"""Writes clicks as TSV, CSV, Parquet or one session a line; the counterpart of `log_files`."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrec_zoo.data.text_errors import DELIMITERS


def encode_ids(ids: np.ndarray, file_format: str) -> pa.Array:
    """Returns distinct ids [n] as they stand in a file: CSV ones in quotes where they need them.

    Raises:
        ValueError: an id that the format cannot hold, such as one with a tab in TSV.
    """
    texts = pa.array(ids, pa.large_string())
    if file_format == "parquet":
        return texts
    if file_format == "lines":
        parts = pc.list_value_length(pc.utf8_split_whitespace(texts))
        is_bad, reason = pc.not_equal(parts, 1), "blanks"
    else:
        separator = "\t" if file_format == "tsv" else ""
        is_bad = pc.match_substring_regex(texts, f"[{separator}\r\n]")
        reason = "tabs and line breaks" if separator else "line breaks"
    if pc.any(is_bad).as_py():
        bad = texts[pc.index(is_bad, True).as_py()].as_py()
        raise ValueError(f"id {bad!r} cannot be written as {file_format}, which has no {reason}")
    if file_format == "csv":
        doubled = pc.replace_substring(texts, '"', '""')
        quoted = pc.replace_substring_regex(doubled, "^(.*)$", '"\\1"')
        texts = pc.if_else(pc.match_substring_regex(texts, '[",]'), quoted, texts)
    return texts


def write_table(
    path: Path, file_format: str, names: list[str], blocks: Iterable[list[pa.Array]]
) -> None:
    """Writes columns block by block; `path` ends in `.gz` for a packed text.

    Args:
        path: the file.
        file_format: `tsv`, `csv` or `parquet`.
        names: of the columns.
        blocks: the columns of each block: ids from `encode_ids`, or numbers.
    """
    if file_format == "parquet":
        _write_parquet(path, names, blocks)
        return
    delimiter = pa.scalar(DELIMITERS[file_format], pa.large_string())
    header = encode_ids(np.array(names, dtype=object), file_format)
    with _open_output(path) as file:
        file.write((delimiter.as_py().join(header.to_pylist()) + "\n").encode())
        for block in blocks:
            texts = [column.cast(pa.large_string()) for column in block]
            _write_lines(file, pc.binary_join_element_wise(*texts, delimiter))


def write_session_lines(path: Path, blocks: Iterable[pa.ListArray]) -> None:
    """Writes sessions one a line; each block holds the item ids of some sessions."""
    with _open_output(path) as file:
        for block in blocks:
            _write_lines(file, pc.binary_join(block, " "))


def _write_parquet(path: Path, names: list[str], blocks: Iterable[list[pa.Array]]) -> None:
    writer = None
    try:
        for block in blocks:
            batch = pa.record_batch([_narrow(column) for column in block], names=names)
            writer = writer or pq.ParquetWriter(path, batch.schema, compression="zstd")
            writer.write_batch(batch)
    finally:
        if writer:
            writer.close()


def _narrow(column: pa.Array) -> pa.Array:
    """Returns texts as the plain strings that other readers expect, the rest as it is."""
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) else column


def _open_output(path: Path) -> pa.NativeFile:
    return pa.output_stream(str(path), compression="gzip" if path.name.endswith(".gz") else None)


def _write_lines(file: pa.NativeFile, lines: pa.Array) -> None:
    whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines.cast(pa.string()))
    file.write(pc.binary_join(whole, "\n")[0].as_buffer())
    file.write(b"\n")
