"""Everything that a user of `tfrec-dlrm` may get wrong: one sentence, and nothing is lost."""

import gzip
import json
import re
import shutil

import pytest
import tiny_click_runs
import tiny_runs


@pytest.fixture
def fail(capsys):
    """Runs the trainer, which must refuse; returns its sentence."""

    def fail(*arguments, code=1):
        capsys.readouterr()
        assert tiny_click_runs.run_trainer(*arguments) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        line = captured.err.strip().splitlines()[-1 if code == 1 else -2]
        assert line.startswith("tfrec-dlrm: error: ")
        assert "Traceback" not in captured.err
        return line.removeprefix("tfrec-dlrm: error: ")

    return fail


@pytest.fixture
def fail_anew(fail, click_logs, tmp_path):
    """Runs the trainer in a new folder, which must be refused and leave no run behind."""

    def fail_anew(*arguments, code=1, **changes):
        files = {"train": click_logs["train"], "columns": click_logs["columns"], **changes}
        flags = [f"--{name}={path}" for name, path in files.items() if path]
        sentence = fail(*flags, f"--run_dir={tmp_path / 'new'}", *arguments, code=code)
        left = {path.name for path in (tmp_path / "new").glob("*")}
        # Data that were prepared are kept for the right command.
        assert left <= {"prepared"}
        return sentence

    return fail_anew


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def lines(click_logs):
    return click_logs["train"].read_text().splitlines()


def test_a_row_with_too_few_fields(fail_anew, lines, tmp_path):
    lines[7] = lines[7].rpartition("\t")[0]
    path = write_lines(tmp_path / "log.tsv", lines)
    assert fail_anew(train=path).startswith(f"{path}, line 8: expected 6 fields, found 5")


def test_bad_rows_are_passed_over_on_request(lines, click_logs, tmp_path, capsys):
    lines[7] = lines[7].rpartition("\t")[0]
    lines[9] = f"2{lines[9][1:]}"
    path = write_lines(tmp_path / "log.tsv", lines)
    arguments = [f"--train={path}", f"--columns={click_logs['columns']}", "--max_bad_rows=2"]
    assert tiny_click_runs.run_trainer(*arguments, f"--run_dir={tmp_path / 'run'}") == 0
    summary = json.loads((tmp_path / "run/prepared/preparation.json").read_text())
    assert (summary["input"]["num_rows"], summary["input"]["num_bad_rows"]) == (598, 2)


def test_a_label_that_is_neither_0_nor_1(fail_anew, lines, tmp_path):
    lines[3] = f"2{lines[3][1:]}"
    sentence = fail_anew(train=write_lines(tmp_path / "log.tsv", lines))
    assert re.search(r"log\.tsv, line 4: click is 2, expected 0 or 1", sentence)


def test_a_missing_column(fail_anew, lines, tmp_path):
    lines[0] = lines[0].replace("c2", "other")
    sentence = fail_anew(train=write_lines(tmp_path / "log.tsv", lines))
    assert "c2" in sentence
    assert "other" in sentence


def test_an_empty_file(fail_anew, tmp_path):
    (tmp_path / "log.tsv").touch()
    assert "log.tsv is empty" in fail_anew(train=tmp_path / "log.tsv")


def test_a_truncated_file(fail_anew, click_logs, tmp_path):
    packed = gzip.compress(click_logs["train"].read_bytes())
    (tmp_path / "log.tsv.gz").write_bytes(packed[: len(packed) // 2])
    assert "is truncated" in fail_anew(train=tmp_path / "log.tsv.gz")


def test_missing_files(fail_anew, tmp_path):
    assert fail_anew(train="/nowhere.tsv") == "there is no file /nowhere.tsv"
    assert "/nowhere.json" in fail_anew(columns="/nowhere.json")


def test_a_specification_with_an_unknown_key(fail_anew, click_logs, tmp_path):
    values = json.loads(click_logs["columns"].read_text())
    values["categoricals"] = values.pop("categorical")
    (tmp_path / "columns.json").write_text(json.dumps(values))
    assert "categorical" in fail_anew(columns=tmp_path / "columns.json")


def test_equal_labels_are_said_and_have_no_auc(lines, click_logs, tmp_path, caplog):
    test = write_lines(tmp_path / "test.tsv", [lines[0], *(f"0{line[1:]}" for line in lines[1:50])])
    run = tmp_path / "run"
    arguments = [f"--{name}={click_logs[name]}" for name in ("train", "columns")]
    assert tiny_click_runs.run_trainer(*arguments, f"--test={test}", f"--run_dir={run}") == 0
    assert "AUC is not defined: all labels are 0" in caplog.messages
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["auc"] is None
    assert metrics["log_loss"] > 0


def test_tables_that_do_not_fit_are_refused_before_they_are_made(fail_anew):
    sentence = fail_anew("--embedding_dim=200000000", "--bottom_mlp=200000000")
    assert re.search(r"the tables need [\d,.]+ GB .* of memory are free \(largest: ", sentence)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_rate=0"], "learning_rate must be positive, got 0.0"),
        (["--bottom_mlp=8,5"], "bottom_mlp needs positive layer sizes that end in 4"),
        (["--target_auc=0.7"], "target_auc=0.7 needs validation data"),
        (["--table_dims=film:2"], "table_dims names 'film', the categorical features are c1, c2"),
        (["--embedding_optimizer=keras:Adam"], "must both be the zoo's or both keras:Name"),
        (["--config=rsc15_cross_entropy"], "a configuration of gru4rec, expected one of dlrm"),
        (["--interaction=cross", "--cross_rank=9"], "cross_rank must be at most half of the width"),
        (["--init_from=/nowhere"], "/nowhere is not a run folder"),
    ],
)
def test_options_without_a_meaning(fail_anew, arguments, message):
    assert message in fail_anew(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": None}, "pass either --prepared or --train"),
        ({"columns": None}, "--train needs --columns"),
        (
            {"train": None, "columns": None, "prepared": "x", "test": "y"},
            "--test belongs to --train",
        ),
    ],
)
def test_flags_that_do_not_go_together(fail_anew, arguments, message):
    assert message in fail_anew(code=2, **arguments)


def test_a_folder_without_prepared_data(fail_anew, tmp_path):
    sentence = fail_anew(train=None, columns=None, prepared=tmp_path)
    assert "is not a folder of prepared click data" in sentence


def test_options_of_raw_logs_for_prepared_data(fail_anew, finished_click_run):
    prepared = finished_click_run / "prepared"
    sentence = fail_anew("--min_count=5", train=None, columns=None, prepared=prepared, code=2)
    assert "--min_count is about raw logs (--train)" in sentence


def test_other_data_or_options_leave_a_run_as_it_is(
    fail, click_arguments, click_logs, finished_click_run, tmp_path
):
    run = shutil.copytree(finished_click_run, tmp_path / "run")
    before = tiny_runs.snapshot(run)
    arguments = [*click_arguments, "--validate_every_steps=20", f"--run_dir={run}"]
    assert "prepared from other train files" in fail(*arguments, f"--train={click_logs['other']}")
    assert "min_count 2 there, 3 now" in fail(*arguments, "--min_count=3")
    assert tiny_runs.snapshot(run) == before


def test_a_training_that_diverges(fail, click_arguments, tmp_path):
    arguments = [*click_arguments, "--optimizer=sgd", "--learning_rate=1e25"]
    sentence = fail(*arguments, f"--run_dir={tmp_path / 'run'}")
    assert re.match(
        r"the loss became (nan|inf) at step \d+|\d+ of \d+ predictions are not", sentence
    )


def test_the_right_command_after_a_wrong_one(fail, click_arguments, finished_click_run, tmp_path):
    run = tmp_path / "run"
    arguments = [*click_arguments, "--validate_every_steps=20", f"--run_dir={run}"]
    fail(*arguments, "--table_dims=film:2")
    prepared = (run / "prepared/train.arrow").stat().st_mtime_ns
    fail(*arguments, "--min_count=1", "--table_dims=film:2")
    assert (run / "prepared/train.arrow").stat().st_mtime_ns != prepared
    assert tiny_click_runs.run_trainer(*arguments) == 0
    found, expected = (tiny_runs.load_state(path) for path in (run, finished_click_run))
    assert found == expected
