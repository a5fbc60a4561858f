"""`tfrec-dlrm` as its users run it: what it leaves behind, learns and says."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tiny_click_runs
import tiny_runs

from tfrec_zoo.data.clicks.click_preparation import prepare_clicks
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.data.tables.table_spec import load_table_spec
from tfrec_zoo.export.restore import restore_run
from tfrec_zoo.metrics.clicks import click_metrics
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers import batch_shards
from tfrec_zoo.trainers.click_evaluation import ClickScorer
from tfrec_zoo.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def prepared(click_logs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "data"
    prepare_clicks(
        click_logs["train"],
        load_table_spec(click_logs["columns"]),
        ClickPreparationConfig(),
        folder,
        validation_inputs=click_logs["validation"],
        test_inputs=click_logs["test"],
    )
    return folder


def test_a_run_leaves_what_evaluation_and_export_need(finished_click_run):
    folder = RunFolder(finished_click_run)
    config = folder.load_config()
    assert (config["program"], config["model"]["embedding_dim"]) == ("dlrm", 4)
    assert [f.name for f in folder.load_schema().categorical] == list(folder.load_vocabularies())
    lines = folder.load_metrics_log()
    assert [line["step"] for line in lines] == [20, 38, 43, 63, 76]
    assert {"validation/auc", "validation/log_loss"} <= lines[0].keys()
    assert lines[1]["examples_per_second"] > 0
    metrics = folder.load_metrics()
    assert metrics["num_test_examples"] == 200
    expected = {"auc", "log_loss", "normalized_entropy", "calibration", "accuracy", "loss"}
    assert expected | {"examples_per_second", "epochs", "steps"} <= metrics.keys()
    assert metrics["best_value"] == max(line["validation/auc"] for line in lines)


def test_the_metrics_are_those_of_the_best_checkpoint(finished_click_run):
    restored = restore_run(finished_click_run)
    rows = PreparedClicks(finished_click_run / "prepared").part("test").slice(0, 200)
    logits = restored.model(rows.dense, rows.rows, rows.row_weights).numpy()
    metrics = RunFolder(finished_click_run).load_metrics()
    for name, value in click_metrics(rows.labels, logits).items():
        assert metrics[name] == pytest.approx(value, rel=1e-5), name


def test_prepared_data_give_the_same_run_as_the_raw_ones(
    click_arguments, prepared, finished_click_run, tmp_path
):
    options = [
        a for a in click_arguments if not a.startswith(("--train", "--val", "--test", "--col"))
    ]
    run = tmp_path / "run"
    arguments = [*options, "--validate_every_steps=20", f"--prepared={prepared}"]
    assert tiny_click_runs.run_trainer(*arguments, f"--run_dir={run}") == 0
    found, expected = (tiny_runs.load_checkpoint(path) for path in (run, finished_click_run))
    for name in expected.keys() - {tiny_runs.STATE}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_recipes_serve_prepared_data_and_a_run_tells_how_these_were_prepared(
    prepared, tmp_path, caplog
):
    recipe, run = tmp_path / "recipe.json", tmp_path / "run"
    recipe.write_text(json.dumps({"data": {"columns": "criteo", "min_count": 7}}))
    arguments = [f"--config={recipe}", f"--prepared={prepared}", f"--run_dir={run}"]
    assert tiny_click_runs.run_trainer(*arguments, "--epochs=1") == 0
    assert "has min_count=7, but the data of" in caplog.text
    data = RunFolder(run).load_config()["data"]
    assert (data["min_count"], data["columns"]) == (ClickPreparationConfig().min_count, "")


def test_falling_metrics_pick_the_least(click_arguments, tmp_path):
    run = tmp_path / "run"
    arguments = [*click_arguments, "--primary_metric=log_loss", "--validate_every_steps=10"]
    assert tiny_click_runs.run_trainer(*arguments, f"--run_dir={run}") == 0
    losses = [line["validation/log_loss"] for line in RunFolder(run).load_metrics_log()]
    assert RunFolder(run).load_metrics()["best_value"] == min(losses)


def test_training_stops_where_the_target_is_reached(click_arguments, tmp_path):
    run = tmp_path / "run"
    arguments = [*click_arguments, "--target_auc=0.5", "--epochs=50", f"--run_dir={run}"]
    assert tiny_click_runs.run_trainer(*arguments) == 0
    lines = RunFolder(run).load_metrics_log()
    assert lines[-1]["validation/auc"] >= 0.5
    assert all(line["validation/auc"] < 0.5 for line in lines[:-1])


def test_threads_are_left_to_the_shards(click_arguments, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(batch_shards, "choose_num_shards", lambda experiment: 2)
    monkeypatch.setattr(batch_shards, "leave_threads_to_shards", found.append)
    arguments = [*click_arguments, "--max_steps=1", f"--run_dir={tmp_path / 'run'}"]
    assert tiny_click_runs.run_trainer(*arguments) == 0
    assert found == [2]


def test_a_warm_start_keeps_what_both_runs_know(click_logs, finished_click_run, tmp_path):
    run = tmp_path / "run"
    arguments = [f"--train={click_logs['other']}", f"--columns={click_logs['columns']}"]
    arguments += ["--min_count=1", f"--init_from={finished_click_run}", f"--run_dir={run}"]
    assert tiny_click_runs.run_trainer(*arguments, "--learning_rate=1e-12", "--epochs=1") == 0
    old, new = restore_run(finished_click_run, "last"), restore_run(run, "last")
    for source, target in zip(
        old.model.bottom.weights + old.model.top.weights,
        new.model.bottom.weights + new.model.top.weights,
        strict=True,
    ):
        np.testing.assert_allclose(target, source, atol=1e-6)
    num_compared = 0
    for name, vocabulary in old.vocabularies.items():
        (old_table,), (new_table,) = old.model.tables.tables, new.model.tables.tables
        parts = [
            next(part for part in table.store.parts if part.name == name)
            for table in (old_table, new_table)
        ]
        rows = new.vocabularies[name].rows(vocabulary.ids)
        assert new.vocabularies[name].num_items > vocabulary.num_items or rows.all()
        before = old_table[parts[0]].numpy()[1:][rows > 0]
        after = new_table[parts[1]].numpy()[rows[rows > 0]]
        np.testing.assert_allclose(after, before, atol=1e-6)
        num_compared += len(after)
    assert num_compared > 20


def test_a_run_is_exported_and_answers_as_python(click_arguments, finished_click_run, tmp_path):
    arguments = [*click_arguments, "--validate_every_steps=20", f"--run_dir={finished_click_run}"]
    assert tiny_click_runs.run_trainer(*arguments, f"--export_dir={tmp_path / 'served'}") == 0
    served = tf.saved_model.load(str(tmp_path / "served/1"))
    restored = restore_run(finished_click_run)
    rows = PreparedClicks(finished_click_run / "prepared").part("test").slice(0, 50)
    answer = served.signatures["predict_rows"](
        dense_values=tf.constant(rows.dense),
        rows=tf.constant(rows.rows),
        row_weights=tf.constant(rows.row_weights),
    )
    logits = ClickScorer(restored.model)(rows)
    expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(answer["click_probability"], expected, rtol=1e-5)


def test_options_are_named_as_in_the_papers(capsys):
    with pytest.raises(SystemExit) as end:
        from tfrec_zoo.program import run_program
        from tfrec_zoo.trainers import dlrm

        run_program(dlrm.train, dlrm.define_flags, ["tfrec-dlrm", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for alias in ("--arch_sparse_feature_size", "--mini_batch_size", "--mlperf_auc_threshold"):
        assert alias in text


def test_vocabularies_of_a_run_are_those_of_its_training_data(click_logs, finished_click_run):
    lines = click_logs["train"].read_text().splitlines()
    place = lines[0].split("\t").index("c1")
    values, counts = np.unique([line.split("\t")[place] for line in lines[1:]], return_counts=True)
    vocabulary = Vocabulary.load(finished_click_run / "vocabularies/c1.tsv")
    assert set(vocabulary.ids) == set(values[counts >= 2])


def test_the_config_of_a_run_repeats_it(click_logs, finished_click_run):
    text = json.loads((finished_click_run / "config.json").read_text())
    assert text["data"]["columns"] == str(click_logs["columns"])
