"""Trainings of all models by real processes, against the same on one device."""

import numpy as np
import pytest
import strategy_runs
import tiny_click_runs
import tiny_news_runs
import tiny_runs
from distributed_runs import start_run

MODELS = {
    "gru4rec": (tiny_runs, strategy_runs.list_session_flags),
    "dlrm": (tiny_click_runs, strategy_runs.list_click_flags),
    "ssr": (tiny_news_runs, strategy_runs.list_news_flags),
}
CLUSTERS = {"multi_worker": ["--workers=2"], "parameter_server": ["--workers=1", "--ps=2"]}


@pytest.mark.distributed
@pytest.mark.parametrize("strategy", CLUSTERS)
@pytest.mark.parametrize("model", MODELS)
def test_processes_learn_what_one_device_does(model, strategy, tmp_path):
    module, list_flags = MODELS[model]
    flags = [*list_flags(tmp_path), "--epochs=1", f"--max_steps={strategy_runs.NUM_STEPS}"]
    assert not module.run_trainer(*flags, f"--run_dir={tmp_path / 'one'}")
    command = [f"tfrec-{model}", *module.OPTIONS, *flags, "--min_shard_bytes=64"]
    command += [f"--run_dir={tmp_path / 'several'}"]
    with start_run([*CLUSTERS[strategy], "--max_restarts=0"], command) as job:
        assert job.wait() == 0, job.output
    expected, found = (tiny_runs.load_checkpoint(tmp_path / name) for name in ("one", "several"))
    assert found.keys() == expected.keys()
    for name in expected.keys() - {tiny_runs.STATE}:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=2e-5, err_msg=name)
