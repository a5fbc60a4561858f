"""Which Keras a process gets, by what it imports first; each case is a process of its own."""

import os
import subprocess
import sys


def run_python(code: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code], env=kept, capture_output=True, text=True, timeout=120
    )


def test_tensorflow_may_be_imported_first_and_keras_2_be_loaded():
    run = run_python(
        "import importlib\n"
        "import tensorflow as tf\n"
        "import tfrec_zoo\n"
        "import tensorflow_recommenders\n"
        "print(tf.keras.Model.__module__)\n"
        "importlib.reload(tfrec_zoo)\n"
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("tf_keras.")


def test_keras_3_in_its_place_is_one_clear_error():
    run = run_python("import tensorflow as tf; tf.keras.layers; import tfrec_zoo")
    last_line = run.stderr.splitlines()[-1]
    assert run.returncode == 1
    assert last_line.startswith("ImportError: tfrec_zoo needs Keras 2 (tf_keras)")
    assert "import tfrec_zoo before" in last_line and "TF_USE_LEGACY_KERAS=1" in last_line


def test_importing_the_package_does_not_import_tensorflow():
    run = run_python("import sys, tfrec_zoo; sys.exit('tensorflow' in sys.modules)")
    assert run.returncode == 0
