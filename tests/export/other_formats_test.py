import json
import sys
from dataclasses import replace

import click_models
import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.export import main
from tfrec_zoo.export.formats.numeric_signature import NumericSignature
from tfrec_zoo.export.formats.onnx_format import ONNX
from tfrec_zoo.export.formats.runtime_format import RuntimeFormat
from tfrec_zoo.export.other_formats import FORMATS, export_format
from tfrec_zoo.export.saved_model import export_dlrm
from tfrec_zoo.program import run_program
from tfrec_zoo.vocabulary import Vocabulary

for package in ("tf2onnx", "onnxruntime", "ai_edge_litert", "openvino"):
    pytest.importorskip(package)


class Best(tf.Module):
    """Answers the three greatest of five numbers of a table, in the order of a request's rows."""

    def __init__(self):
        self.table = tf.Variable([[0.5, 2.0, -1.0, 4.0, 3.0]])

    def best(self, row):
        scores = self.table + tf.cast(row[:, None], tf.float32)
        scores, rows = tf.math.top_k(scores, 3)
        return {"rows": rows, "scores": scores}

    def invert(self, row):
        squares = tf.cast(row[:, None, None], tf.float32) + tf.eye(2)
        return {"inverse": tf.linalg.inv(squares)}


def make_signature(name):
    return NumericSignature(Best(), name, {"row": tf.TensorSpec([None], tf.int32, "row")})


def disturb(change) -> RuntimeFormat:
    """Returns a format whose runtime answers otherwise than it should."""

    def load(path):
        run = ONNX.load(path)
        return lambda inputs: change(run(inputs))

    return replace(ONNX, load=load)


@pytest.fixture(scope="module")
def small():
    """A DLRM of a number and a text."""
    return click_models.make_restored(["user"], click_models.DENSE[:1])


@pytest.fixture
def convert(tmp_path):
    """Converts a function of `Best`."""

    def run(runtime_format, name="best"):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        path = tmp_path / f"{name}{runtime_format.suffix}"
        runtime_format.convert(make_signature(name), path, scratch)
        return path

    return run


def run_export(*arguments):
    """Runs the program in this process and returns its exit code."""
    argv = ["tfrec-export", *map(str, arguments)]
    try:
        run_program(main.export, main.define_flags, argv)
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize("name", FORMATS)
def test_a_version_has_all_that_a_service_needs(small, tmp_path, name):
    path = export_format(small, tmp_path / "served", name)
    assert path == tmp_path / "served" / "1"
    suffix = {"onnx": ".onnx", "tflite": ".tflite", "openvino": ".xml"}[name]
    files = {"interface.json", "config.json", "features.json", "vocabularies"}
    files |= {f"predict_rows{suffix}"} | ({"predict_rows.bin"} if name == "openvino" else set())
    assert {file.name for file in path.iterdir()} == files
    size = 1 if name == "tflite" else None
    assert json.loads((path / "interface.json").read_text()) == {
        "model": "dlrm",
        "format": name,
        "signatures": {
            "predict_rows": {
                "file": f"predict_rows{suffix}",
                "inputs": {
                    "dense_values": {"dtype": "float32", "shape": [size, 1]},
                    "rows": {"dtype": "int32", "shape": [size, 1]},
                },
                "outputs": {"click_probability": {"dtype": "float32", "shape": [size]}},
            }
        },
    }
    ids = Vocabulary.load(path / "vocabularies" / "user.tsv").ids
    assert list(ids) == click_models.VOCABULARIES["user"]
    assert json.loads((path / "config.json").read_text())["program"] == "dlrm"


def test_versions_of_a_folder_are_of_one_format(small, tmp_path):
    assert export_format(small, tmp_path, "onnx").name == "1"
    assert export_format(small, tmp_path, "onnx").name == "2"
    for export in (
        lambda: export_format(small, tmp_path, "openvino"),
        lambda: export_dlrm(small, tmp_path),
    ):
        with pytest.raises(ValueError, match="has versions of the format onnx, expected"):
            export()
    with pytest.raises(ValueError, match="1 exists"):
        export_format(small, tmp_path, "onnx", version=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
    (tmp_path / "2" / "interface.json").write_text("{}")
    with pytest.raises(ValueError, match="interface.json is damaged"):
        export_format(small, tmp_path, "onnx")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format_name": "pmml"}, "format must be one of onnx, tflite, openvino, got 'pmml'"),
        ({"format_name": "onnx", "k": 3}, "k=3 belongs to GRU4Rec and SSR"),
        ({"format_name": "onnx", "now": 3.0}, "now=3.0 belongs to an SSR"),
        ({"format_name": "onnx", "batch_size": 3}, "batch_size=3 belongs to tflite"),
        ({"format_name": "tflite", "batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"format_name": "tflite", "session_length": 9}, "session_length=9 belongs to GRU4Rec"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(small, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        export_format(small, tmp_path / "served", **options)
    assert not (tmp_path / "served").exists()


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("onnx", "tf2onnx", "onnx"), ("tflite", "ai_edge_litert", "litert")],
)
def test_a_missing_package_is_one_sentence(small, tmp_path, monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"pip install 'tfrec-zoo\[{extra}\]'"):
        export_format(small, tmp_path, name)


def test_what_a_format_lacks_is_one_sentence_and_leaves_nothing(small, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="^invert cannot be written as onnx: "):
        ONNX.convert(make_signature("invert"), tmp_path / "a.onnx", tmp_path)

    def fail(*arguments):
        raise RuntimeError("no such operation\nand more")

    monkeypatch.setitem(FORMATS, "onnx", replace(ONNX, write=fail))
    with pytest.raises(ValueError, match="predict_rows cannot be written as onnx: no such op"):
        export_format(small, tmp_path / "served", "onnx")
    assert list((tmp_path / "served").iterdir()) == []


def test_a_function_is_converted(convert):
    answer = ONNX.load(convert(ONNX))({"row": np.array([1, -2], np.int32)})
    np.testing.assert_array_equal(answer["rows"], [[3, 4, 1]] * 2)
    np.testing.assert_allclose(answer["scores"], [[5, 4, 3], [2, 1, 0]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda answer: answer | {"scores": answer["scores"] * 1.01}, "scores of best as onnx"),
        (lambda answer: answer | {"rows": answer["rows"][:, ::-1]}, "rows of best as onnx"),
        (lambda answer: answer | {"rows": answer["rows"][:, :2]}, "is of shape"),
        (lambda answer: {"rows": answer["rows"]}, "answers"),
    ],
)
def test_other_answers_than_those_of_tensorflow_are_refused(convert, change, words):
    with pytest.raises(ValueError, match=words):
        convert(disturb(change))


def test_tables_that_are_too_large_are_refused(convert):
    with pytest.raises(ValueError, match="tables of best have 20 bytes and a file .* 19 at most"):
        convert(replace(ONNX, max_bytes=19))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--format=onnx"], "which run is to be exported? Pass --run_dir"),
        (["--format=onnx", "--run_dir=r", "--deploy"], "--deploy is of SavedModels"),
        (["--format=onnx", "--run_dir=r", "--batch_size=2"], "--batch_size is of --format=tflite"),
        (["--run_dir=r", "--session_length=2"], "--session_length is of --format=tflite"),
        (["--format=pmml", "--run_dir=r"], "--format"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, capsys, flags, words):
    assert run_export(f"--export_dir={tmp_path / 'served'}", *flags) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "served").exists()


def test_the_program_exports_as_flagged(small, tmp_path, capsys):
    run = click_models.write_run(tmp_path / "run", small)
    flags = (f"--run_dir={run.path}", f"--export_dir={tmp_path / 'served'}")
    assert run_export(*flags, "--format=tflite", "--batch_size=7", "--version=3") == 0
    path = tmp_path / "served" / "3"
    assert capsys.readouterr().out == f"{path}\n"
    signatures = json.loads((path / "interface.json").read_text())["signatures"]
    assert signatures["predict_rows"]["inputs"]["rows"]["shape"] == [7, 1]
    about = json.loads((path / "config.json").read_text())["export"]
    assert about["checkpoint"] == "checkpoints/last/ckpt-3"
