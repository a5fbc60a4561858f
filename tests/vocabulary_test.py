"""The vocabulary against dictionaries, and its file byte for byte."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from tfrec_zoo.vocabulary import Vocabulary, as_text_ids


def test_rows_and_raw_ids_are_those_of_a_dictionary():
    rng = np.random.default_rng(1)
    ids = [f"{k:03d}" for k in rng.permutation(500)]
    vocabulary = Vocabulary.build(ids, rng.integers(1, 9, 500))
    expected = {raw: row for row, raw in enumerate(ids, start=1)}
    asked = rng.choice([*ids, "unknown", "", "7"], (20, 30))

    rows = vocabulary.rows(asked)

    assert rows.dtype == np.int32 and rows.shape == (20, 30)
    assert rows.tolist() == [[expected.get(raw, 0) for raw in line] for line in asked.tolist()]
    known = np.where(rows > 0, asked, "")
    assert vocabulary.raw_ids(rows).tolist() == known.tolist()
    assert (vocabulary.num_items, vocabulary.num_rows) == (500, 501)


def test_ids_stay_as_written():
    vocabulary = Vocabulary.build(["007", "7", "NA", 'a "b"', "ü"], [1, 1, 1, 1, 1])
    assert vocabulary.rows(["7", "007", "NA", 'a "b"', "ü", "nan"]).tolist() == [2, 1, 3, 4, 5, 0]


@pytest.mark.parametrize(
    "raw_ids",
    [
        [7, 12],
        np.array([7, 12], np.uint64),
        pd.Series(["7", "12"]),
        pd.Series(["7", "12"], dtype="category"),
        np.array([b"7", b"12"]),
    ],
)
def test_integers_and_bytes_are_taken_as_texts(raw_ids):
    assert Vocabulary.build(["12", "7"], [1, 1]).rows(raw_ids).tolist() == [2, 1]


def test_no_ids_give_no_rows():
    assert Vocabulary.build(["a"], [1]).rows([]).shape == (0,)
    assert Vocabulary.build([], []).rows(["a"]).tolist() == [0]


def test_counts_from_codes_are_those_of_a_counter():
    rng = np.random.default_rng(2)
    ids = np.array([f"i{k}" for k in range(50)], dtype=object)
    codes = rng.integers(0, 40, 1000).astype(np.int32)
    vocabulary = Vocabulary.from_codes(ids, codes)
    assert dict(zip(vocabulary.ids, vocabulary.counts, strict=True)) == Counter(ids[codes])
    assert vocabulary.row_counts().tolist() == [0, *vocabulary.counts]
    assert vocabulary.row_counts().dtype == np.int64


def test_extend_keeps_old_rows_and_adds_counts():
    old = Vocabulary.build(["b", "a"], [5, 3])
    grown = old.extend(["z", "a", "c", "z"], [1, 2, 4, 8])
    assert grown.ids.tolist() == ["b", "a", "z", "c"]
    assert grown.counts.tolist() == [5, 5, 9, 4]
    assert grown.rows(old.ids).tolist() == old.rows(old.ids).tolist()
    assert old.counts.tolist() == [5, 3]


def test_file_has_a_line_for_each_row(tmp_path):
    path = tmp_path / "vocabulary.tsv"
    vocabulary = Vocabulary.build(["007", 'say "x"', "ü,", "NA", " "], [3, 1, 2, 5, 6])
    vocabulary.save(path)
    assert path.read_bytes() == '\t0\n007\t3\nsay "x"\t1\nü,\t2\nNA\t5\n \t6\n'.encode()
    loaded = Vocabulary.load(path)
    assert loaded.ids.tolist() == vocabulary.ids.tolist()
    assert loaded.counts.tolist() == vocabulary.counts.tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["vocabulary.tsv"]


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.tsv"
    Vocabulary.build(["old"], [1]).save(path)

    def fill_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        Vocabulary.build(["new"], [1]).save(path)
    monkeypatch.undo()
    assert Vocabulary.load(path).ids.tolist() == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == ["vocabulary.tsv"]


@pytest.mark.parametrize("raw_id", ["", "a\tb", "a\nb", "a\rb"])
def test_ids_that_the_file_cannot_hold_are_refused(raw_id):
    with pytest.raises(ValueError, match="cannot be in a vocabulary"):
        Vocabulary.build(["x", raw_id], [1, 1])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="'a' is in the vocabulary twice"):
        Vocabulary.build(["a", "b", "a"], [1, 1, 1])
    with pytest.raises(ValueError, match=r"ids \[2\] and counts \[1\]"):
        Vocabulary.build(["a", "b"], [1])
    with pytest.raises(ValueError, match="negative, got -1"):
        Vocabulary.build(["a"], [-1])
    with pytest.raises(ValueError, match=r"rows must be in 0\.\.1, got 0\.\.2"):
        Vocabulary.build(["a"], [1]).raw_ids([0, 2])
    with pytest.raises(ValueError, match="item ids must be texts or integers"):
        as_text_ids([1.0, 2.5])
    with pytest.raises(ValueError, match="item ids must be texts or integers"):
        as_text_ids(["a", None])


@pytest.mark.parametrize("text", ["", "a\t1\n", "\t0\na\tmany\n", "\t0\na\n", "\t0\na\t1\na\t1\n"])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "vocabulary.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a vocabulary file"):
        Vocabulary.load(path)


def test_ids_and_counts_cannot_be_changed():
    vocabulary = Vocabulary.build(["a"], [1])
    for array in (vocabulary.ids, vocabulary.counts, vocabulary.row_counts()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
