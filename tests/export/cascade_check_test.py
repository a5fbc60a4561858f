"""`tfrec-export --cascade` and `tfrec-check` on what it writes, whole and damaged."""

import dataclasses
import json

import cascade_models
import click_models
import numpy as np
import pytest
import tensorflow as tf
from export_programs import call_program, find_failures

from tfrec_zoo.export import cascade_module, check, main
from tfrec_zoo.export.cascade import export_cascade
from tfrec_zoo.export.cascade_items import read_item_features
from tfrec_zoo.export.cascade_rules import CASCADE_RULES
from tfrec_zoo.export.restore import load_export
from tfrec_zoo.export.serving_rules import SERVING_RULES
from tfrec_zoo.run_folder import RunFolder

RULES = SERVING_RULES + CASCADE_RULES


@pytest.fixture(scope="module")
def ranker(restored):
    return cascade_models.make_id_ranker(restored.vocabulary.ids)


@pytest.fixture(scope="module")
def runs(restored, ranker, tmp_path_factory):
    """The folders of the two runs, and the table that the ranker's log was joined with."""
    folder = tmp_path_factory.mktemp("runs")
    run = RunFolder(folder / "retriever")
    run.path.mkdir()
    run.write_config(restored.experiment)
    restored.vocabulary.save(run.vocabulary_path)
    checkpoint = tf.train.Checkpoint(model=restored.model)
    directory = str(run.checkpoints_path / "last")
    tf.train.CheckpointManager(checkpoint, directory, 1).save(checkpoint_number=3)
    table = folder / "films.csv"
    lines = [f"{item},2000" for item in restored.vocabulary.ids]
    table.write_text("\n".join(["number,year", *lines]), encoding="utf-8")
    spec = {**ranker.spec, "join": [{"file": str(table), "on": "film", "key": "number"}]}
    click_models.write_run(folder / "ranker", dataclasses.replace(ranker, spec=spec))
    return folder


@pytest.fixture(scope="module")
def items(restored, ranker, runs):
    return read_item_features(ranker, restored.vocabulary.ids, "film", runs / "films.csv")


def list_flags(runs, *more):
    return [
        "--cascade",
        f"--run_dir={runs / 'retriever'}",
        f"--ranker_run_dir={runs / 'ranker'}",
        "--item_column=film",
        *more,
    ]


def test_an_export_of_two_runs_passes_the_check(runs, tmp_path, monkeypatch, capsys):
    flags = list_flags(runs, "--k=5", "--num_candidates=9", "--deploy")
    served = tmp_path / "served"
    code, printed = call_program(monkeypatch, capsys, main, *flags, f"--export_dir={served}")
    assert (code, printed.out) == (0, f"{served / '1'}\n")
    assert 'name: "cascade"' in (served / "models.config").read_text()
    assert "cascade" in (served / "deploy" / "compose.yaml").read_text()
    about = json.loads((served / "1" / "assets" / "config.json").read_text())["export"]
    assert about["retriever"] == {"checkpoint": "checkpoints/last/ckpt-3", "metrics": None}
    assert about["ranker"]["metrics"] == {"auc": 0.75}
    flags = [f"--run_dir={runs / 'retriever'}", f"--ranker_run_dir={runs / 'ranker'}"]
    code, printed = call_program(monkeypatch, capsys, check, served, *flags)
    assert (code, printed.err) == (0, "")
    assert "k=5 of 9 candidates, 1 inputs of features" in printed.out
    assert "by the run's checkpoint, ranked by the run's checkpoint" in printed.out
    with pytest.raises(ValueError, match="is of a model 'cascade', expected one of gru4rec"):
        load_export(served / "1")


def test_features_of_another_item_are_found(restored, ranker, items, tmp_path):
    rows = items.rows.take(np.roll(np.arange(items.rows.num_rows), 1))
    moved = dataclasses.replace(items, rows=rows)
    path = export_cascade(restored, ranker, moved, tmp_path, k=5, num_candidates=9)
    assert find_failures(path) == {"item_features": "a row of film is another item's"}


def test_an_order_that_is_not_the_rankers_is_found(restored, ranker, items, tmp_path, monkeypatch):
    real = cascade_module.CandidateRanker.score
    monkeypatch.setattr(
        cascade_module.CandidateRanker, "score", lambda *arguments: 1 - real(*arguments)
    )
    path = export_cascade(restored, ranker, items, tmp_path, k=5, num_candidates=9)
    failures = find_failures(path)
    assert set(failures) == {"python_answers", "padding", "batching"}
    assert failures["python_answers"].startswith("the probabilities differ")


def test_another_run_than_the_exported_one_is_noticed(restored, ranker, items, runs, tmp_path):
    ranker.model.set_weights([weight + 0.1 for weight in ranker.model.get_weights()])
    path = export_cascade(restored, ranker, items, tmp_path, k=5, num_candidates=9)
    ranker.model.set_weights([weight - 0.1 for weight in ranker.model.get_weights()])
    config = path / "assets" / "config.json"
    about = json.loads(config.read_text())
    about["export"]["ranker"]["checkpoint"] = "checkpoints/last/ckpt-3"
    config.write_text(json.dumps(about))
    assert find_failures(path) == {}
    failures = find_failures(path, ranker_run_dir=runs / "ranker")
    assert "the probabilities differ" in failures["python_answers"]


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        (["--ranker_run_dir="], 2, "--cascade needs --ranker_run_dir, the run of the DLRM"),
        (["--item_column="], 2, "--cascade needs --item_column, the column of the DLRM's log"),
        (["--run_dir="], 2, "--cascade needs --run_dir, the run of the GRU4Rec or SSR"),
        (["--nocascade"], 2, "--ranker_run_dir is of a cascade: pass --cascade, too"),
        (["--item_column=user"], 1, "was joined with no table by 'user'"),
        (["--num_candidates=5"], 1, "k=20 items are answered of num_candidates=5"),
        (["--items=nowhere.csv"], 1, "nowhere.csv"),
    ],
)
def test_wrong_flags_are_one_sentence(runs, tmp_path, monkeypatch, capsys, changed, code, words):
    flags = list_flags(runs, f"--export_dir={tmp_path / 'served'}", *changed)
    found, printed = call_program(monkeypatch, capsys, main, *flags)
    assert (found, printed.out) == (code, "")
    assert words in printed.err and "Traceback" not in printed.err
    assert not (tmp_path / "served").exists()
