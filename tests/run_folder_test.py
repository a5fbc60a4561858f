import errno
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from tfrec_zoo.config import Config, option
from tfrec_zoo.run_folder import RunFolder, is_run_folder, open_run_folder, write_json, write_text
from tfrec_zoo.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    hidden_dims: tuple[int, ...] = option((100,), "Units.")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    network: NetworkConfig = NetworkConfig()
    seed: int = option(1, "Of all.")
    epochs: int = option(2, "Passes.", affects_result=False)


def snapshot(path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def fail_with_full_disk(*_arguments, **_keywords):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def run(tmp_path):
    """A run folder with a configuration, a vocabulary and a line of metrics."""
    with open_run_folder(tmp_path / "run", RunConfig()) as folder:
        Vocabulary.build(np.array(["a", "b"]), np.array([3, 1])).save(folder.vocabulary_path)
        folder.append_metrics({"epoch": 1, "loss": 2.5})
    return folder


def test_a_new_folder_holds_the_configuration(tmp_path):
    path = tmp_path / "deep" / "run"
    assert not is_run_folder(path)
    with open_run_folder(path, RunConfig(seed=7)) as folder:
        assert folder == RunFolder(path)
    assert is_run_folder(path)
    assert RunConfig.from_dict(RunFolder(path).load_config()) == RunConfig(seed=7)


def test_what_is_written_is_read(run):
    assert list(run.load_vocabulary().raw_ids(np.array([1, 2]))) == ["a", "b"]
    assert run.load_metrics_log() == [{"epoch": 1, "loss": 2.5}]
    run.write_metrics({"recall@20": np.float32(0.5), "loss": float("nan"), "n": np.int64(3)})
    assert run.load_metrics() == {"recall@20": 0.5, "loss": None, "n": 3}
    run.write_metrics_log([{"epoch": 5}])
    assert run.load_metrics_log() == [{"epoch": 5}]


def test_an_option_without_effect_may_change(run):
    with open_run_folder(run.path, RunConfig(epochs=9)) as folder:
        assert run.load_config()["epochs"] == 2
        folder.update_config(RunConfig(epochs=9))
    assert run.load_config()["epochs"] == 9
    assert run.load_metrics_log() == [{"epoch": 1, "loss": 2.5}]


def test_another_configuration_is_refused_and_changes_nothing(run):
    before = snapshot(run.path)
    other = RunConfig(seed=2, network=NetworkConfig(hidden_dims=(5, 6)), epochs=9)
    with pytest.raises(ValueError, match="another configuration") as caught:
        with open_run_folder(run.path, other):
            pytest.fail("must not open")
    assert "seed 1 there, 2 now" in str(caught.value)
    assert "network.hidden_dims (100,) there, (5, 6) now" in str(caught.value)
    assert "epochs" not in str(caught.value)
    assert snapshot(run.path) == before


def test_the_process_id_goes_with_the_process(run):
    with open_run_folder(run.path, RunConfig()):
        assert run.lock_path.read_text() == str(os.getpid())
    assert run.lock_path.read_text() == ""


def test_another_kind_of_run_is_refused(run):
    with pytest.raises(ValueError, match="another kind of run"):
        with open_run_folder(run.path, NetworkConfig()):
            pytest.fail("must not open")


def test_files_that_a_run_would_overwrite_are_refused(tmp_path):
    (tmp_path / "vocabulary.tsv").write_text("mine")
    with pytest.raises(ValueError, match="vocabulary.tsv but no config.json"):
        with open_run_folder(tmp_path, RunConfig()):
            pytest.fail("must not open")
    assert snapshot(tmp_path) == {"vocabulary.tsv": b"mine"}
    with pytest.raises(ValueError, match="is a file"):
        with open_run_folder(tmp_path / "vocabulary.tsv", RunConfig()):
            pytest.fail("must not open")


@pytest.mark.parametrize("exists", [False, True])
def test_a_start_that_fails_leaves_nothing(tmp_path, exists):
    path = tmp_path / "run"
    if exists:
        path.mkdir()
    with pytest.raises(ValueError, match="no such column"):
        with open_run_folder(path, RunConfig()) as folder:
            folder.checkpoints_path.mkdir()
            raise ValueError("no such column")
    assert path.exists() == exists
    assert not is_run_folder(path)


def test_a_run_that_fails_later_is_kept(tmp_path):
    with pytest.raises(ValueError, match="diverged"):
        with open_run_folder(tmp_path / "run", RunConfig()) as folder:
            folder.append_metrics({"epoch": 1})
            raise ValueError("diverged")
    assert folder.load_metrics_log() == [{"epoch": 1}]


def test_a_second_process_is_refused_until_the_first_is_killed(run):
    code = (
        "import sys, time, fcntl\n"
        "file = open(sys.argv[1], 'a')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.lock_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        before = snapshot(run.path)
        with pytest.raises(ValueError, match="another process .* is writing to the run folder"):
            with open_run_folder(run.path, RunConfig(epochs=5)):
                pytest.fail("must not open")
        assert snapshot(run.path) == before
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with open_run_folder(run.path, RunConfig(epochs=5)):
        pass


def test_one_process_cannot_open_a_folder_twice(run):
    with open_run_folder(run.path, RunConfig()):
        with pytest.raises(ValueError, match=rf"another process \(id {os.getpid()}\)"):
            with open_run_folder(run.path, RunConfig()):
                pytest.fail("must not open")


def test_a_torn_line_is_cut_off_on_reopening(run):
    with open(run.metrics_log_path, "ab") as file:
        file.write(b'{"epoch": 2, "lo')
    assert run.load_metrics_log() == [{"epoch": 1, "loss": 2.5}]
    with open_run_folder(run.path, RunConfig()) as folder:
        folder.append_metrics({"epoch": 2})
    lines = run.metrics_log_path.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_a_first_line_that_is_torn_is_cut_off(run):
    run.metrics_log_path.write_bytes(b'{"epo')
    with open_run_folder(run.path, RunConfig()):
        pass
    assert run.metrics_log_path.read_bytes() == b""


def test_evaluations_are_added_beside_the_process_that_trains(run):
    assert run.load_evaluations() == []
    with open_run_folder(run.path, RunConfig()):
        run.append_evaluation({"step": 5, "auc": float("nan")})
        run.append_evaluation({"step": 10, "auc": np.float64(0.5)})
    with open(run.evaluations_path, "ab") as file:
        file.write(b'{"step": 15')
    expected = [{"step": 5, "auc": None}, {"step": 10, "auc": 0.5}]
    assert run.load_evaluations() == expected
    assert run.load_metrics_log() == [{"epoch": 1, "loss": 2.5}]


def test_a_full_disk_leaves_the_old_file(run, monkeypatch):
    run.write_metrics({"loss": 1.0})
    before = snapshot(run.path)
    monkeypatch.setattr(os, "fsync", fail_with_full_disk)
    for write in (run.write_metrics, run.append_metrics):
        with pytest.raises(OSError) as caught:
            write({"loss": 2.0})
        assert caught.value.errno == errno.ENOSPC
        assert os.path.dirname(caught.value.filename) == str(run.path)
    assert snapshot(run.path) == before


def test_a_line_that_fits_in_part_is_not_written(run):
    before = snapshot(run.path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system then writes what fits and refuses the rest, as it does where a disk is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (run.metrics_log_path.stat().st_size + 10, hard))
    try:
        with pytest.raises(OSError, match=r"File too large.*metrics\.jsonl"):
            run.append_metrics({"epoch": 2, "loss": 1.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert snapshot(run.path) == before


def test_a_full_disk_at_the_start_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with_full_disk)
    with pytest.raises(OSError, match="No space left"):
        with open_run_folder(tmp_path / "run", RunConfig()):
            pytest.fail("must not open")
    assert list(tmp_path.iterdir()) == []


def test_whole_files_are_written(tmp_path):
    write_text(tmp_path / "a.txt", "é\n")
    write_json(tmp_path / "a.json", {"x": (1, np.array([1.5, np.inf])), "y": {1: np.bool_(True)}})
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "é\n"
    values = json.loads((tmp_path / "a.json").read_text())
    assert values == {"x": [1, [1.5, None]], "y": {"1": True}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.txt"]


def test_what_is_no_run_folder_cannot_be_read(tmp_path):
    for read in (RunFolder(tmp_path).load_config, RunFolder(tmp_path).load_vocabulary):
        with pytest.raises(ValueError, match="is not a run folder: it has no config.json"):
            read()


def test_a_broken_file_is_named(run):
    run.config_path.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: expected a JSON object"):
        run.load_config()
