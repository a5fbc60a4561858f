"""What `tfrec-gru4rec` leaves behind and says, run as a user would."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from absl import flags

from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers.gru4rec import parse_cut_offs

METRIC = re.compile(r"(recall|mrr|ndcg)@(1|5|10|20)")


def test_metrics_are_flat_numbers(finished_run):
    metrics = RunFolder(finished_run).load_metrics()
    assert len([name for name in metrics if METRIC.fullmatch(name)]) == 12
    assert 0 < metrics["mrr@20"] < metrics["recall@20"] <= 1
    assert {"loss", "events_per_second", "train_seconds", "best_value"} <= metrics.keys()
    assert (metrics["epochs"], metrics["tie_rule"]) == (2, "pessimistic")
    assert all(isinstance(value, int | float | str) for value in metrics.values())
    state = tiny_runs.load_state(finished_run)
    assert metrics["steps"] == state["step"]
    assert metrics["num_test_events"] > 100


def test_the_log_has_a_line_an_epoch_and_one_a_validation(finished_run):
    lines = RunFolder(finished_run).load_metrics_log()
    steps = tiny_runs.load_state(finished_run)["step"] // 2
    validations = [step for step in range(30, 2 * steps, 30) if step not in (steps, 2 * steps)]
    expected = sorted([*validations, steps, 2 * steps])
    assert [line["step"] for line in lines] == pytest.approx(expected, abs=4)
    assert [line["epoch"] for line in lines] == sorted(line["epoch"] for line in lines)
    epochs = [line for line in lines if "loss" in line]
    assert [line["step"] for line in epochs] == [steps, 2 * steps]
    for line in epochs:
        assert line["perplexity"] == pytest.approx(np.exp(line["loss"]))
        assert line["events_per_second"] > 0
    assert epochs[1]["loss"] < epochs[0]["loss"]
    assert all(0 <= line["validation/recall@20"] <= 1 for line in lines)


def test_tensorboard_scalars_are_those_of_the_log(finished_run):
    (events,) = (finished_run / "tensorboard").glob("events*")
    scalars = {}
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            number = float(tf.make_ndarray(value.tensor))
            scalars.setdefault(value.tag, {})[event.step] = number
    lines = RunFolder(finished_run).load_metrics_log()
    recall = {line["step"]: line["validation/recall@20"] for line in lines}
    assert scalars["validation/recall@20"] == pytest.approx(recall)
    loss = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert scalars["epoch/loss"] == pytest.approx(loss)
    assert len(scalars["train/loss"]) > 20


@pytest.fixture(scope="module")
def process(run_arguments, logs, tmp_path_factory):
    """A run in a process of its own, with XLA and with everything that can be asked for."""
    folder = tmp_path_factory.mktemp("process")
    second = shutil.copy(logs["validation"], folder / "second.tsv")
    (folder / "other").mkdir()
    namesake = shutil.copy(logs["test"], folder / "other/second.tsv")
    command = [
        *(sys.executable, "-m", "tfrec_zoo.trainers.gru4rec"),
        *(*tiny_runs.OPTIONS, *run_arguments, "--jit_compile", f"--test={second}"),
        f"--test={namesake}",
        *(f"--run_dir={folder / 'run'}", f"--export_dir={folder / 'served'}"),
        *("--profile_steps=6,8", "--k=3", "--validation_sessions=20", "--epochs=1"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_the_program_says_what_it_does_and_nothing_else(process):
    _, result = process
    patterns = [
        r"training data: 200 sessions, \d+ clicks, \d+ items",
        r"epoch 1/1: loss \d\.\d{4}, perplexity \d+\.\d, \d+ events/s",
        r"validation recall@20 0\.\d{4}, the best so far",
        r".*test\.tsv: recall@3 .*",
        r".*second\.tsv: recall@3 .*",
        r".*other/second\.tsv: recall@3 .*",
        r"exported to .*/served/1",
    ]
    lines = result.stderr.splitlines()
    assert result.stdout == ""
    assert len(lines) == len(patterns), result.stderr
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] " + pattern, line)


def test_what_was_asked_for_is_there(process):
    folder, _ = process
    metrics = RunFolder(folder / "run").load_metrics()
    assert metrics["recall@3"] != metrics[f"{folder}/second.tsv/recall@3"]
    assert metrics["recall@3"] == metrics[f"{folder}/other/second.tsv/recall@3"]
    assert len(list((folder / "run/tensorboard").rglob("*.xplane.pb"))) == 1
    (line,) = RunFolder(folder / "run").load_metrics_log()
    # The cut-off of the primary metric comes in addition to those asked for.
    assert {"validation/recall@3", "validation/recall@20"} <= line.keys()
    assert (folder / "served/1/saved_model.pb").exists()


def test_a_recipe_is_taken_by_its_name_and_flags_override_it(logs, tmp_path):
    run = tmp_path / "run"
    code = tiny_runs.run_trainer(
        "--config=rsc15_cross_entropy", f"--train={logs['train']}", f"--run_dir={run}"
    )
    assert code == 0
    config = json.loads((run / "config.json").read_text())
    assert config["batches"]["popularity_exponent"] == 0.75  # The recipe's.
    assert config["loss"]["logq_weight"] == 1.0
    assert config["model"]["hidden_dims"] == [8]  # The command line's.
    assert "about" not in config


def test_cut_offs():
    assert parse_cut_offs(["1", " 20"]) == (1, 20)
    for texts in ([], [""], ["0"], ["-1"], ["x"], ["2.5"], ["²"]):
        with pytest.raises(flags.IllegalFlagValueError, match="--k needs positive integers"):
            parse_cut_offs(texts)
