"""`tfrec-prepare --columns=...` as its users run it: files in, a folder out, faults in one line."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tfrec_zoo.data.clicks import click_preparation
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.trainers import prepare

SPEC = {
    "label": "click",
    "time": "day",
    "dense": [{"name": "age", "transform": "log"}],
    "categorical": ["city", {"name": "site", "hash_rows": 10}],
}
HEADER = "click,day,age,city,site"


@pytest.fixture
def files(tmp_path):
    """The flags of a log of 60 rows over 6 days, with its specification."""
    (tmp_path / "columns.json").write_text(json.dumps(SPEC))
    lines = [f"{n % 2},{n // 10},{n},c{n % 7 % 5},s{n % 3}" for n in range(60)]
    (tmp_path / "log.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return [f"--columns={tmp_path}/columns.json", f"--input={tmp_path}/log.csv"]


def run(monkeypatch, *arguments):
    """Runs the console script in this process; SystemExit carries a failure's exit code."""
    monkeypatch.setattr(sys, "argv", ["tfrec-prepare", *map(str, arguments)])
    prepare.main()


def fail(monkeypatch, capsys, *arguments):
    """Runs the program to its failure; returns exit code and what it has written to stderr."""
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, *arguments)
    return exit_info.value.code, capsys.readouterr().err.strip()


def list_files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_folder_and_table(tmp_path, files, capsys, monkeypatch):
    output = tmp_path / "deep" / "prepared"
    arguments = ("--test_time=1", "--validation_fraction=0.2", "--num_shards=2")
    run(monkeypatch, *files, f"--output_dir={output}", *arguments)
    parts = ("test", "train", "validation")
    shards = [f"{part}-0000{k}-of-00002.arrow" for part in parts for k in (0, 1)]
    known = ["features.json", "preparation.json", "spec.json", "vocabularies/city.tsv"]
    assert list_files(output) == sorted([*shards, *known])
    assert os.listdir(output.parent) == ["prepared"]
    data = PreparedClicks(output)
    assert {name: data.part(name).num_rows for name in parts} == {
        "train": 40,
        "validation": 10,
        "test": 10,
    }
    out = capsys.readouterr().out
    lines = [re.split(r"  +", line) for line in out.splitlines()]
    assert re.fullmatch(
        r"read 60 rows, passed over 0 bad ones; [\d,]+ rows per second", lines[0][0]
    )
    assert ["part", "examples", "clicks", "click rate", "from", "to"] in lines
    assert ["train", "40", "20", "0.5000", "0", "3"] in lines
    assert ["validation", "10", "5", "0.5000", "4", "4"] in lines
    assert ["test", "10", "5", "0.5000", "5", "5"] in lines
    assert ["city", "vocabulary", "5", "5", "6", "0.00%", "0.00%", "0.00%"] in lines
    assert ["site", "hash", "-", "-", "11", "-", "-", "-"] in lines


def test_files_of_parts_and_left_out_examples(tmp_path, files, capsys, monkeypatch):
    log = tmp_path / "log.csv"
    arguments = (f"--validation_input={log}", f"--test_input={log}", "--negative_keep_rate=0.5")
    run(monkeypatch, *files, f"--output_dir={tmp_path}/out", *arguments)
    data = PreparedClicks(tmp_path / "out")
    assert data.part("validation").num_rows == data.part("test").num_rows == 60
    dropped = 60 - data.part("train").num_rows
    assert f"left out {dropped} training examples without a click" in capsys.readouterr().out


@pytest.mark.parametrize("spelling", ["--columns={}", "-columns={}", "--columns {}"])
def test_columns_make_it_a_click_log(tmp_path, files, monkeypatch, spelling):
    columns = spelling.format(tmp_path / "columns.json").split()
    run(monkeypatch, *columns, files[1], f"--output_dir={tmp_path}/out")
    assert PreparedClicks(tmp_path / "out").parts == ["train"]


def test_without_columns_it_is_a_session_log(tmp_path, files, capsys, monkeypatch):
    code, error = fail(monkeypatch, capsys, files[1], f"--output_dir={tmp_path}/out")
    assert code == 1 and "name the session column with --session_column" in error
    code, error = fail(monkeypatch, capsys, files[1], "--output_dir=x", "--test_time=1")
    assert code == 2 and "Unknown command line flag 'test_time'" in error


def test_warnings_are_told(tmp_path, files, caplog, monkeypatch):
    (tmp_path / "log.csv").write_text(f"{HEADER}\n0,1,2,a,s\n0,1,2,a,s\n")
    run(monkeypatch, *files, f"--output_dir={tmp_path}/out")
    assert "all 2 labels of train are 0: there is nothing to rank" in caplog.text


def test_an_existing_folder_is_kept_unless_told(tmp_path, files, capsys, monkeypatch):
    output = tmp_path / "prepared"
    run(monkeypatch, *files, f"--output_dir={output}")
    before = {name: (output / name).read_bytes() for name in list_files(output)}
    again = (*files, f"--output_dir={output}", "--num_shards=2")
    code, error = fail(monkeypatch, capsys, *again)
    assert code == 1 and "is not empty: choose another or add --overwrite" in error

    (output / "vocabularies" / "notes.txt").write_text("mine")
    code, error = fail(monkeypatch, capsys, *again, "--overwrite")
    assert code == 1 and "holds 'vocabularies/notes.txt', which no preparation has" in error
    (output / "vocabularies" / "notes.txt").unlink()
    assert {name: (output / name).read_bytes() for name in list_files(output)} == before

    run(monkeypatch, *again, "--overwrite")
    assert not (output / "train.arrow").exists()
    assert PreparedClicks(output).part("train").num_rows == 60


def test_a_full_disk_leaves_nothing_behind(tmp_path, files, capsys, monkeypatch):
    output = tmp_path / "prepared"
    run(monkeypatch, *files, f"--output_dir={output}")
    before = {name: (output / name).read_bytes() for name in list_files(output)}

    def fill_disk(*arguments):
        raise OSError(28, "No space left on device", "train.arrow")

    monkeypatch.setattr(click_preparation, "write_parts", fill_disk)
    code, error = fail(monkeypatch, capsys, *files, f"--output_dir={output}", "--overwrite")
    assert code == 1 and "the disk is full: train.arrow" in error
    assert {name: (output / name).read_bytes() for name in list_files(output)} == before
    assert sorted(os.listdir(tmp_path)) == ["columns.json", "log.csv", "prepared"]


def test_what_a_killed_preparation_left_is_cleared_away(tmp_path, files, monkeypatch):
    code = (
        "import sys, time\n"
        "from tfrec_zoo.data.clicks import click_preparation\n"
        "from tfrec_zoo.trainers import prepare\n"
        "def hang(*arguments):\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "click_preparation.write_parts = hang\n"
        "prepare.main()\n"
    )
    arguments = [*files, f"--output_dir={tmp_path / 'out'}"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"writing\n"
    leftover = f".{process.pid}.out"
    assert sorted(os.listdir(tmp_path)) == [leftover, "columns.json", "log.csv"]
    # What another process still writes to stays.
    run(monkeypatch, *files, f"--output_dir={tmp_path / 'out'}")
    assert leftover in os.listdir(tmp_path)

    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert leftover in os.listdir(tmp_path)
    run(monkeypatch, *files, f"--output_dir={tmp_path / 'out'}", "--overwrite")
    assert sorted(os.listdir(tmp_path)) == ["columns.json", "log.csv", "out"]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, (), "there is no file"),
        ("", (), "log.csv is empty"),
        (f"{HEADER}\n", (), "log.csv has columns but no rows"),
        ("click,day,age,city\n1,1,1,a\n", (), "no column 'site'"),
        (f"{HEADER}\n2,1,1,a,s\n", (), "log.csv, line 2: click is "),
        (f"{HEADER}\n1,1,1,a,s\n1,1\n", (), "log.csv, line 3: expected 5 fields, found 2"),
        (f"{HEADER}\n1,1,1,a,s\n", ("--test_fraction=0.5",), "leaves none to train on"),
        (f"{HEADER}\n1,1,1,a,s\n", ("--min_count=0",), "min_count must be 1 or more, got 0"),
        (f"{HEADER}\n1,1,1,a,s\n", ("--columns=nowhere",), "there is no column specification nowh"),
    ],
)
def test_faults_end_in_one_line(tmp_path, files, capsys, monkeypatch, content, arguments, message):
    (tmp_path / "log.csv").unlink()
    if content is not None:
        (tmp_path / "log.csv").write_text(content)
    before = sorted(os.listdir(tmp_path))
    output = f"--output_dir={tmp_path / 'out'}"
    code, error = fail(monkeypatch, capsys, *files, output, *arguments)
    assert code in (1, 2) and message in error.replace("\n", " ")
    assert sorted(os.listdir(tmp_path)) == before
