"""`tfrec-evaluate` of click models: metrics by slice, in a stream, predictions, faults."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_click_runs

from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.export.restore import restore_run
from tfrec_zoo.metrics.clicks import click_metrics
from tfrec_zoo.trainers import evaluate


@pytest.fixture
def measure(finished_click_run, click_logs, tmp_path, capsys):
    """Evaluates the run on the test log; returns the results and what was printed."""

    def measure(*arguments, **changes):
        flags = {"run_dir": finished_click_run, "test": click_logs["test"], **changes}
        flags["metrics_to"] = tmp_path / "metrics.json"
        given = [f"--{name}={value}" for name, value in flags.items() if value]
        assert tiny_click_runs.run_evaluation(*given, *arguments) == 0
        results = json.loads((tmp_path / "metrics.json").read_text())["results"]
        return results, capsys.readouterr().out

    return measure


@pytest.fixture(scope="module")
def expected(finished_click_run):
    """Labels, logits and rows of the test examples, by the Python model."""
    restored = restore_run(finished_click_run)
    rows = PreparedClicks(finished_click_run / "prepared").part("test").slice(0, 200)
    return rows.labels, restored.model(rows.dense, rows.rows, rows.row_weights).numpy(), rows.rows


def test_metrics_of_a_raw_log(measure, expected):
    (result,), printed = measure()
    labels, logits, _ = expected
    for name, value in click_metrics(labels, logits).items():
        assert result[name] == pytest.approx(value, rel=1e-5), name
    assert result["num_test_examples"] == 200
    assert f"{result['auc']:.4f}" in printed
    assert "best/ckpt" in printed


def test_shares_of_unknown_values_are_told(measure, click_logs, expected, tmp_path):
    lines = [line.split("\t") for line in click_logs["test"].read_text().splitlines()]
    place = lines[0].index("c2")
    for line in lines[1:51]:
        line[place] = "never seen"
    (tmp_path / "log.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    rows = expected[2][:, 1]
    share = (50 + np.count_nonzero(rows[50:] == 0)) / 200
    for arguments in ((), ("--streaming",)):
        _, printed = measure(*arguments, test=tmp_path / "log.tsv")
        assert f"; unknown values: c2 {share:.2%}" in printed.splitlines()[0]


def test_prepared_data_have_the_same_metrics(measure, finished_click_run):
    (raw,), _ = measure()
    (prepared,), _ = measure(test=None, prepared=finished_click_run / "prepared")
    assert prepared.pop("checkpoint") == raw.pop("checkpoint")
    assert prepared == pytest.approx(raw, rel=1e-6)


def test_a_stream_has_nearly_the_same_metrics(measure):
    (exact,), _ = measure()
    (streamed,), _ = measure("--streaming")
    assert streamed.pop("checkpoint") == exact.pop("checkpoint")
    assert streamed.pop("auc") == pytest.approx(exact.pop("auc"), abs=2e-3)
    assert streamed == pytest.approx(exact, rel=1e-5)


def test_all_checkpoints_are_evaluated(measure):
    results, _ = measure(checkpoint="all")
    assert [r["checkpoint"].split("/")[0] for r in results] == ["last", "last", "best"]


def test_slices_are_those_of_the_values(measure, expected, finished_click_run):
    (result,), printed = measure(slice_by="c1", slices=3)
    labels, logits, rows = expected
    vocabulary = restore_run(finished_click_run).vocabularies["c1"]
    counts = np.bincount(rows[:, 0], minlength=vocabulary.num_rows)
    names = ["unknown", *vocabulary.ids]
    assert len(result["slices"]) == 3
    for name, metrics in result["slices"].items():
        row = names.index(name.removeprefix("c1="))
        assert metrics["num_examples"] == counts[row] >= np.sort(counts)[-3]
        chosen = rows[:, 0] == row
        auc = click_metrics(labels[chosen], logits[chosen])["auc"]
        assert metrics["auc"] == pytest.approx(auc, rel=1e-5)
        assert name in printed


@pytest.mark.parametrize("ending", ["tsv", "csv.gz", "parquet"])
def test_predictions_are_written(measure, expected, tmp_path, ending):
    path = tmp_path / f"predictions.{ending}"
    measure(predict_to=path)
    read = pd.read_parquet if ending == "parquet" else pd.read_csv
    frame = read(path, **({"sep": "\t"} if ending == "tsv" else {}))
    labels, logits, _ = expected
    np.testing.assert_allclose(frame["click_probability"], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_array_equal(frame["label"], labels)


def test_a_log_without_labels_is_predicted(finished_click_run, click_logs, expected, tmp_path):
    frame = pd.read_csv(click_logs["test"], sep="\t", dtype=str).drop(columns="click")
    frame.to_csv(tmp_path / "today.tsv", sep="\t", index=False)
    arguments = [f"--run_dir={finished_click_run}", f"--test={tmp_path / 'today.tsv'}"]
    arguments += ["--predict_only", f"--predict_to={tmp_path / 'out.tsv'}"]
    assert tiny_click_runs.run_evaluation(*arguments) == 0
    frame = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    assert list(frame.columns) == ["click_probability"]
    np.testing.assert_allclose(
        frame["click_probability"], 1 / (1 + np.exp(-expected[1])), rtol=1e-5
    )


def test_equal_labels_have_no_auc_in_the_table(measure, click_logs, tmp_path):
    lines = click_logs["test"].read_text().splitlines()
    path = tmp_path / "log.tsv"
    path.write_text("\n".join([lines[0], *(f"0{line[1:]}" for line in lines[1:])]) + "\n")
    (result,), printed = measure(test=path)
    assert result["auc"] is None
    assert "undefined" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--run_dir=RUN", "--export=RUN", "--test=TEST"], 2, "either --run_dir or --export"),
        (["--run_dir=RUN"], 2, "pass either --test or --prepared"),
        (
            ["--run_dir=RUN", "--test=TEST", "--predict_only"],
            2,
            "--predict_only needs --predict_to",
        ),
        (["--run_dir=RUN", "--test=TEST", "--slice_by=c1", "--streaming"], 2, "keeps no examples"),
        (["--run_dir=RUN", "--test=TEST", "--slice_by=bag1"], 1, "these are c1, c2"),
        (["--run_dir=RUN", "--test=/nowhere.tsv"], 1, "there is no file /nowhere.tsv"),
        (["--run_dir=RUN", "--prepared=/nowhere"], 1, "is not a folder of prepared click data"),
        (["--run_dir=RUN", "--prepared=RUN/prepared", "--part=x"], 1, "has no part x"),
        (["--run_dir=RUN", "--test=TEST", "--checkpoint=x"], 1, "there is no checkpoint x"),
        (["--run_dir=RUN", "--test=TEST", "--predict_to=/nowhere/p.tsv"], 2, "no folder /nowhere"),
        (["--run_dir=RUN", "--test=TEST", "--predict_to=p.txt"], 2, "--predict_to must end in"),
    ],
)
def test_faults(finished_click_run, click_logs, capsys, arguments, code, message):
    places = {"RUN": str(finished_click_run), "TEST": str(click_logs["test"])}
    for name, path in places.items():
        arguments = [argument.replace(name, path) for argument in arguments]
    assert tiny_click_runs.run_evaluation(*arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_the_program_goes_by_the_model(finished_click_run, tmp_path):
    for flag in (f"--run_dir={finished_click_run}", f"-run_dir={finished_click_run}"):
        assert evaluate.find_program(["--k=5", flag]) == "dlrm"
    assert evaluate.find_program(["--run_dir", str(finished_click_run)]) == "dlrm"
    assert evaluate.find_program(["--run_dir"]) is None
    assert evaluate.find_program([f"--export={tmp_path}"]) is None
    assert evaluate.find_program([]) is None
    assets = tmp_path / "served/3/assets"
    assets.mkdir(parents=True)
    (assets / "config.json").write_text('{"program": "dlrm"}')
    assert evaluate.find_program([f"--export={tmp_path / 'served'}"]) == "dlrm"
    assert evaluate.find_program([f"--export={tmp_path / 'served/3'}"]) == "dlrm"
