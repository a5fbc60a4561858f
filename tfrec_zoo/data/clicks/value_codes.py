"""The distinct values of a feature over all blocks, their counts, and the row of each.

The texts of blocks become codes of one dictionary, some blocks at a time, so that memory holds the
distinct texts and not those of every block; the codes lie in a file, and become rows in place.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrec_zoo.vocabulary import Vocabulary

# Blocks are merged into the dictionary when they have so many texts, or as many as it has.
_LEAST_MERGED_TEXTS = 1 << 20
_CODES_A_CHUNK = 1 << 22


class BlockCodes:
    """A number for each text of each block, int32, in a file."""

    def __init__(self, path: Path) -> None:
        """Takes the path of a new file: 4 bytes for each text of each block."""
        self._path = path
        self._starts = [0]
        path.touch()

    def append(self, blocks: Iterable[np.ndarray]) -> None:
        """Adds the numbers of the next blocks."""
        with open(self._path, "ab") as file:
            for codes in blocks:
                codes.astype(np.int32, copy=False).tofile(file)
                self._starts.append(self._starts[-1] + len(codes))

    def replace(self, values: np.ndarray) -> None:
        """Puts `values[code]` (int32 [m]) in the place of every code."""
        for start in range(0, self._starts[-1], _CODES_A_CHUNK):
            chunk = self._map(start, min(start + _CODES_A_CHUNK, self._starts[-1]), "r+")
            chunk[:] = values[chunk]

    def of_block(self, block: int) -> np.ndarray:
        """Returns the numbers of a block's texts; int32 [m]."""
        return self._map(*self._starts[block : block + 2], "r")

    def _map(self, start: int, stop: int, mode: str) -> np.ndarray:
        if start == stop:
            return np.zeros(0, np.int32)
        return np.memmap(self._path, np.int32, mode, offset=4 * start, shape=stop - start)


def merge_texts(
    blocks: Iterable[tuple[pa.Array, np.ndarray]], codes: BlockCodes
) -> tuple[pa.Array, np.ndarray]:
    """Makes one dictionary out of those of many blocks.

    Args:
        blocks: the texts of each block, large_string [m], and how often each occurs, int [m].
        codes: takes up the place in the dictionary of each text of each block.

    Returns:
        The distinct texts, large_string [n], in the order of first appearance, and how often each
        occurs in all blocks, int64 [n].
    """
    known, totals = pa.array([], pa.large_string()), np.zeros(0, np.int64)
    waiting, num_waiting = [], 0
    for texts, counts in blocks:
        waiting.append((texts, counts))
        num_waiting += len(texts)
        if num_waiting >= max(_LEAST_MERGED_TEXTS, len(known)):
            known, totals = _merge(known, totals, waiting, codes)
            waiting, num_waiting = [], 0
    return _merge(known, totals, waiting, codes)


def _merge(
    known: pa.Array,
    totals: np.ndarray,
    blocks: list[tuple[pa.Array, np.ndarray]],
    codes: BlockCodes,
) -> tuple[pa.Array, np.ndarray]:
    chunks = [
        pa.DictionaryArray.from_arrays(np.arange(len(texts), dtype=np.int32), texts)
        for texts in (known, *(texts for texts, _ in blocks))
    ]
    # What is known comes first, so that a code once given stays.
    chunks = pa.chunked_array(chunks).unify_dictionaries().chunks
    known = chunks[0].dictionary
    block_codes = [chunk.indices.to_numpy() for chunk in chunks[1:]]
    codes.append(block_codes)
    totals = np.pad(totals, (0, len(known) - len(totals)))
    for found, (_, counts) in zip(block_codes, blocks, strict=True):
        np.add.at(totals, found, counts)
    return known, totals


def build_vocabulary(
    texts: pa.Array, counts: np.ndarray, min_count: int
) -> tuple[Vocabulary, np.ndarray]:
    """Makes a vocabulary of the values that occur `min_count` times or more.

    Args:
        texts: distinct values, large_string [m].
        counts: of the training data, int64 [m].
        min_count: 1 or more.

    Returns:
        The vocabulary, most frequent values first, those of one count in the order of their texts;
        and the row of each of `texts`, int32 [m], 0 for those that are not in it.
    """
    kept = np.flatnonzero(counts >= min_count)
    table = pa.table({"text": texts.take(pa.array(kept)), "count": counts[kept]})
    order = pc.sort_indices(table, [("count", "descending"), ("text", "ascending")])
    kept = kept[order.to_numpy()]
    rows = np.zeros(len(texts), np.int32)
    rows[kept] = np.arange(1, len(kept) + 1)
    chosen = texts.take(pa.array(kept)).to_numpy(zero_copy_only=False)
    return Vocabulary(chosen, counts[kept]), rows
