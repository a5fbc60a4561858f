"""Exports asked and checked as their users do: by the programs, and by TensorFlow alone."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tfrec_zoo.export import check
from tfrec_zoo.export.conformance import Export, Rule, run_rules

# What a service does that has TensorFlow and nothing of the zoo.
PLAIN_TENSORFLOW = """
import json, sys
for name in ("tfrec_zoo", "tf_keras", "keras", "tensorflow_recommenders"):
    sys.modules[name] = None
import tensorflow as tf
request = json.load(sys.stdin)
model = tf.saved_model.load(sys.argv[1])
answers = {}
for signature, inputs in request.items():
    specs = model.signatures[signature].structured_input_signature[1]
    tensors = {k: tf.constant(v, specs[k].dtype) for k, v in inputs.items()}
    answer = model.signatures[signature](**tensors)
    answers[signature] = {k: v.numpy().tolist() for k, v in answer.items()}
json.dump(answers, sys.stdout, default=bytes.decode)
"""


def ask_plain_tensorflow(path: Path, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the answers of an export's signatures in a process that has only TensorFlow.

    Args:
        path: of the version.
        request: inputs by name, of each signature.
        folder: in which the process runs.
    """
    run = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN_TENSORFLOW, str(path)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)
    assert set(answers) == set(request)
    return answers


def find_failures(
    path: Path,
    rules: Sequence[Rule] | None = None,
    run_dir: Path | None = None,
    ranker_run_dir: Path | None = None,
) -> dict[str, str]:
    """Returns rule -> what is wrong, of the rules (None: all of its program) that fail."""
    export = Export(path, run_dir, ranker_run_dir)
    results = run_rules(export, check.choose_rules(export) if rules is None else rules)
    return {result.rule: result.detail for result in results if result.failed}


def call_program(monkeypatch, capsys, program: ModuleType, *arguments: str | Path) -> tuple:
    """Returns the exit code of `tfrec-export` or `tfrec-check`, and what was printed."""
    monkeypatch.setattr("sys.argv", ["tfrec", *map(str, arguments)])
    code = 0
    try:
        program.main()
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr()
