"""What `tfrec-ssr` leaves behind and says, run as a user would."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tiny_news_runs

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.run_folder import RunFolder

METRIC = re.compile(r"(seen_|unseen_|)(recall|mrr|ndcg)@(1|5|10|20)")


def test_metrics_are_flat_numbers(finished_news_run):
    metrics = RunFolder(finished_news_run).load_metrics()
    assert len([name for name in metrics if METRIC.fullmatch(name)]) == 3 * 12
    for group in ("", "seen_", "unseen_"):
        assert 0 < metrics[f"{group}mrr@20"] < metrics[f"{group}recall@20"] <= 1
    assert 0 <= metrics["impression_auc"] <= 1
    assert {"loss", "examples_per_second", "train_seconds", "best_value"} <= metrics.keys()
    assert (metrics["epochs"], metrics["tie_rule"]) == (2, "pessimistic")
    assert metrics["num_candidates"] == tiny_news_runs.WORLD.num_items
    assert metrics["num_impressions"] == 15
    assert 0 < metrics["num_unseen_events"] < metrics["num_test_events"]
    assert all(isinstance(value, int | float | str) for value in metrics.values())


def test_groups_add_up(finished_news_run):
    metrics = RunFolder(finished_news_run).load_metrics()
    unseen = metrics["num_unseen_events"] / metrics["num_test_events"]
    for name in ("recall@5", "mrr@20", "ndcg@10"):
        mean = unseen * metrics[f"unseen_{name}"] + (1 - unseen) * metrics[f"seen_{name}"]
        assert metrics[name] == pytest.approx(mean)


def test_the_log_has_a_line_a_validation(finished_news_run):
    lines = RunFolder(finished_news_run).load_metrics_log()
    # Every 15 steps of an epoch, rounded up to blocks, and at its end.
    assert [line["step"] for line in lines] == [15, 22, 32, 44]
    epochs = [line for line in lines if "loss" in line]
    assert [line["step"] for line in epochs] == [22, 44]
    assert epochs[1]["loss"] < epochs[0]["loss"]
    for line in lines:
        assert {"validation/unseen_recall@20", "validation/impression_auc"} <= line.keys()


def test_the_run_keeps_its_items(finished_news_run, news):
    catalogue = ItemCatalogue.load(RunFolder(finished_news_run).catalogue_path)
    world = tiny_news_runs.WORLD
    assert catalogue.ids.tolist() == world.item_ids.tolist()
    assert catalogue.times[1:].tolist() == [world.period_time(int(b)) for b in world.births]
    # Items of tomorrow's table are encoded as today's.
    again = catalogue.encode(news["items"])
    np.testing.assert_array_equal(again.features.rows, catalogue.features.rows)
    np.testing.assert_array_equal(again.features.dense, catalogue.features.dense)


@pytest.mark.parametrize("dropped", [("validation_time", "test_time"), ("items", "item_columns")])
def test_a_run_on_less(news, tmp_path, dropped):
    run = tmp_path / "run"
    flags = tiny_news_runs.list_flags(news)
    flags = [f for f in flags if f.removeprefix("--").partition("=")[0] not in dropped]
    assert tiny_news_runs.run_trainer(*flags, f"--run_dir={run}", "--epochs=1") == 0
    metrics = RunFolder(run).load_metrics()
    is_measured = "test_time" not in dropped
    assert ("recall@20" in metrics) == is_measured
    # Items that have no content but an id are known from training alone.
    assert "unseen_recall@20" not in metrics


def test_the_best_of_the_validations_is_the_one_that_is_kept(finished_news_run):
    metrics = RunFolder(finished_news_run).load_metrics()
    lines = RunFolder(finished_news_run).load_metrics_log()
    values = [line["validation/recall@20"] for line in lines]
    assert metrics["best_value"] == max(values)
    assert metrics["best_step"] == lines[int(np.argmax(values))]["step"]


@pytest.fixture(scope="module")
def process(news, news_arguments, tmp_path_factory):
    """A run in a process of its own, with XLA and with everything that can be asked for."""
    folder = tmp_path_factory.mktemp("process")
    command = [
        *(sys.executable, "-m", "tfrec_zoo.trainers.ssr", *tiny_news_runs.OPTIONS),
        *(*news_arguments, "--jit_compile", f"--run_dir={folder / 'run'}", "--epochs=1"),
        *(f"--export_dir={folder / 'served'}", "--candidates=shown", "--k=3"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_the_program_says_what_it_does_and_nothing_else(process):
    _, result = process
    assert result.stdout == ""
    sessions = r": \d+ sessions, \d+ clicks, \d+ targets; left out: 0 clicks on items not in the .*"
    unseen = r": \d+ targets, \d+ of them \(\d+\.\d %\) on items that never occur in training"
    impressions = r": \d+ impressions with a history, a click and something not clicked, of \d+"
    patterns = [
        r"items: 96 in the table, \d+ of them clicked in training, 0 without content, 0 repeated",
        *(f"train{sessions}", f"train{impressions}"),
        *(f"validation{sessions}", f"validation{unseen}", f"validation{impressions}"),
        *(f"test{sessions}", f"test{unseen}", f"test{impressions}"),
        r"epoch 1/1: loss \d\.\d{4}, perplexity \d+\.\d, \d+ examples/s",
        r"validation recall@20 0\.\d{4}, the best so far",
        r"test: recall@3 .*, num_candidates 88, .*impression_auc .*",
        r"exported to .*/served/1",
    ]
    lines = [line for line in result.stderr.splitlines() if "s left" not in line]
    assert len(lines) == len(patterns), result.stderr
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] " + pattern, line), line


def test_what_was_asked_for_is_there(process):
    folder, _ = process
    (line,) = RunFolder(folder / "run").load_metrics_log()
    # The cut-off of the primary metric comes in addition to those asked for.
    assert {"validation/recall@3", "validation/recall@20"} <= line.keys()
    assert (folder / "served/1/saved_model.pb").exists()
    config = json.loads((folder / "run/config.json").read_text())
    assert (config["program"], config["model"]["age_buckets"]) == ("ssr", 6)
