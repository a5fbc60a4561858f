"""What the serving benchmark asks where no exports are given: planted models and the peers.

    python serving_models.py FOLDER ITEMS HIDDEN CLICKS [CLICKS ...] [--peers_only]

writes beneath FOLDER `gru4rec/<format>` and `dlrm/<format>`, exports with random weights, and
SavedModels of the peers: `keras_gru/1`, `tf_keras.layers.GRU` with a dense layer of scores as
`tf.saved_model.save` writes it, beside `keras_gru/recommend_rows.onnx`, the same by tf2onnx, and
`tfrs_brute_force/1`, the retrieval of TensorFlow Recommenders with the same network as the query
model. Files of LiteRT have fixed shapes, one for each number of clicks: `gru4rec/tflite_<clicks>`.
A format whose package is missing is left out.
"""

import os
import sys
from pathlib import Path

# TensorFlow Recommenders is made for Keras 2.
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tf_keras

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.experiments import DLRMExperiment, GRU4RecExperiment
from tfrec_zoo.export.other_formats import FORMATS, export_format
from tfrec_zoo.export.restored import AnyRestored, RestoredDLRM, RestoredGRU4Rec
from tfrec_zoo.export.saved_model import export_run
from tfrec_zoo.losses.ranking_config import RankingLossConfig
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.dlrm_config import DLRMConfig
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig
from tfrec_zoo.vocabulary import Vocabulary

K = 20
# The shape of Criteo's log, and of the networks that papers report on it.
NUM_DENSE, NUM_SPARSE, VALUES_OF_A_FEATURE = 13, 26, 2000
DLRM_NETWORK = {"embedding_dim": 16, "bottom_mlp": (512, 256, 64, 16), "top_mlp": (512, 256, 1)}


def make_gru4rec(num_items: int, hidden: int) -> RestoredGRU4Rec:
    """Returns a GRU4Rec of one layer."""
    rng = np.random.default_rng(1)
    ids = [str(214_500_000 + item) for item in range(num_items)]
    vocabulary = Vocabulary.build(ids, rng.integers(1, 9, num_items))
    experiment = GRU4RecExperiment(
        model=GRU4RecConfig(hidden_dims=(hidden,)), loss=RankingLossConfig(loss="cross_entropy")
    )
    return RestoredGRU4Rec(GRU4Rec(experiment.model, vocabulary.num_rows), vocabulary, experiment)


def make_dlrm() -> RestoredDLRM:
    """Returns a DLRM over numbers and texts of many values."""
    dense = tuple(DenseFeature(f"I{i}", f"I{i}", "log") for i in range(NUM_DENSE))
    names = [f"C{i}" for i in range(NUM_SPARSE)]
    categorical = tuple(
        CategoricalFeature(name=name, column=name, num_rows=VALUES_OF_A_FEATURE + 1)
        for name in names
    )
    values = [f"{value:08x}" for value in range(VALUES_OF_A_FEATURE)]
    counts = np.arange(VALUES_OF_A_FEATURE, 0, -1)
    schema = ClickSchema(dense, categorical)
    experiment = DLRMExperiment(model=DLRMConfig(**DLRM_NETWORK))
    vocabularies = {name: Vocabulary(values, counts) for name in names}
    return RestoredDLRM(DLRM(experiment.model, schema), schema, vocabularies, experiment)


def export_all(restored: AnyRestored, folder: Path, clicks: list[int]) -> None:
    """Writes a model in every format that can be written here."""
    export_run(restored, folder / "saved_model")
    for name, chosen in FORMATS.items():
        lengths = clicks if chosen.has_fixed_shapes and clicks else [None]
        for length in lengths:
            path = folder / (name if length is None else f"{name}_{length}")
            try:
                export_format(restored, path, name, session_length=length)
            except ValueError as error:
                print(f"{path.name} is left out: {error}", file=sys.stderr)


def make_network(num_rows: int, hidden: int) -> tf_keras.Sequential:
    """Returns the vectors of sessions of rows, as Keras' users write it; 0 is padding."""
    return tf_keras.Sequential(
        [
            tf_keras.layers.Embedding(num_rows, hidden, mask_zero=True),
            tf_keras.layers.GRU(hidden),
        ]
    )


def export_keras(folder: Path, num_items: int, hidden: int) -> None:
    """Writes the plain Keras model, as a SavedModel and for ONNX Runtime."""
    rows = tf_keras.Input([None], dtype=tf.int32)
    vectors = make_network(num_items + 1, hidden)(rows)
    model = tf_keras.Model(rows, tf_keras.layers.Dense(num_items + 1)(vectors))

    inputs = [tf.TensorSpec([None, None], tf.int32, "session_rows")]

    @tf.function(input_signature=inputs)
    def recommend_rows(session_rows: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, best = tf.math.top_k(model(session_rows), K)
        return {"rows": best, "scores": scores}

    tf.saved_model.save(model, str(folder / "1"), signatures={"recommend_rows": recommend_rows})
    try:
        import tf2onnx
    except ImportError as error:
        print(f"keras_gru for ONNX Runtime is left out: {error}", file=sys.stderr)
        return
    path = str(folder / "recommend_rows.onnx")
    tf2onnx.convert.from_function(recommend_rows, inputs, output_path=path)


def export_tfrs(folder: Path, restored: RestoredGRU4Rec, hidden: int) -> None:
    """Writes the retrieval of TensorFlow Recommenders, from texts to texts."""
    import tensorflow_recommenders as tfrs

    ids = list(restored.vocabulary.ids)
    look_up = tf_keras.layers.StringLookup(vocabulary=ids, mask_token="")
    query = tf_keras.Sequential([look_up, make_network(len(ids) + 2, hidden)])
    index = tfrs.layers.factorized_top_k.BruteForce(query, k=K)
    vectors = np.random.default_rng(1).normal(0, 0.1, (len(ids), hidden)).astype(np.float32)
    index.index(tf.constant(vectors), tf.constant(ids))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, "session_items")])
    def recommend(session_items: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, items = index(session_items)
        return {"items": items, "scores": scores}

    recommend.get_concrete_function()
    tf.saved_model.save(index, str(folder / "1"), signatures={"recommend": recommend})


def main() -> None:
    """Writes all models."""
    folder, *arguments = sys.argv[1:]
    folder, is_for_peers = Path(folder), arguments[-1] == "--peers_only"
    num_items, hidden, *clicks = map(int, arguments[:-1] if is_for_peers else arguments)
    gru4rec = make_gru4rec(num_items, hidden)
    export_keras(folder / "keras_gru", num_items, hidden)
    try:
        export_tfrs(folder / "tfrs_brute_force", gru4rec, hidden)
    except ImportError as error:
        print(f"tfrs_brute_force is left out: {error}", file=sys.stderr)
    if not is_for_peers:
        export_all(gru4rec, folder / "gru4rec", clicks)
        export_all(make_dlrm(), folder / "dlrm", [])


if __name__ == "__main__":
    main()
