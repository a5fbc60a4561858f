"""DLRM on planted clicks, whose best possible AUC and log loss are known."""

import pytest

from tfrec_zoo.data.clicks.planted_clicks import PlantedClicksConfig, PlantedClickWorld
from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.run_folder import open_run_folder
from tfrec_zoo.trainers.click_evaluation import evaluate_clicks
from tfrec_zoo.trainers.dlrm_task import DLRMTask
from tfrec_zoo.trainers.engine import Trainer

NUM_TRAIN, NUM_TEST, BATCH, EPOCHS = 400_000, 50_000, 512, 3
EXPERIMENT = DLRMExperiment.from_dict(
    {
        "model": {"embedding_dim": 16, "bottom_mlp": [64, 16], "top_mlp": [64, 1]},
        "batches": {"batch_size": BATCH},
        "optimizer": {
            "optimizer": "adam",
            "learning_rate": 0.01,
            "decay": "linear",
            "decay_steps": -(-NUM_TRAIN // BATCH) * EPOCHS,
        },
        "training": {"epochs": EPOCHS},
    }
)


def test_auc_and_log_loss_come_within_one_percent_of_the_best_possible(tmp_path):
    world = PlantedClickWorld(PlantedClicksConfig())
    test = world.sample(NUM_TEST, seed=12)
    task = DLRMTask(EXPERIMENT, world.schema, world.sample(NUM_TRAIN, seed=11))
    with open_run_folder(tmp_path / "run", EXPERIMENT) as folder:
        Trainer(task, EXPERIMENT.training, folder).run()
    reached, best = evaluate_clicks(task.scorer, test), world.best_possible(test)
    assert reached["auc"] == pytest.approx(best["realised_auc"], rel=0.01)
    assert reached["log_loss"] == pytest.approx(best["realised_log_loss"], rel=0.01)
    # What is best is far from what is had for nothing.
    assert reached["normalized_entropy"] < 0.85
