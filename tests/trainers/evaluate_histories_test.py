"""`tfrec-evaluate` for SSR against the trainer's metrics, its predictions against exports."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tiny_click_runs
import tiny_news_runs

from tfrec_zoo.data.news.time_split import split_by_time
from tfrec_zoo.data.sessions.session_log import SessionColumns, read_session_log, write_session_log
from tfrec_zoo.export.restore import restore_run
from tfrec_zoo.export.saved_model import export_run, export_ssr
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.trainers import evaluate_histories
from tfrec_zoo.trainers.evaluate import find_program


def evaluate(*arguments) -> int:
    """Runs the program in this process and returns its exit code."""
    program = evaluate_histories
    return tiny_click_runs.run(
        program.evaluate, program.define_flags, "tfrec-evaluate", *map(str, arguments)
    )


@pytest.fixture(scope="module")
def test_part(news, tmp_path_factory):
    """The flags of the last period's sessions and impressions, in files of their own."""
    folder = tmp_path_factory.mktemp("test_part")
    log = read_session_log(news["log"], SessionColumns())
    write_session_log(split_by_time(log, tiny_news_runs.TEST_TIME).test, folder / "test.tsv")
    lines = news["impressions"].read_text().splitlines(keepends=True)
    late = [line for line in lines if int(line.split("\t")[2]) >= tiny_news_runs.TEST_TIME]
    (folder / "impressions.tsv").write_text("".join(late))
    return [f"--test={folder / 'test.tsv'}", f"--test_impressions={folder / 'impressions.tsv'}"]


def test_a_run_and_its_export_have_the_metrics_of_the_trainer(
    finished_news_run, test_part, tmp_path, capsys
):
    version = export_run(restore_run(finished_news_run), tmp_path / "served")
    expected = RunFolder(finished_news_run).load_metrics()
    for model in (f"--run_dir={finished_news_run}", f"--export={version}"):
        assert find_program([model]) == "ssr"
        path = tmp_path / "metrics.json"
        assert evaluate(model, *test_part, f"--metrics_to={path}") == 0
        (found,) = json.loads(path.read_text())["results"]
        found.pop("checkpoint")
        assert {"unseen_recall@20", "impression_auc", "num_candidates"} <= found.keys()
        assert found.pop("tie_rule") == expected["tie_rule"]
        assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-4)
        printed = capsys.readouterr().out
        assert "never seen" in printed and "order of what was shown" in printed


def test_predictions_are_the_answers_of_an_export_made_at_the_time(
    finished_news_run, test_part, tmp_path
):
    path, k = tmp_path / "predicted.tsv", 4
    model = f"--run_dir={finished_news_run}"
    assert evaluate(model, test_part[0], f"--k={k}", f"--predict_to={path}") == 0
    predicted = pd.read_csv(path, sep="\t", dtype={"session_id": str, "item_id": str})
    log = read_session_log(test_part[0].partition("=")[2], SessionColumns())
    assert predicted["session_id"].nunique() == log.num_sessions
    restored = restore_run(finished_news_run)
    for number in (0, log.num_sessions // 2, log.num_sessions - 1):
        now = float(log.end_times()[number])
        version = export_ssr(restored, tmp_path / "served", k, now=now)
        items = log.item_ids[log.item_codes[log.offsets[number] : log.offsets[number + 1]]]
        answer = tf.saved_model.load(version).signatures["recommend"](
            session_items=tf.constant([items.tolist()])
        )
        rows = predicted[predicted["session_id"] == log.session_ids[number]]
        assert rows["rank"].tolist() == list(range(1, k + 1))
        assert rows["position"].unique().tolist() == [len(items)]
        assert rows["item_id"].tolist() == [i.decode() for i in answer["items"].numpy()[0]]
        np.testing.assert_allclose(rows["score"], answer["scores"].numpy()[0], rtol=1e-4, atol=1e-5)


def test_items_that_the_run_did_not_have_compete(finished_news_run, test_part, tmp_path):
    new, path = tmp_path / "new.tsv", tmp_path / "metrics.json"
    world = tiny_news_runs.WORLD
    tiny_news_runs.write_planted_items(world, new, numbers=np.arange(3), has_vectors=True)
    new.write_text(new.read_text().replace(world.item_ids[0], "another"))
    flags = (f"--run_dir={finished_news_run}", *test_part, f"--items={new}")
    assert evaluate(*flags, f"--metrics_to={path}") == 0
    (found,) = json.loads(path.read_text())["results"]
    assert found["num_candidates"] == world.num_items + 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "pass --test, a session log, or --test_impressions, or both"),
        (["--test=test.tsv", "--candidates=shown"], "--candidates=shown needs --test_impressions"),
        (["--test_impressions=i.tsv", "--predict_to=p.tsv"], "--predict_to needs --test"),
        (["--test=test.tsv", "--predict_to=p.txt"], "--predict_to must end in .tsv, .csv"),
    ],
)
def test_flags_that_do_not_go_together(finished_news_run, arguments, sentence, capsys):
    assert evaluate(f"--run_dir={finished_news_run}", *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_more_predictions_than_candidates(finished_news_run, test_part, tmp_path, capsys):
    path = tmp_path / "predicted.tsv"
    model = f"--run_dir={finished_news_run}"
    assert evaluate(model, test_part[0], "--k=5000", f"--predict_to={path}") == 1
    assert "k must be from 1 to the number of candidates" in capsys.readouterr().err
    assert not path.exists()
