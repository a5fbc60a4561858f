"""What every driver leaves behind, against one device: weights, slots, metrics, exports."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from strategy_runs import NUM_STEPS

from tfrec_zoo.run_folder import RunFolder

MODELS = ("gru4rec", "dlrm", "ssr")
# Sums over two parts of a batch are rounded otherwise than those over the whole.
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


@pytest.fixture(scope="module")
def runs(repository, tmp_path_factory) -> Path:
    """The folder that `strategy_runs.py` has filled."""
    folder = tmp_path_factory.mktemp("strategies")
    # In-process servers wait for each other in threads of one pool.
    environment = os.environ | {"TF_NUM_INTEROP_THREADS": "16"}
    command = [sys.executable, str(repository / "tests" / "strategy_runs.py"), str(folder)]
    done = subprocess.run(
        command, env=environment, timeout=600, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def load(runs: Path, model: str, driver: str) -> dict[str, np.ndarray]:
    """Returns weights, slots and states of the last checkpoint."""
    return tiny_runs.load_checkpoint(runs / model / driver / "run")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("driver", ["mirrored", "on_host", "one_worker"])
def test_weights_slots_and_states_are_those_of_one_device(runs, model, driver):
    expected, found = load(runs, model, "default"), load(runs, model, driver)
    assert found.keys() == expected.keys()
    for name in expected.keys() - {tiny_runs.STATE}:
        np.testing.assert_allclose(found[name], expected[name], **TOLERANCE, err_msg=name)
    assert any("slots" in name for name in expected)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("driver", ["mirrored", "on_host", "one_worker"])
def test_metrics_and_counts_are_those_of_one_device(runs, model, driver):
    expected, found = (
        RunFolder(runs / model / name / "run").load_metrics() for name in ("default", driver)
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float) and not name.endswith(("_per_second", "_seconds")):
            assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    assert found["steps"] == expected["steps"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("driver", ["own", "two_workers"])
def test_streams_learn_on_their_own_examples(runs, model, driver):
    start, found = load(runs, model, "default"), load(runs, model, driver)
    others = [name for name in found if name != tiny_runs.STATE and name.startswith("model/")]
    assert any(not np.allclose(found[name], start[name]) for name in others)
    metrics = RunFolder(runs / model / driver / "run").load_metrics()
    one = RunFolder(runs / model / "default" / "run").load_metrics()
    assert metrics["steps"] >= NUM_STEPS - 1
    assert abs(metrics["loss"] / one["loss"] - 1) < 0.5


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("driver", ["mirrored", "on_host", "own", "one_worker", "two_workers"])
def test_an_export_holds_the_weights_of_the_checkpoint(runs, model, driver):
    """The table of an export, bit by bit that of the checkpoint, whoever trained it."""
    last = load(runs, model, driver)
    reader = tf.train.load_checkpoint(
        str(runs / model / driver / "export" / "1" / "variables" / "variables")
    )
    shapes = reader.get_variable_to_shape_map()
    exported = [reader.get_tensor(name) for name in shapes if "OBJECT_GRAPH" not in name]
    names = [name for name in last if name.startswith("model/") and last[name].ndim == 2]
    whole = [name for name in names if "tables" not in name]
    assert whole
    for name in whole:
        assert any(np.array_equal(last[name], value) for value in exported), name
