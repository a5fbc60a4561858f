"""The C program is compiled and asked; its answers are those of the SavedModel in Python."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from docs.services.service_requests import REQUESTS, require_answer

# TensorFlow's log is not what is tested.
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(scope="module")
def program(repository, tmp_path_factory):
    for tool in ("make", "gcc"):
        if not shutil.which(tool):
            pytest.skip(f"needs {tool}")
    folder = tmp_path_factory.mktemp("c") / "c"
    shutil.copytree(repository / "docs" / "services" / "c", folder)
    (folder / "ask").unlink(missing_ok=True)
    flags = "CFLAGS=-O1 -Wall -Wextra -Wpedantic -Wconversion -Werror"
    command = ["make", "CC=gcc", f"PYTHON={sys.executable}", flags]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return folder / "ask"


def run_program(program, *arguments):
    command = [program, *map(str, arguments)]
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, encoding="utf-8", timeout=120
    )


def list_rows(inputs, delimiter):
    """Returns the arguments of inputs."""
    return [
        f"{name}={delimiter.join('' if value is None else str(value) for value in row)}"
        for name, rows in inputs.items()
        for row in ([[row] if isinstance(row, str) else row for row in rows])
    ]


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_like_python(program, exports, ask_python, name):
    model, signature, inputs = REQUESTS[name]
    # Texts of features have commas in them.
    delimiter = "\t" if "sparse" in inputs else ","
    options = [] if delimiter == "," else ["-d", delimiter]
    rows = list_rows(inputs, delimiter)
    run = run_program(program, *options, exports[model], signature, *rows)
    assert run.returncode == 0, run.stderr
    require_answer(json.loads(run.stdout), ask_python(model, signature, inputs))


def test_ids_are_written_as_json_has_them(program, tmp_path):
    from serving.served_models import export_echo

    texts = ['a"\\', "\t\n\x01", "é" * 40]
    rows = [f"texts={text}" for text in texts]
    run = run_program(program, export_echo(tmp_path), "only_texts", *rows)
    assert json.loads(run.stdout) == {"kept": [[text] for text in texts]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "recommend", "x=1"], "the model in nowhere cannot be loaded: .*nowhere.*"),
        (["gru4rec", "best", "x=1"], r"the model has no signature best, only .*\brecommend\b.*"),
        (
            ["gru4rec", "recommend", "items=1"],
            r"items=1 is no input of recommend, which takes session_items=\.\.\.",
        ),
        (["gru4rec", "step", "item=1"], r"input state_\d is missing: pass state_\d=\.\.\."),
        (
            ["gru4rec", "recommend_excluding", "session_items=1", "session_items=2"]
            + ["exclude_items=3"],
            r"\w+_items has \d rows and \w+_items \d: give all inputs as many",
        ),
        (
            ["dlrm", "predict", "dense=1,2", "sparse=a"],
            "input (dense|sparse) takes rows of [38] values, got [12] in .*",
        ),
        (
            ["gru4rec", "recommend_rows", "session_rows=1,b"],
            "input session_rows takes integers of 32 bits, got b",
        ),
        (
            ["gru4rec", "recommend_rows", "session_rows=3000000000"],
            "input session_rows takes integers of 32 bits, got 3000000000",
        ),
        (
            ["dlrm", "predict", "dense=1,2,x", "sparse=,,,,,,,"],
            "input dense takes numbers, got x",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(program, exports, arguments, sentence):
    model, *rest = arguments
    run = run_program(program, exports.get(model, model), *rest)
    assert (run.returncode, run.stdout) == (1, "")
    assert re.fullmatch(f"ask: {sentence}", run.stderr.splitlines()[-1])


def test_a_damaged_model_ends_in_a_sentence(program, exports, tmp_path):
    copy = shutil.copytree(exports["gru4rec"], tmp_path / "1")
    content = (copy / "saved_model.pb").read_bytes()
    (copy / "saved_model.pb").write_bytes(content[: len(content) // 2])
    run = run_program(program, copy, "recommend", "session_items=a")
    assert run.returncode == 1
    assert f"ask: the model in {copy} cannot be loaded: " in run.stderr


@pytest.mark.parametrize("arguments", [[], ["x", "y"], ["-d", "ab", "x", "y", "z"], ["-q"]])
def test_wrong_usage_is_told_apart(program, arguments):
    run = run_program(program, *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines()[-1].startswith("usage: ask [-d DELIMITER] EXPORT SIGNATURE")


def test_the_example_of_the_readme_runs(program, repository, exports, ask_python):
    text = (repository / "docs" / "services" / "c" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    (./ask served/1 recommend .*)$", text, re.MULTILINE)
    command = command.replace("./ask", str(program)).replace("served/1", str(exports["gru4rec"]))
    run = subprocess.run(["bash", "-c", command], env=ENVIRONMENT, capture_output=True, check=True)
    inputs = {"session_items": [["272660", "257291"], ["119592"], []]}
    require_answer(json.loads(run.stdout), ask_python("gru4rec", "recommend", inputs))
