import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tiny_click_runs
from click_models import DENSE, make_restored, write_run
from export_programs import call_program

from tfrec_zoo.data.clicks.click_preparation import prepare_clicks
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.data.sessions.session_log import Sessions
from tfrec_zoo.data.tables.table_spec import load_table_spec
from tfrec_zoo.export import main
from tfrec_zoo.export.table_loss import measure_click_loss, measure_session_loss, read_test_clicks
from tfrec_zoo.run_folder import RunFolder, write_json
from tfrec_zoo.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["a", "b", "c", "d"], np.array([4, 3, 2, 1]))


def answer_from(table):
    """Returns a signature that answers a session by its last row: row -> rows and scores."""

    def recommend_rows(session_rows):
        last = [[row for row in line if row][-1] for line in session_rows.numpy().tolist()]
        return {
            "rows": tf.constant([table[row][0] for row in last]),
            "scores": tf.constant([table[row][1] for row in last]),
        }

    return recommend_rows


def test_metrics_and_errors_of_two_graphs_by_hand():
    plain = {1: ([2, 3], [1.0, 0.5]), 2: ([3, 1], [0.9, 0.2]), 3: ([1, 4], [0.3, 0.1])}
    exported = {1: ([3, 2], [0.75, 0.5]), 2: ([3, 4], [1.0, 0.1]), 3: ([1, 0], [0.3, -np.inf])}
    # What follows is: 1 -> 2, 1 2 -> 3, 3 -> 4, and 2 -> 1.
    sessions = Sessions(np.array([1, 2, 3, 3, 4, 2, 1], np.int32), np.array([0, 3, 5, 7]), None)
    loss = measure_session_loss(
        answer_from(plain), answer_from(exported), VOCABULARY, "int8", sessions
    )
    assert loss["num_requests"] == 4
    assert loss["float32"] == {"recall@2": 1.0, "mrr@2": (1 + 1 + 1 / 2 + 1 / 2) / 4}
    assert loss["int8"] == {"recall@2": 2 / 4, "mrr@2": (1 / 2 + 1) / 4}
    # Of 8 items answered both have 2 and 3; 3; 1; and 3 again.
    assert loss["same_items@2"] == 5 / 8
    errors = [0.5, 0.25, 0.1, 0.0, 0.1]
    assert loss["mean_score_error"] == pytest.approx(np.mean(errors))
    assert loss["largest_score_error"] == pytest.approx(0.5)


def test_random_sessions_without_a_log():
    seen = []

    def recommend_rows(session_rows):
        seen.append(session_rows.numpy())
        rows = tf.ones([len(session_rows), 1], tf.int32)
        return {"rows": rows, "scores": tf.cast(rows, tf.float32)}

    loss = measure_session_loss(recommend_rows, recommend_rows, VOCABULARY, "int8")
    expected = {"same_items@1": 1.0, "mean_score_error": 0.0, "largest_score_error": 0.0}
    assert loss == {"num_requests": 500, **expected}
    asked = np.concatenate([batch.ravel() for batch in seen])
    assert set(asked) == {0, 1, 2, 3, 4}
    counts = np.bincount(asked)
    assert counts[1] > counts[4]


def test_click_metrics_by_hand():
    labels = np.array([1, 0, 1, 0], np.float32)
    rows = np.arange(4, dtype=np.int32)[:, None]
    before, after = np.array([0.9, 0.5, 0.4, 0.1]), np.array([0.9, 0.2, 0.4, 1.0])

    def predict_from(values):
        # There are no dense values, so they are not sent.
        def predict_rows(rows):
            return {"click_probability": tf.gather(values.astype(np.float32), rows[:, 0])}

        return predict_rows

    pieces = [
        ClickRows(labels[:1], np.zeros((1, 0), np.float32), rows[:1]),
        ClickRows(labels[1:], np.zeros((3, 0), np.float32), rows[1:]),
    ]
    loss = measure_click_loss(predict_from(before), predict_from(after), pieces, "float16")
    assert loss["num_requests"] == 4
    assert loss["mean_probability_error"] == pytest.approx((0.3 + 0.9) / 4)
    assert loss["largest_probability_error"] == pytest.approx(0.9)
    # Of the pairs of a click and another the click has the greater probability in 3; then in 2.
    assert (loss["float32"]["auc"], loss["float16"]["auc"]) == (3 / 4, 2 / 4)
    expected = -np.log([0.9, 0.5, 0.4, 0.9]).mean()
    assert loss["float32"]["log_loss"] == pytest.approx(expected, rel=1e-6)
    # A probability of 1 that is wrong costs as much as the one next to it.
    expected = -np.log([0.9, 0.8, 0.4, 2.0**-24]).mean()
    assert loss["float16"]["log_loss"] == pytest.approx(expected, rel=1e-6)


def test_raw_logs_need_the_specification_of_their_columns():
    restored = make_restored(("user",), DENSE[:1])
    (examples,) = read_test_clicks([], restored)
    assert examples.num_rows == 64 and np.isnan(examples.labels).all()
    with pytest.raises(ValueError, match="no column specification.*leave --test out"):
        list(read_test_clicks(["log.tsv"], replace(restored, spec=None)))


@pytest.fixture
def session_run(tmp_path, restored):
    """A run folder of a GRU4Rec, and a log of sessions."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    write_json(folder.config_path, {"program": "gru4rec", **restored.experiment.to_dict()})
    restored.vocabulary.save(folder.vocabulary_path)
    checkpoint = tf.train.Checkpoint(model=restored.model)
    directory = str(folder.checkpoints_path / "last")
    tf.train.CheckpointManager(checkpoint, directory, 1).save(checkpoint_number=3)
    items = [f"item-{7 * i}" for i in (3, 1, 2, 3, 3, 9)]
    sessions = [1, 1, 1, 1, 2, 2]
    lines = [f"{s}\t{item}\t{t}" for t, (s, item) in enumerate(zip(sessions, items, strict=True))]
    log = tmp_path / "test.tsv"
    log.write_text("\n".join(["SessionId\tItemId\tTime", *lines, ""]))
    return folder, log


def test_the_program_says_what_is_lost_and_keeps_it(
    session_run, tmp_path, monkeypatch, capsys, caplog
):
    folder, log = session_run
    flags = [f"--run_dir={folder.path}", f"--export_dir={tmp_path / 'served'}", "--k=4"]
    flags.append("--verbosity=0")
    code, printed = call_program(
        monkeypatch, capsys, main, *flags, "--tables=int8", f"--test={log}"
    )
    assert (code, printed.out) == (0, f"{tmp_path / 'served' / '1'}\n")
    about = json.loads((tmp_path / "served/1/assets/config.json").read_text())["export"]
    loss = about["table_loss"]
    assert (about["tables"], loss["num_requests"]) == ("int8", 4)
    assert set(loss["int8"]) == set(loss["float32"]) == {"recall@4", "mrr@4"}
    assert 0 < loss["mean_score_error"] < 0.1
    told = next(text for text in caplog.messages if text.startswith("--tables=int8, 4 requests"))
    before, after = (loss[name]["recall@4"] for name in ("float32", "int8"))
    assert f"recall@4 {before:.5f} -> {after:.5f}" in told
    assert math.isclose(before * 4, round(before * 4))


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--test=x.tsv"], 2, "pass --tables=float16 or --tables=int8"),
        (["--tables=int8", "--format=onnx"], 2, "leave --tables out"),
        (["--tables=int8", "--test=nowhere.tsv"], 1, "nowhere.tsv"),
        (["--tables=int4"], 2, "float32|float16|int8"),
    ],
)
def test_what_does_not_go_together(session_run, tmp_path, monkeypatch, capsys, flags, code, words):
    served = tmp_path / "served"
    common = [f"--run_dir={session_run[0].path}", f"--export_dir={served}"]
    found, printed = call_program(monkeypatch, capsys, main, *common, *flags)
    assert (found, printed.out) == (code, "")
    assert words in printed.err
    assert not list(served.glob("[0-9]*"))


def test_a_run_of_clicks_is_measured_on_the_test_part_that_it_has_prepared(tmp_path):
    logs = tiny_click_runs.write_logs(tmp_path)
    restored = make_restored(("user", "age"), DENSE[:1])
    folder = write_run(tmp_path / "run", restored)
    of_run = replace(restored, run=folder)
    # Random ones where nothing is prepared.
    assert [piece.num_rows for piece in read_test_clicks([], of_run)] == [64]
    prepare_clicks(
        [logs["train"]],
        load_table_spec(logs["columns"]),
        ClickPreparationConfig(),
        folder.prepared_path,
        test_inputs=[logs["test"]],
    )
    (part,) = read_test_clicks([], of_run)
    assert part.num_rows == tiny_click_runs.SIZES["test"]
