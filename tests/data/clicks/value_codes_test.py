"""Codes, counts and vocabularies against dictionaries of plain Python."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from tfrec_zoo.data.clicks import value_codes
from tfrec_zoo.data.clicks.value_codes import BlockCodes, build_vocabulary, merge_texts


def draw_blocks(num_blocks=20):
    """Blocks of distinct texts with counts; some blocks are empty, some counts are 0."""
    rng = np.random.default_rng(5)
    blocks = []
    for _ in range(num_blocks):
        texts = sorted({f"é{value}" for value in rng.zipf(1.3, rng.integers(0, 60)) % 1000})
        blocks.append((pa.array(texts, pa.large_string()), rng.integers(0, 4, len(texts))))
    return blocks


@pytest.mark.parametrize("least_merged", [1, 50, 10_000])
@pytest.mark.parametrize("codes_a_chunk", [3, 10_000])
def test_blocks_become_one_dictionary(tmp_path, monkeypatch, least_merged, codes_a_chunk):
    monkeypatch.setattr(value_codes, "_LEAST_MERGED_TEXTS", least_merged)
    monkeypatch.setattr(value_codes, "_CODES_A_CHUNK", codes_a_chunk)
    blocks = draw_blocks()
    codes = BlockCodes(tmp_path / "codes")
    texts, totals = merge_texts(iter(blocks), codes)
    expected = Counter()
    for block_texts, counts in blocks:
        for text, count in zip(block_texts.to_pylist(), counts.tolist(), strict=True):
            expected[text] += count
    assert texts.to_pylist() == list(expected)
    assert totals.tolist() == list(expected.values())
    for number, (block_texts, _) in enumerate(blocks):
        found = codes.of_block(number)
        assert found.dtype == np.int32
        assert texts.take(pa.array(found)).to_pylist() == block_texts.to_pylist()

    codes.replace(np.arange(len(texts), dtype=np.int32) * 2 + 1)
    places = {text: place for place, text in enumerate(expected)}
    for number, (block_texts, _) in enumerate(blocks):
        rows = [places[text] * 2 + 1 for text in block_texts.to_pylist()]
        assert codes.of_block(number).tolist() == rows


def test_a_text_may_be_in_a_block_twice(tmp_path):
    codes = BlockCodes(tmp_path / "codes")
    texts = pa.array(["b", "a", "b"], pa.large_string())
    texts, totals = merge_texts([(texts, np.array([1, 2, 4]))], codes)
    assert dict(zip(texts.to_pylist(), totals.tolist(), strict=True)) == {"b": 5, "a": 2}
    assert codes.of_block(0).tolist() == [0, 1, 0]


def test_no_blocks(tmp_path):
    codes = BlockCodes(tmp_path / "codes")
    texts, totals = merge_texts([], codes)
    assert len(texts) == len(totals) == 0
    codes.replace(np.zeros(0, np.int32))


@pytest.mark.parametrize("min_count", [1, 2, 3, 99])
def test_frequent_values_first_then_by_text(min_count):
    counts = {"b": 2, "a": 2, "zz": 7, "é": 2, "never": 0, "once": 1, "B": 2}
    texts = pa.array(list(counts), pa.large_string())
    vocabulary, rows = build_vocabulary(texts, np.array(list(counts.values())), min_count)
    kept = sorted((-c, text) for text, c in counts.items() if c >= min_count)
    assert vocabulary.ids.tolist() == [text for _, text in kept]
    assert vocabulary.counts.tolist() == [-count for count, _ in kept]
    ranks = {text: rank for rank, (_, text) in enumerate(kept, start=1)}
    assert rows.tolist() == [ranks.get(text, 0) for text in counts]
    assert rows.tolist() == vocabulary.rows(list(counts)).tolist()
