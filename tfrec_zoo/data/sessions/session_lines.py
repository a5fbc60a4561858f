"""Logs of one session a line, its item ids separated by blanks: PaddlePaddle's gru4rec format."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tfrec_zoo.data.text_errors import explain_failure

_BLOCK_BYTES = 1 << 24


def read_session_lines(path: Path) -> tuple[np.ndarray, list[pa.DictionaryArray]]:
    """Reads the lines of a `.txt` or `.txt.gz` file.

    Returns:
        lengths: int64 [number of lines], items of each line; 0 for an empty one.
        items: the item ids of all lines, in pieces.

    Raises:
        ValueError: a broken gzip stream, or a line that is not UTF-8.
    """
    lengths, items = [np.zeros(0, np.int64)], []
    try:
        for lines in _read_lines(path):
            ids = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(lines))
            # An empty line splits into one empty text.
            is_filled = pc.not_equal(ids.flatten(), "")
            lengths.append(
                np.where(pc.equal(pc.utf8_trim_whitespace(lines), ""), 0, pc.list_value_length(ids))
            )
            items.append(ids.flatten().filter(is_filled).dictionary_encode())
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        if str(error) != "Empty CSV file":
            raise ValueError(explain_failure(path, None, None, error)) from None
    return np.concatenate(lengths), items


def _read_lines(path: Path) -> Iterator[pa.StringArray]:
    compression = "gzip" if path.name.endswith(".gz") else None
    with pa.input_stream(str(path), compression=compression) as stream:
        reader = pa_csv.open_csv(
            stream,
            pa_csv.ReadOptions(column_names=["line"], block_size=_BLOCK_BYTES),
            # No line holds the delimiter, so that each is one field.
            pa_csv.ParseOptions(delimiter="\x01", quote_char=False, ignore_empty_lines=False),
            pa_csv.ConvertOptions(column_types={"line": pa.string()}),
        )
        for batch in reader:
            yield batch.column(0)
