"""Everything that a user may get wrong: one sentence, an exit code, and no change to a run folder.

The trainer runs in this process; `tests/program_test.py` shows that errors of a process look alike.
"""

import errno
import fcntl
import gzip
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny_runs

from tfrec_zoo.run_folder import RunFolder

COLUMNS = "SessionId\tItemId\tTime\n"


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def fail(run_arguments, run, capsys):
    """Runs the trainer on the run, with flags added, which must be refused and change nothing."""

    def fail(*arguments, code=1):
        before = tiny_runs.snapshot(run)
        # A repeated --train would add a log.
        given = {argument.partition("=")[0] for argument in arguments}
        flags = [flag for flag in run_arguments if flag.partition("=")[0] not in given]
        flags += ["--validate_every_steps=30", f"--run_dir={run}"]
        assert tiny_runs.run_trainer(*flags, *arguments) == code
        assert tiny_runs.snapshot(run) == before
        return read_sentence(capsys, code)

    return fail


@pytest.fixture
def fail_anew(logs, tmp_path, capsys):
    """Runs the trainer in a new folder, which must be refused and leave no folder behind."""

    def fail_anew(*arguments, code=1):
        path = tmp_path / "new"
        flags = [f"--train={logs['train']}", f"--run_dir={path}", *arguments]
        assert tiny_runs.run_trainer(*flags) == code
        assert not path.exists()
        return read_sentence(capsys, code)

    return fail_anew


def read_sentence(capsys, code):
    text = capsys.readouterr().err
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if not re.match(r"\[\d\d:\d\d:\d\d\] ", line)]
    assert len(lines) == (2 if code == 2 else 1), text
    prefix = "tfrec-gru4rec: error: "
    assert lines[0].startswith(prefix)
    return lines[0].removeprefix(prefix)


def write(path, text):
    path.write_text(text)
    return path


LOGS = {
    "no column": ("Session\tItemId\tTime\n1\ta\t1\n", "no column 'SessionId', .* Session, ItemId,"),
    "empty": ("", r"log\.tsv is empty"),
    "header alone": (COLUMNS, "no clicks"),
    "bad time": (COLUMNS + "1\ta\t1\n1\tb\tnoon\n", r"log\.tsv, line 3: Time is 'noon', expected"),
    "short": (COLUMNS + "1\ta\t1\n2\tb\t1\n", "all 2 sessions are shorter than 2 clicks"),
}


@pytest.mark.parametrize(("content", "message"), LOGS.values(), ids=LOGS)
@pytest.mark.parametrize("flag", ["train", "test"])
def test_a_log_that_cannot_be_used(fail, tmp_path, content, message, flag):
    sentence = fail(f"--{flag}={write(tmp_path / 'log.tsv', content)}")
    if (flag, message) == ("test", LOGS["short"][1]):
        message = "all 2 clicks are on items that the vocabulary lacks"
    assert re.search(message, sentence)


@pytest.mark.parametrize("flag", ["train", "validation", "test"])
def test_a_missing_file(fail, tmp_path, flag):
    path = tmp_path / "nowhere.tsv"
    sentence = fail(f"--{flag}={path}")
    assert str(path) in sentence and "no file" in sentence


def test_a_file_that_ends_too_early(fail, logs, tmp_path):
    path = tmp_path / "log.tsv.gz"
    content = gzip.compress(logs["train"].read_bytes())
    path.write_bytes(content[: len(content) // 2])
    sentence = fail(f"--train={path}")
    assert str(path) in sentence and "ends" in sentence


@pytest.mark.parametrize("flag", ["validation", "test"])
def test_a_log_of_unknown_items_alone_is_named(fail, tmp_path, flag):
    path = write(tmp_path / "log.tsv", COLUMNS + "1\tx\t1\n1\ty\t2\n")
    assert fail(f"--{flag}={path}").startswith(
        f"{path}: all 2 clicks are on items that the vocabulary lacks, for example 'x'"
    )


def test_a_configuration_with_an_unknown_option(fail, tmp_path):
    path = write(tmp_path / "mine.json", '{"model": {"hiden_dims": [5]}}')
    assert fail(f"--config={path}").startswith(f"{path}: unknown option 'hiden_dims' in GRU4Rec")
    assert "the recipes are coveo_bpr_max, " in fail("--config=rsc16")


def test_a_run_of_another_configuration(fail):
    sentence = fail("--hidden_dims=9,9", "--seed=3", "--epochs=4")
    assert "model.hidden_dims (8,) there, (9, 9) now" in sentence
    assert "training.seed 42 there, 3 now" in sentence
    assert "epochs" not in sentence


def test_a_run_of_other_data(fail, logs):
    # Epochs may change in a run that goes on; in one that is refused, config.json stays.
    sentence = fail(f"--train={logs['other']}", "--epochs=5")
    assert "was trained on other data (200 sessions, checksum " in sentence
    assert "--init_from" in sentence


def test_the_same_sessions_of_other_items_are_other_data(fail, logs, tmp_path):
    text = logs["train"].read_text().replace("item-", "article-")
    tests = [f"--{name}={write(tmp_path / 'log.tsv', text)}" for name in ("train", "validation")]
    text = logs["test"].read_text().replace("item-", "article-")
    assert "other data" in fail(*tests, f"--test={write(tmp_path / 'test.tsv', text)}")


def test_a_second_process_on_the_run(fail, run):
    with open(run / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert f"is writing to the run folder {run}" in fail("--epochs=5")


def test_more_lanes_than_sessions_are_reduced(logs, tmp_path, caplog):
    run = tmp_path / "new"
    arguments = [f"--train={logs['train']}", f"--run_dir={run}", "--num_lanes=500", "--epochs=1"]
    for _ in range(2):
        caplog.clear()
        assert tiny_runs.run_trainer(*arguments) == 0
        assert "num_lanes=500 is more than the 200 sessions: reduced to 200" in caplog.messages
    assert json.loads((run / "config.json").read_text())["batches"]["num_lanes"] == 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--primary_metric=auc"], "primary_metric must be recall, mrr or ndcg with a cut-off"),
        (["--primary_metric=recall@0"], "primary_metric must be recall, mrr or ndcg"),
        (["--early_stopping_patience=2"], "early_stopping_patience=2 needs validation data"),
        (["--validate_every_steps=9"], "validate_every_steps=9 needs validation data"),
        (["--validation_sessions=9"], "validation_sessions=9 needs validation data"),
        (["--optimizer=keras:Adamm"], "tf_keras has no optimizer 'Adamm'"),
        (["--min_improvement=-1"], "min_improvement must be at least 0"),
        (["--init_from=/nowhere"], "/nowhere is not a run folder"),
    ],
)
def test_options_without_a_meaning_are_refused_before_training(fail_anew, arguments, message):
    assert message in fail_anew(*arguments)


def test_missing_validation_is_noticed_before_any_log_is_read(fail_anew):
    sentence = fail_anew("--train=/nowhere.tsv", "--early_stopping_patience=2")
    assert "early_stopping_patience=2 needs validation data" in sentence


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--k=5,x", "--k needs positive integers"), ("--layers=x", "hidden_dims must be a list")],
)
def test_wrong_flags(fail_anew, flag, message):
    assert message in fail_anew(flag, code=2)


def test_a_start_from_another_network(fail_anew, run):
    sentence = fail_anew(f"--init_from={run}", "--hidden_dims=9")
    assert sentence == (
        "init_from needs the same network, but hidden_dims is (8,) there and (9,) here"
    )
    sentence = fail_anew(f"--init_from={run}", "--momentum=0.5")
    assert "needs the same optimizer, but momentum is 0.0 there and 0.5 here" in sentence


def test_a_start_from_itself(fail, run):
    assert "--init_from and --run_dir are the same folder" in fail(f"--init_from={run}")


def test_a_training_that_diverges(logs, tmp_path, capsys):
    run = tmp_path / "new"
    arguments = ["--loss=bpr_max", "--learning_rate=1e30", f"--run_dir={run}"]
    assert tiny_runs.run_trainer(f"--train={logs['train']}", *arguments) == 1
    sentence = read_sentence(capsys, 1)
    assert re.match(r"the loss became (nan|inf) at step \d+ \(summed loss of the step ", sentence)


def test_a_damaged_checkpoint(fail, run):
    (path,) = (run / "checkpoints/last").glob("ckpt-184.data*")
    path.write_bytes(path.read_bytes()[:100])
    assert "checkpoints/last/ckpt-184 is damaged" in fail("--epochs=3")


def test_a_disk_that_is_full_when_the_metrics_are_written(fail, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    assert re.match(r"the disk is full: .*/run/metrics\.json; free some space", fail())


def test_a_disk_that_is_full_when_a_checkpoint_is_written(run_arguments, run, monkeypatch, capsys):
    def refuse(*_, **__):
        message = "/disk/ckpt-9; No space left on device"
        raise tf.errors.ResourceExhaustedError(None, None, message)

    arguments = [*run_arguments, "--validate_every_steps=30", f"--run_dir={run}", "--epochs=3"]
    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", refuse)
        assert tiny_runs.run_trainer(*arguments) == 1
    assert read_sentence(capsys, 1).startswith("the disk is full: /disk/ckpt-9; free some space")
    assert tiny_runs.load_state(run)["epoch"] == 2
    assert tiny_runs.run_trainer(*arguments) == 0
    assert RunFolder(run).load_metrics()["epochs"] == 3


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, too small for a run."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_disk_that_is_really_full(small_disk, run_arguments, finished_run, capsys):
    run = small_disk / "run"
    arguments = [*run_arguments, "--validate_every_steps=30", "--checkpoint_every_steps=20"]
    for _ in range(2):
        assert tiny_runs.run_trainer(*arguments, f"--run_dir={run}") == 1
        assert re.match(rf"the disk is full: {run}/.*; free some space", read_sentence(capsys, 1))
        assert not (run / "metrics.json").exists()
    assert tiny_runs.load_state(run)["step"] > 0

    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    assert tiny_runs.run_trainer(*arguments, f"--run_dir={run}") == 0
    found, expected = (tiny_runs.load_checkpoint(path) for path in (run, finished_run))
    for name in expected.keys() - {tiny_runs.STATE}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert not list(run.rglob("*_temp"))


def test_a_process_ends_with_one_line_and_its_exit_code(logs, tmp_path):
    command = [sys.executable, "-m", "tfrec_zoo.trainers.gru4rec", *tiny_runs.OPTIONS]
    arguments = [f"--train={logs['train']}", f"--init_from={tmp_path}", f"--run_dir={tmp_path}/new"]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"gru4rec: error: {tmp_path} is not a run folder: it has no config.json\n"
    )
