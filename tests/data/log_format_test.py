"""Which files a log consists of."""

import pytest

from tfrec_zoo.data.log_format import expand_paths


def test_wildcards_take_numbers_by_their_value(tmp_path):
    names = [f"day_{day}.gz" for day in range(12)] + ["day_x.gz"]
    for name in sorted(names):
        (tmp_path / name).touch()
    assert [path.name for path in expand_paths(tmp_path / "day_*.gz")] == names


def test_files_stay_in_the_order_given(tmp_path):
    paths = [tmp_path / name for name in ("b.tsv", "a.tsv")]
    for path in paths:
        path.touch()
    assert expand_paths(paths) == paths


def test_nothing_that_matches(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file matches"):
        expand_paths(tmp_path / "day_*.gz")
