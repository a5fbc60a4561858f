"""The Beam program as its users run it: the folder of tfrec-prepare, faults in one line."""

import json
import sys

import pytest

from tfrec_zoo.trainers import prepare_clicks_beam

SPEC = {"label": "click", "categorical": ["city", "site"]}


@pytest.fixture
def files(tmp_path):
    """The flags of a log of 40 rows, with its specification."""
    (tmp_path / "columns.json").write_text(json.dumps(SPEC))
    lines = [f"{n % 2},c{n % 7 % 5},s{n % 3}" for n in range(40)]
    (tmp_path / "log.csv").write_text("\n".join(["click,city,site", *lines]) + "\n")
    return [f"--columns={tmp_path}/columns.json", f"--input={tmp_path}/log.csv"]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["prepare_clicks_beam", *map(str, arguments)])
    prepare_clicks_beam.main()


def fail(monkeypatch, capsys, *arguments):
    """Runs the program to its failure; returns exit code and what it has written to stderr."""
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, *arguments)
    return exit_info.value.code, capsys.readouterr().err.strip()


def test_without_beam_it_says_what_to_install(tmp_path, files, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    code, error = fail(monkeypatch, capsys, *files, f"--output_dir={tmp_path}/out")
    assert code == 1 and "pip install 'tfrec-zoo[beam]'" in error
    assert not (tmp_path / "out").exists()


def test_a_wrong_flag_is_not_taken_for_one_of_beam(tmp_path, files, monkeypatch, capsys):
    code, error = fail(monkeypatch, capsys, *files, "--output_dir=x", "--test_fracton=0.1")
    assert code == 2 and "Unknown command line flag 'test_fracton'" in error


def test_the_folder_and_the_options_of_beam(tmp_path, files, monkeypatch, capsys):
    pytest.importorskip("apache_beam", reason="needs the extra tfrec-zoo[beam]")
    from tfrec_zoo.data.beam import beam_preparation
    from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks

    received = []
    prepare = beam_preparation.prepare_clicks_with_beam

    def remember(*args, options, **kwargs):
        received.append(options.get_all_options(drop_default=True))
        return prepare(*args, options=options, **kwargs)

    monkeypatch.setattr(beam_preparation, "prepare_clicks_with_beam", remember)
    output = tmp_path / "deep" / "prepared"
    flags = (*files, f"--output_dir={output}", "--test_fraction=0.25")
    run(monkeypatch, *flags, "--", "--direct_num_workers=3")
    assert received == [{"runner": "DirectRunner", "direct_num_workers": 3}]
    data = PreparedClicks(output)
    assert {part: data.part(part).num_rows for part in data.parts} == {"train": 30, "test": 10}
    assert "read 40 rows, passed over 0 bad ones" in capsys.readouterr().out

    code, error = fail(monkeypatch, capsys, *flags)
    assert code == 1 and "is not empty: choose another or add --overwrite" in error


def test_a_bad_row_is_one_line_and_leaves_nothing(tmp_path, files, monkeypatch, capsys):
    pytest.importorskip("apache_beam", reason="needs the extra tfrec-zoo[beam]")
    with open(tmp_path / "log.csv", "a") as log:
        log.write("5,c1,s1\n")
    code, error = fail(monkeypatch, capsys, *files, f"--output_dir={tmp_path}/out")
    line = error.splitlines()[-1]
    assert code == 1 and "Traceback" not in error
    assert line.startswith("prepare_clicks_beam: error: ") and "log.csv, line 42: " in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["columns.json", "log.csv"]
