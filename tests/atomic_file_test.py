"""A file is the old one or the new one, never half of one."""

import pytest

from tfrec_zoo.atomic_file import replace_file


def test_content_takes_the_place_at_the_end(tmp_path):
    path = tmp_path / "data.tsv.gz"
    path.write_text("old")
    with replace_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.name.endswith("data.tsv.gz")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), OSError(28, "full")])
def test_a_failure_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "data.tsv"
    path.write_text("old")
    with pytest.raises(type(error)), replace_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_system_names_the_file(tmp_path):
    with pytest.raises(OSError) as error_info, replace_file(tmp_path / "data.tsv"):
        raise OSError(28, "No space left on device")
    assert error_info.value.filename == str(tmp_path / "data.tsv")
