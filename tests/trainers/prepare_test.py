"""`tfrec-prepare` as its users run it: files in, a folder out, faults in one line."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tfrec_zoo.data.sessions.preparation import PreparationConfig, prepare_sessions
from tfrec_zoo.data.sessions.session_log import SessionColumns, read_session_log
from tfrec_zoo.program import run_program
from tfrec_zoo.trainers import prepare, prepared_folder
from tfrec_zoo.vocabulary import Vocabulary

PARTS = ("train_full", "test", "train", "validation")


@pytest.fixture
def log_path(tmp_path):
    """A log of scattered clicks over six days."""
    rng = np.random.default_rng(1)
    sessions = rng.integers(0, 500, 2500)
    times = rng.integers(0, 6 * 86400, 500)[sessions] + rng.integers(0, 3000, 2500)
    items = np.minimum(rng.zipf(1.4, 2500), 200)
    path = tmp_path / "log.tsv"
    frame = pd.DataFrame({"SessionId": sessions, "ItemId": items, "Time": times})
    frame.to_csv(path, sep="\t", index=False)
    return path


def run(*arguments):
    """Runs the program in this process; SystemExit carries a failure's exit code."""
    run_program(prepare.prepare, prepare.define_flags, ["tfrec-prepare", *map(str, arguments)])


def fail(capsys, *arguments):
    """Runs the program to its failure; returns exit code and the last line on stderr."""
    with pytest.raises(SystemExit) as exit_info:
        run(*arguments)
    return exit_info.value.code, capsys.readouterr().err.strip().splitlines()[-1]


def as_sessions(log):
    """(session, items, times) of each session, ordered by session id."""
    items = np.split(log.item_ids[log.item_codes], log.offsets[1:-1])
    times = np.split(log.times, log.offsets[1:-1])
    rows = zip(log.session_ids, map(list, items), map(list, times), strict=True)
    return sorted(rows)


@pytest.mark.parametrize("file_format", ["parquet", "tsv", "tsv.gz", "csv", "csv.gz"])
def test_folder_holds_the_parts(tmp_path, log_path, capsys, file_format):
    output = tmp_path / "deep" / "prepared"
    run(f"--input={log_path}", f"--output_dir={output}", f"--format={file_format}")
    expected = prepare_sessions(read_session_log(log_path), PreparationConfig()).parts
    for name in PARTS:
        log = read_session_log(output / f"{name}.{file_format}")
        assert as_sessions(log) == as_sessions(expected[name])
        assert (np.diff(log.start_times()) >= 0).all()
    full = expected["train_full"]
    vocabulary = Vocabulary.load(output / "vocabulary.tsv")
    assert dict(zip(vocabulary.ids, vocabulary.counts, strict=True)) == dict(
        zip(full.item_ids, np.bincount(full.item_codes), strict=True)
    )
    assert sorted(os.listdir(output)) == sorted(
        [*(f"{name}.{file_format}" for name in PARTS), "vocabulary.tsv", "preparation.json"]
    )
    assert os.listdir(output.parent) == ["prepared"]


def test_table_and_summary_agree(tmp_path, log_path, capsys):
    output = tmp_path / "prepared"
    run(f"--input={log_path}", f"--output_dir={output}", "--drop_repeats", "--min_item_support=3")
    lines = capsys.readouterr().out.splitlines()
    summary = json.loads((output / "preparation.json").read_text())
    assert summary["config"]["rules"]["min_item_support"] == 3
    assert summary["input"]["clicks"] == 2500 and summary["input"]["files"] == [str(log_path)]
    numbers = [[int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d(?!\S)", x)] for x in lines]
    for name in PARTS:
        log = read_session_log(output / f"{name}.parquet")
        counts = [log.num_clicks, log.num_sessions, log.num_items]
        part = summary["parts"][name]
        assert counts == [part["clicks"], part["sessions"], part["items"]]
        line = next(x for x in lines if x.startswith(f"{name} ") and " written " in x)
        assert numbers[lines.index(line)] == counts
    rules = [line for line in lines if "->" in line]
    assert len(rules) == len(summary["rules"]) == 12
    for line, rule in zip(rules, summary["rules"], strict=True):
        pairs = re.findall(r"([\d,]+) -> ([\d,]+)", line)
        expected = [(rule["before"][k], rule["after"][k]) for k in ("clicks", "sessions", "items")]
        assert [tuple(int(n.replace(",", "")) for n in pair) for pair in pairs] == expected
        assert rule["part"] in line and rule["rule"] in line


@pytest.mark.parametrize("file_format", ["parquet", "tsv", "lines"])
def test_shards_one_after_the_other_are_the_single_file(tmp_path, log_path, file_format):
    ending = "txt" if file_format == "lines" else file_format
    common = (f"--input={log_path}", f"--format={file_format}")
    run(*common, f"--output_dir={tmp_path / 'one'}")
    run(*common, f"--output_dir={tmp_path / 'many'}", "--num_shards=3")
    for name in PARTS:
        names = [f"{name}-0000{k}-of-00003.{ending}" for k in range(3)]
        single = read_session_log(tmp_path / "one" / f"{name}.{ending}")
        sharded = read_session_log(tmp_path / "many" / f"{name}-*.{ending}")
        assert sharded.session_ids.tolist() == single.session_ids.tolist()
        assert sharded.item_ids.tolist() == single.item_ids.tolist()
        assert sharded.item_codes.tolist() == single.item_codes.tolist()
        shards = [read_session_log(tmp_path / "many" / shard) for shard in names]
        assert sum(shard.num_sessions for shard in shards) == single.num_sessions
    summary = json.loads((tmp_path / "many" / "preparation.json").read_text())
    assert summary["parts"]["validation"]["files"] == names


def test_a_table_becomes_one_session_a_line(tmp_path):
    path = tmp_path / "clicks.csv"
    path.write_text("visit,sku,when\nb,007,5\na,1,2\nb,x,4\na,1,9\n")
    run(
        *(f"--input={path}", f"--output_dir={tmp_path / 'lines'}", "--format=lines"),
        *("--session_column=visit", "--item_column=sku", "--time_column=when"),
        *("--test_seconds=none", "--min_item_support=1"),
    )
    assert (tmp_path / "lines" / "train_full.txt").read_text() == "1 1\nx 007\n"
    assert (tmp_path / "lines" / "vocabulary.tsv").read_text() == "\t0\n007\t1\n1\t2\nx\t1\n"


def test_lines_become_a_table(tmp_path, shared_data):
    path = shared_data / "fixtures" / "session_lines_train.txt"
    output = tmp_path / "prepared"
    run(
        *(f"--input={path}", f"--output_dir={output}", "--format=tsv", "--test_fraction=0.2"),
        *("--min_item_support=1", "--nouse_validation"),
    )
    train = read_session_log(output / "train_full.tsv", SessionColumns(time=None))
    lines = [line.split() for line in path.read_text().splitlines()[:80]]
    assert train.item_ids[train.item_codes].tolist() == sum(lines, [])


def test_a_part_that_late_clicks_leave_nearly_empty_is_told(tmp_path, caplog):
    visits = np.repeat(np.arange(3000), 2)
    frame = pd.DataFrame({"SessionId": visits, "ItemId": visits % 7, "Time": np.arange(6000)})
    frame.to_csv(tmp_path / "log.csv", index=False)
    run(f"--input={tmp_path}/log.csv", f"--output_dir={tmp_path}/even", "--test_seconds=300")
    assert "has only" not in caplog.text
    frame.loc[frame.SessionId == 2999, "Time"] += 10**6
    frame.to_csv(tmp_path / "log.csv", index=False)
    run(f"--input={tmp_path}/log.csv", f"--output_dir={tmp_path}/late", "--test_seconds=300")
    assert "test has only 1 sessions, train_full 2999: if a few clicks" in caplog.text
    assert "validation has only" not in caplog.text


def test_a_file_without_header(tmp_path):
    path = tmp_path / "yoochoose-clicks.dat"
    path.write_text(
        "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,0\n"
    )
    run(
        *(f"--input={path}", f"--output_dir={tmp_path / 'out'}", "--input_format=csv"),
        *("--column_names=SessionId,Time,ItemId,Category", "--test_seconds=none"),
        *("--min_item_support=1", "--format=tsv"),
    )
    assert (tmp_path / "out" / "train_full.tsv").read_text() == (
        "SessionId\tItemId\tTime\n1\t214536502\t1396867869.277\n1\t214536500\t1396868049.868\n"
    )


def test_an_existing_folder_is_kept_unless_told(tmp_path, log_path, capsys):
    output = tmp_path / "prepared"
    output.mkdir()
    run(f"--input={log_path}", f"--output_dir={output}")
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    again = (f"--input={log_path}", f"--output_dir={output}", "--format=tsv")
    code, line = fail(capsys, *again)
    assert code == 1 and "is not empty: choose another or add --overwrite" in line
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before

    (output / "notes.txt").write_text("mine")
    code, line = fail(capsys, *again, "--overwrite")
    assert code == 1 and "holds 'notes.txt', which no preparation has written" in line
    assert {file.name for file in output.iterdir()} == {*before, "notes.txt"}

    (output / "notes.txt").unlink()
    run(*again, "--overwrite")
    assert (output / "train_full.tsv").exists() and not (output / "train_full.parquet").exists()
    assert sorted(os.listdir(tmp_path)) == ["log.tsv", "prepared"]


def test_folders_of_others_are_never_overwritten(tmp_path, log_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "preparation.json").write_text("{}")
    arguments = (f"--input={log_path}", f"--output_dir={tmp_path / 'home'}", "--overwrite")
    assert "which no preparation has written" in fail(capsys, *arguments)[1]
    assert (
        f"output folder {log_path} is a file"
        in fail(capsys, f"--input={log_path}", f"--output_dir={log_path}")[1]
    )


def test_a_full_disk_leaves_nothing_behind(tmp_path, log_path, capsys, monkeypatch):
    output = tmp_path / "prepared"
    run(f"--input={log_path}", f"--output_dir={output}")
    before = {file.name: file.read_bytes() for file in output.iterdir()}

    def fill_disk(log, path, columns):
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(prepared_folder, "write_session_log", fill_disk)
    code, line = fail(capsys, f"--input={log_path}", f"--output_dir={output}", "--overwrite")
    assert code == 1 and "the disk is full" in line
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["log.tsv", "prepared"]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, (), "there is no file"),
        ("", (), "log.tsv is empty"),
        ("SessionId\tTime\n1\t1\n", (), "the columns found are SessionId, Time; name the item"),
        ("SessionId\tItemId\tTime\n1\t1\tx\n", (), "line 2: Time is 'x', expected a number"),
        ("SessionId\tItemId\tTime\n1\t1\t1\n2\t1\t1\n", (), "sessions of up to 1 clicks on 1 item"),
        ("SessionId\tItemId\tTime\n1\t1\t1\n", ("--num_shards=0",), "num_shards must be 1 or more"),
        (
            "SessionId\tItemId\tTime\n1\ta\t1\n1\ta\t1\n",
            ("--num_shards=2", "--test_seconds=none", "--min_item_support=1"),
            "train_full has 1 sessions, too few for 2 shards: lower --num_shards",
        ),
        (
            "SessionId\tItemId\tTime\n1\ta b\t1\n1\ta\t1\n",
            ("--format=lines", "--test_seconds=none", "--min_item_support=1"),
            "id 'a b' cannot be written as lines, which has no blanks",
        ),
    ],
)
def test_faults_end_in_one_line(tmp_path, capsys, content, arguments, message):
    path = tmp_path / "log.tsv"
    if content is not None:
        path.write_text(content)
    output = tmp_path / "prepared"
    code, line = fail(capsys, f"--input={path}", f"--output_dir={output}", *arguments)
    assert code == 1 and message in line
    assert not output.exists()
    assert sorted(os.listdir(tmp_path)) == (["log.tsv"] if content is not None else [])


def test_the_module_runs_as_a_program(tmp_path):
    command = [sys.executable, "-m", "tfrec_zoo.trainers.prepare", "--format=xml", "--input=a"]
    result = subprocess.run(
        [*command, f"--output_dir={tmp_path / 'out'}"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "format must be one of parquet, tsv, tsv.gz, csv, csv.gz, lines" in result.stderr
