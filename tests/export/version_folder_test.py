import os
import signal
import subprocess
import sys

import pytest

from tfrec_zoo.export.version_folder import list_versions, write_models_config, write_version


def write_file(folder):
    (folder / "part").mkdir()
    (folder / "part" / "file").write_text("content")


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_versions_count_up(tmp_path):
    export_dir = tmp_path / "a" / "b"
    assert list_versions(export_dir) == []
    assert write_version(export_dir, None, write_file) == export_dir / "1"
    assert write_version(export_dir, 20, write_file) == export_dir / "20"
    assert write_version(export_dir, None, write_file) == export_dir / "21"
    assert write_version(export_dir, 3, write_file) == export_dir / "3"
    assert list_versions(export_dir) == [1, 3, 20, 21]
    assert list_names(export_dir) == ["1", "20", "21", "3"]
    assert (export_dir / "21" / "part" / "file").read_text() == "content"


def test_an_existing_version_is_refused_before_anything_is_written(tmp_path):
    write_version(tmp_path, 4, write_file)
    with pytest.raises(ValueError, match="4 exists"):
        write_version(tmp_path, 4, lambda folder: pytest.fail("was called"))
    with pytest.raises(ValueError, match="positive number, got 0"):
        write_version(tmp_path, 0, write_file)
    assert (tmp_path / "4" / "part" / "file").read_text() == "content"


def test_a_version_that_appears_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(ValueError, match="2 exists"):
        write_version(tmp_path, 2, lambda _: (tmp_path / "2").mkdir())
    assert list_names(tmp_path) == ["2"]


def test_an_error_leaves_nothing_behind(tmp_path):
    def fail(folder):
        write_file(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_version(tmp_path, None, fail)
    assert list_names(tmp_path) == []


def test_a_killed_export_leaves_no_version(tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tfrec_zoo.export.version_folder import write_version\n"
        "def write(folder):\n"
        "    (folder / 'saved_model.pb').write_text('half')\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "write_version(Path(sys.argv[1]), 1, write)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert [name for name in list_names(tmp_path) if not name.startswith(".")] == []
    assert write_version(tmp_path, 1, write_file) == tmp_path / "1"


def test_others_may_read_a_version(tmp_path):
    old_mask = os.umask(0o022)
    try:
        path = write_version(tmp_path, None, write_file)
    finally:
        os.umask(old_mask)
    assert path.stat().st_mode & 0o777 == 0o755


def test_an_edited_models_config_stays(tmp_path):
    write_models_config(tmp_path, "news")
    path = tmp_path / "models.config"
    assert 'base_path: "/models/news"' in path.read_text()
    path.write_text("edited")
    write_models_config(tmp_path, "news")
    assert path.read_text() == "edited"


def test_models_config_is_the_proto_of_the_server(tmp_path):
    config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    write_models_config(tmp_path, "news")
    text = (tmp_path / "models.config").read_text()
    config = text_format.Parse(text, config_pb2.ModelServerConfig()).model_config_list.config[0]
    assert (config.name, config.model_platform) == ("news", "tensorflow")
    assert config.model_version_policy.latest.num_versions == 1
