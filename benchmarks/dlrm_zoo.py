"""Worker: the zoo's DLRM, trained as `tfrec-dlrm` does: blocks of steps in one compiled loop.

Its clock also runs for making blocks, in which the distinct rows of each step are found: an epoch
makes as many as it trains on, the last ones of which are those of the next.
"""

import os
import time

import numpy as np
from dlrm_settings import BOTTOM_MLP, EMBEDDING_DIM, TOP_MLP, ClickData, Settings
from dlrm_worker import run_side

from tfrec_zoo.data.block_dataset import BlockFeed
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.freed_memory import keep_freed_memory
from tfrec_zoo.quiet_start import quieten_tensorflow


class ZooSide:
    """The zoo's model and its optimizer."""

    def __init__(self, settings: Settings, data: ClickData) -> None:
        """Makes the model and its batches."""
        quieten_tensorflow()
        keep_freed_memory()
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(settings.threads)
        from tfrec_zoo.trainers.batch_shards import choose_num_shards, leave_threads_to_shards
        from tfrec_zoo.trainers.dlrm_task import DLRMTask
        from tfrec_zoo.trainers.drivers.block_runner import make_block_runner

        self._data = data
        experiment = DLRMExperiment.from_dict(
            {
                "model": {
                    "embedding_dim": EMBEDDING_DIM,
                    "bottom_mlp": BOTTOM_MLP,
                    "top_mlp": TOP_MLP,
                    "precision": settings.precision,
                },
                "batches": {"batch_size": settings.batch_size, "shuffle": False},
                "optimizer": {
                    "optimizer": settings.optimizer,
                    "learning_rate": settings.learning_rate,
                },
                "training": {"seed": settings.seed},
            }
        )
        schema = ClickSchema(
            dense=[DenseFeature(f"I{n}", f"I{n}") for n in range(data.dense.shape[1])],
            categorical=[
                CategoricalFeature(f"C{n}", f"C{n}", int(size))
                for n, size in enumerate(data.table_sizes)
            ],
        )
        leave_threads_to_shards(choose_num_shards(experiment))
        self._task = DLRMTask(experiment, schema, self._examples(slice(0, data.num_train)))
        # As if there was always another epoch.
        self._feed = BlockFeed(self._task.blocks, settings.epochs + 1)
        self._epoch = 0
        self._run_block = make_block_runner(self._task.step, self._task.prefers_xla)

    def _examples(self, rows: slice) -> ClickRows:
        return ClickRows(self._data.labels[rows], self._data.dense[rows], self._data.ids[rows])

    def train_epoch(self) -> float:
        """Trains once over the training rows and returns the seconds."""
        start = time.perf_counter()
        for block in self._feed(self._epoch):
            losses, _, _ = self._run_block(block, ())
        losses.numpy()
        self._epoch += 1
        return time.perf_counter() - start

    def make_batch(self, rows: slice) -> ClickRows:
        """Returns the features of `rows`."""
        return self._examples(rows)

    def predict(self, batch: ClickRows) -> np.ndarray:
        """Returns click probabilities."""
        logits = self._task.scorer(batch)
        return 1.0 / (1.0 + np.exp(-logits))


if __name__ == "__main__":
    run_side(ZooSide)
