"""The served graph against the encoding of raw logs, on rows of real ones."""

import gzip
import itertools

import click_models
import numpy as np
import pytest
import table_oracle
import tensorflow as tf

from tfrec_zoo.data.clicks.click_encoding import encode_blocks
from tfrec_zoo.data.clicks.click_preparation import prepare_clicks
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.prepared_clicks import PreparedClicks
from tfrec_zoo.data.tables.table_files import read_table_blocks
from tfrec_zoo.data.tables.table_spec import TableSpec, load_table_spec
from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.export.restore import RestoredDLRM
from tfrec_zoo.export.saved_model import export_dlrm
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.dlrm_config import DLRMConfig

NUM_TRAIN, NUM_TEST = 3000, 500


@pytest.fixture(scope="module")
def criteo(shared_data, tmp_path_factory):
    """The raw lines of training and test rows, in a file each."""
    folder = tmp_path_factory.mktemp("criteo")
    with gzip.open(shared_data / "clicks" / "criteo_60k.txt.gz", "rt") as file:
        lines = list(itertools.islice(file, NUM_TRAIN + NUM_TEST))
    (folder / "train.txt").write_text("".join(lines[:NUM_TRAIN]))
    (folder / "test.txt").write_text("".join(lines[NUM_TRAIN:]))
    return folder


def prepare(train, spec, folder, **options) -> RestoredDLRM:
    """Returns an untrained model over the features of a log, whose tables tell rows apart."""
    prepare_clicks([train], spec, ClickPreparationConfig(**options), folder)
    prepared = PreparedClicks(folder)
    experiment = DLRMExperiment(model=DLRMConfig(**click_models.NETWORK, table_init_scale=0.5))
    model = DLRM(experiment.model, prepared.schema)
    return RestoredDLRM(model, prepared.schema, prepared.vocabularies(), experiment)


def score(restored, path, spec) -> np.ndarray:
    """Returns the Python model's probabilities of a raw log."""
    logits = [
        restored.model(rows.dense, rows.rows, rows.row_weights).numpy()
        for rows in encode_blocks(
            read_table_blocks([path], spec), restored.schema, restored.vocabularies
        )
    ]
    return 1 / (1 + np.exp(-np.concatenate(logits).astype(np.float64)))


@pytest.mark.parametrize("options", [{}, {"max_rows": 100}])
def test_lines_of_criteo(criteo, options, tmp_path):
    spec = load_table_spec("criteo")
    restored = prepare(criteo / "train.txt", spec, tmp_path / "data", **options)
    kinds = {feature.kind for feature in restored.schema.categorical}
    assert kinds == ({"vocabulary", "hash"} if options else {"vocabulary"})
    expected = score(restored, criteo / "test.txt", spec)
    assert np.ptp(expected) > 0.01
    lines = (criteo / "test.txt").read_text().splitlines()
    fields = np.array([line.split("\t") for line in lines], dtype=object)
    served = tf.saved_model.load(str(export_dlrm(restored, tmp_path / "served")))
    answer = served.signatures["predict_text"](
        dense_text=tf.constant(fields[:, 1:14]), sparse=tf.constant(fields[:, 14:])
    )
    np.testing.assert_allclose(answer["click_probability"], expected, rtol=1e-5)
    dense = np.array([[float(x or "nan") for x in line] for line in fields[:, 1:14]], np.float32)
    answer = served.signatures["predict"](
        dense=tf.constant(dense), sparse=tf.constant(fields[:, 14:])
    )
    np.testing.assert_allclose(answer["click_probability"], expected, rtol=1e-5)


def test_several_genres_of_movielens(shared_data, tmp_path):
    ratings = shared_data / "ratings"
    spec = load_table_spec("movielens")
    side = {**spec.to_dict()["join"][0], "file": str(next(ratings.glob("**/u.item*")))}
    spec = TableSpec.from_dict({**spec.to_dict(), "join": [side]})
    with gzip.open(next(ratings.glob("**/u.data*")), "rt") as file:
        lines = list(itertools.islice(file, NUM_TRAIN + NUM_TEST))
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    train.write_text("".join(lines[:NUM_TRAIN]))
    test.write_text("".join(lines[NUM_TRAIN:]))
    restored = prepare(train, spec, tmp_path / "data")
    expected = score(restored, test, spec)
    table = table_oracle.read([test], spec)
    assert max(map(len, table["genres"])) > 2
    genres = ["|".join(values) for values in table["genres"]]
    sparse = np.array([table["user"], table["film"], genres], dtype=object).T
    served = tf.saved_model.load(str(export_dlrm(restored, tmp_path / "served")))
    answer = served.signatures["predict"](sparse=tf.constant(sparse))
    np.testing.assert_allclose(answer["click_probability"], expected, rtol=1e-5)
