"""`tfrec-evaluate` as its users run it: a run or an export in, numbers out, faults in a line."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfrec_zoo.data.sessions.session_log import SessionColumns, Sessions, read_session_log
from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.export.restore import restore_gru4rec
from tfrec_zoo.export.saved_model import export_gru4rec
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import open_run_folder
from tfrec_zoo.trainers import evaluate_sessions as evaluate
from tfrec_zoo.trainers.session_evaluation import evaluate_sessions, rank_sessions
from tfrec_zoo.vocabulary import Vocabulary

ITEMS = [f"item{i}" for i in range(30)]
COLUMNS = SessionColumns(session="visit", item="page", time=None)


def write_log(path, num_sessions, seed, items=ITEMS):
    rng = np.random.default_rng(seed)
    visits = np.repeat(np.arange(num_sessions), rng.integers(1, 6, num_sessions))
    frame = pd.DataFrame({"visit": visits, "page": rng.choice(items, len(visits))})
    frame.to_csv(path, sep="\t", index=False)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder with two last checkpoints and a best one, and the logs beside it."""
    folder = tmp_path_factory.mktemp("evaluate")
    train = read_session_log(write_log(folder / "train.tsv", 200, 0), COLUMNS)
    write_log(folder / "test.tsv", 40, 1, [*ITEMS, "new"])
    experiment = GRU4RecExperiment.from_dict(
        {
            "model": {"hidden_dims": [5]},
            "data": {"session_column": "visit", "item_column": "page", "time_column": ""},
        }
    )
    vocabulary = Vocabulary.from_codes(train.item_ids, train.item_codes)
    with open_run_folder(folder / "run", experiment) as run:
        vocabulary.save(run.vocabulary_path)
        for number, kind in ((9, "last"), (10, "last"), (3, "best")):
            model = GRU4Rec(experiment.model, vocabulary.num_rows, seed=number)
            checkpoint = tf.train.Checkpoint(model=model)
            manager = tf.train.CheckpointManager(checkpoint, str(run.checkpoints_path / kind), 2)
            manager.save(checkpoint_number=number)
    return folder


def run(*arguments):
    """Runs the program in this process; SystemExit carries a failure's exit code."""
    argv = ["tfrec-evaluate", *map(str, arguments)]
    run_program(evaluate.evaluate, evaluate.define_flags, argv)


def run_results(folder, path, *arguments):
    """Runs the program on the test log; returns what it writes to --metrics_to."""
    run(f"--test={folder / 'test.tsv'}", f"--metrics_to={path}", *arguments)
    return json.loads(path.read_text())["results"]


def fail(capsys, *arguments):
    """Runs the program to its failure; returns exit code and the line on stderr."""
    with pytest.raises(SystemExit) as exit_info:
        run(*arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    return exit_info.value.code, next(line for line in lines if "error:" in line)


def read_sessions(path, vocabulary):
    return Sessions.from_log(read_session_log(path, COLUMNS), vocabulary)


def test_the_best_checkpoint_is_evaluated_and_printed(folder, tmp_path, capsys):
    (result,) = run_results(
        folder, tmp_path / "m.json", f"--run_dir={folder / 'run'}", "--k=1,7", "--tie_rule=median"
    )
    restored = restore_gru4rec(folder / "run", "best")
    sessions = read_sessions(folder / "test.tsv", restored.vocabulary)
    expected = evaluate_sessions(restored.model, sessions, (1, 7), "expected")
    assert {name: result[name] for name in expected} == expected
    assert result["checkpoint"] == "best/ckpt-3" and result["test"].endswith("test.tsv")
    assert sessions.num_unknown_clicks > 0
    printed = capsys.readouterr().out
    assert "ranked among all 30 items, ties expected" in printed
    assert f"{sessions.num_unknown_clicks} clicks on unknown items left out" in printed
    header, line = printed.strip().splitlines()[-2:]
    assert header.split()[:3] == ["events", "recall@1", "recall@7"]
    assert line.split()[3] == f"{expected['recall@7']:.4f}"


def test_all_kept_checkpoints_have_a_line_each(folder, tmp_path):
    options = (f"--run_dir={folder / 'run'}", "--checkpoint=all", "--k=5")
    results = run_results(folder, tmp_path / "m.json", *options)
    assert [r["checkpoint"] for r in results] == ["last/ckpt-9", "last/ckpt-10", "best/ckpt-3"]
    assert len({r["mrr@5"] for r in results}) == 3
    path = folder / "run" / "checkpoints" / "last" / "ckpt-9"
    (alone,) = run_results(folder, tmp_path / "m.json", *options[::2], f"--checkpoint={path}")
    assert alone == results[0]


@pytest.mark.parametrize("name", ["", "1"])
def test_an_export_has_the_metrics_of_its_run(folder, tmp_path, name):
    restored = restore_gru4rec(folder / "run", "last")
    export_gru4rec(restored, tmp_path / "served", k=3)
    of_run = run_results(
        folder, tmp_path / "m.json", f"--run_dir={folder / 'run'}", "--checkpoint=last", "--k=10"
    )
    of_export = run_results(
        folder, tmp_path / "m.json", f"--export={tmp_path / 'served' / name}", "--k=10"
    )
    assert of_export[0] | {"checkpoint": ""} == of_run[0] | {"checkpoint": ""}


def test_candidates_baselines_and_breakdowns(folder, tmp_path, capsys, caplog):
    candidates = tmp_path / "candidates.txt"
    candidates.write_text("\n".join([*ITEMS[:12], "unknown", ""]))
    (result,) = run_results(
        folder,
        tmp_path / "m.json",
        f"--run_dir={folder / 'run'}",
        f"--train={folder / 'train.tsv'}",
        f"--candidate_items={candidates}",
        "--k=5",
        "--baselines",
        "--by_position",
        "--by_popularity",
    )
    printed = capsys.readouterr().out
    assert "12 candidates of 30 items" in printed
    assert "1 of 13 candidate items are unknown" in caplog.text
    restored = restore_gru4rec(folder / "run", "best")
    sessions = read_sessions(folder / "test.tsv", restored.vocabulary)
    rows = restored.vocabulary.rows(ITEMS[:12])
    ranks = rank_sessions(restored.model, sessions, rows).ranks("pessimistic")
    assert result["recall@5"] == np.mean(ranks <= 5)
    assert result["num_candidates"] == 12
    counts = restored.vocabulary.row_counts()
    targets = np.delete(sessions.rows, sessions.offsets[:-1])
    popularity = [1 + np.sum(counts[rows[rows != t]] >= counts[t]) for t in targets]
    assert result["baseline_popularity/recall@5"] == np.mean(np.array(popularity) <= 5)
    for label in ("popularity baseline", "Markov baseline", "after click 1", "popularity bin 5"):
        assert f"\n  {label} " in printed


@pytest.mark.parametrize("positions", ["last", "all"])
def test_predictions_rank_the_next_items_as_the_metrics_do(folder, tmp_path, positions):
    path = tmp_path / "predictions.parquet"
    (result,) = run_results(
        folder,
        tmp_path / "m.json",
        f"--run_dir={folder / 'run'}",
        "--k=2,6",
        f"--predict_to={path}",
        f"--predict_positions={positions}",
    )
    frame = pd.read_parquet(path)
    assert frame.groupby(["session_id", "position"]).size().unique().tolist() == [6]
    known = pd.read_csv(folder / "test.tsv", sep="\t", dtype=str).query("page != 'new'")
    lengths = known.groupby("visit").size()
    ends = frame.groupby("session_id").position.max()
    assert ends.to_dict() == lengths.to_dict()
    if positions == "last":
        assert len(frame) == 6 * len(lengths)
        return
    known["position"] = known.groupby("visit").cumcount()
    hits = known.merge(
        frame,
        left_on=["visit", "position", "page"],
        right_on=["session_id", "position", "item_id"],
    )
    assert len(hits) / result["num_test_events"] == pytest.approx(result["recall@6"])
    assert (1 / hits["rank"]).sum() / result["num_test_events"] == pytest.approx(result["mrr@6"])


def test_several_logs_are_evaluated_apart(folder, tmp_path):
    other = write_log(tmp_path / "other.tsv", 15, 5)
    results = run_results(
        folder, tmp_path / "m.json", f"--run_dir={folder / 'run'}", f"--test={other}"
    )
    assert [r["test"] for r in results] == [str(folder / "test.tsv"), str(other)]
    assert results[0]["num_test_events"] != results[1]["num_test_events"]


def test_faults_in_the_flags_end_in_code_2(folder, capsys):
    test, run_dir = f"--test={folder / 'test.tsv'}", f"--run_dir={folder / 'run'}"
    for arguments, sentence in [
        ((test,), "pass either --run_dir or --export"),
        ((test, run_dir, "--export=x"), "pass either --run_dir or --export"),
        ((run_dir,), "pass the session log to evaluate on as --test"),
        ((test, run_dir, "--baselines"), "--baselines needs the training log"),
        ((test, run_dir, "--k=0"), "--k needs positive integers"),
        ((test, run_dir, "--tie_rule=first"), "tie_rule"),
        ((test, test, run_dir, "--predict_to=x.tsv"), "a single --test"),
        ((test, run_dir, "--predict_to=x.txt"), "--predict_to must end in .tsv"),
        ((test, run_dir, "--predict_to=no/x.tsv"), "--predict_to: there is no folder no"),
        ((test, run_dir, "--metrics_to=no/x.json"), "--metrics_to: there is no folder no"),
        ((test, "--export=x", "--checkpoint=last"), "an export has only one state"),
    ]:
        code, line = fail(capsys, *arguments)
        assert code == 2 and sentence in line


def test_faults_in_the_input_end_in_one_sentence(folder, tmp_path, capsys):
    test, run_dir = f"--test={folder / 'test.tsv'}", f"--run_dir={folder / 'run'}"
    unknown = write_log(tmp_path / "unknown.tsv", 5, 0, ["a", "b"])
    candidates = tmp_path / "candidates.txt"
    candidates.write_text("a\nb\n")
    (tmp_path / "empty").mkdir()
    for arguments, sentence in [
        ((test, f"--run_dir={tmp_path / 'none'}"), "is not a run folder"),
        ((test, f"--export={tmp_path / 'empty'}"), "is not an exported version"),
        ((test, run_dir, "--checkpoint=ckpt-77"), "there is no checkpoint ckpt-77"),
        ((run_dir, f"--test={unknown}"), "unknown.tsv: all "),
        ((run_dir, f"--test={tmp_path / 'none.tsv'}"), "none.tsv"),
        ((test, run_dir, "--item_column=sku"), "the columns found are visit, page"),
        ((test, run_dir, "--k=31"), "--k=31 is more than there are items to rank, 30"),
        ((test, run_dir, f"--candidate_items={candidates}"), "none of its 2 candidate items"),
    ]:
        code, line = fail(capsys, *arguments)
        assert code == 1 and sentence in line, line
