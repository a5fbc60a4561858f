import json

import pytest
import tensorflow as tf
from export_programs import call_program

from tfrec_zoo.export import check, main
from tfrec_zoo.run_folder import RunFolder, write_json


@pytest.fixture
def run(tmp_path, restored):
    """A run folder with one checkpoint and final metrics."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    write_json(folder.config_path, {"program": "gru4rec", **restored.experiment.to_dict()})
    restored.vocabulary.save(folder.vocabulary_path)
    folder.write_metrics({"recall@20": 0.5})
    checkpoint = tf.train.Checkpoint(model=restored.model)
    directory = str(folder.checkpoints_path / "last")
    tf.train.CheckpointManager(checkpoint, directory, 1).save(checkpoint_number=3)
    return folder


def test_exports_a_run_that_passes_the_check(run, tmp_path, monkeypatch, capsys):
    flags = [f"--run_dir={run.path}", f"--export_dir={tmp_path / 'served'}"]
    code, printed = call_program(monkeypatch, capsys, main, *flags, "--k=7", "--version=12")
    path = tmp_path / "served" / "12"
    assert (code, printed.out) == (0, f"{path}\n")
    about = json.loads((path / "assets" / "config.json").read_text())["export"]
    assert about["checkpoint"] == "checkpoints/last/ckpt-3"
    assert (about["k"], about["metrics"]) == (7, {"recall@20": 0.5})

    code, printed = call_program(monkeypatch, capsys, check, path, f"--run_dir={run.path}")
    assert code == 0
    assert "by the run's checkpoint" in printed.out

    code, printed = call_program(monkeypatch, capsys, main, *flags)
    assert printed.out == f"{tmp_path / 'served' / '13'}\n"


def test_another_run_than_the_exported_one_is_noticed(run, restored, tmp_path, monkeypatch, capsys):
    flags = [f"--run_dir={run.path}", f"--export_dir={tmp_path / 'served'}"]
    call_program(monkeypatch, capsys, main, *flags)
    weights = restored.model.get_weights()
    restored.model.set_weights([-weight for weight in weights])
    checkpoint = tf.train.Checkpoint(model=restored.model)
    checkpoint.write(str(run.checkpoints_path / "last" / "ckpt-3"))
    restored.model.set_weights(weights)
    code, printed = call_program(
        monkeypatch, capsys, check, tmp_path / "served", f"--run_dir={run.path}"
    )
    assert code == 1
    assert "FAIL  python_answers" in printed.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--version=1"], "1 exists"),
        (["--checkpoint=ckpt-8"], "there is no checkpoint ckpt-8"),
        (["--run_dir=nowhere"], "nowhere is not a run folder"),
    ],
)
def test_bad_input_is_one_sentence(run, tmp_path, monkeypatch, capsys, flags, words):
    served = tmp_path / "served"
    (served / "1").mkdir(parents=True)
    common = [f"--run_dir={run.path}", f"--export_dir={served}"]
    code, printed = call_program(monkeypatch, capsys, main, *common, *flags)
    assert (code, printed.out) == (1, "")
    assert words in printed.err.splitlines()[-1]
    assert [path.name for path in served.iterdir()] == ["1"]
