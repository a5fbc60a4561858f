import json

import numpy as np
import pytest
import row_oracle
import tensorflow as tf
from click_models import DENSE, Encoder, make_restored, write_run

from tfrec_zoo.export.conformance import Export, run_rules
from tfrec_zoo.export.dlrm_rules import DLRM_RULES
from tfrec_zoo.export.restore import load_export, restore_dlrm
from tfrec_zoo.export.saved_model import export_dlrm

FEATURES = ("user", "tags", "age", "device", "first", "C.1")
# Rows with numbers of their own; tables of several widths, two of them split.
NETWORKS = {
    "int8": {"first_order": True, "weighted_pooling": True},
    "float16": {"table_dims": ("first:2", "device:1"), "qr_threshold": 5, "qr_collisions": 2},
}


@pytest.fixture(scope="module", params=NETWORKS)
def quantized(request, tmp_path_factory):
    """A format, an export in it, and the run that it is of."""
    restored = make_restored(FEATURES, DENSE[:2], **NETWORKS[request.param])
    folder = write_run(tmp_path_factory.mktemp("run") / "run", restored)
    served = tmp_path_factory.mktemp("served")
    return request.param, export_dlrm(restore_dlrm(folder), served, tables=request.param), folder


def round_tables(model, table_format):
    """Sets the tables of a model to the rounded ones, by the formula."""
    num_exact = model.config.first_order + model.config.weighted_pooling
    for table in model.tables.tables:
        rows = table.variable.numpy()
        if rows.shape[1] - num_exact > 1:
            table.variable.assign(row_oracle.round_rows(rows, table_format, num_exact))


def test_answers_are_those_of_the_rounded_tables(quantized):
    table_format, path, folder = quantized
    restored = restore_dlrm(folder)
    round_tables(restored.model, table_format)
    encoder = Encoder(restored)
    examples = encoder.draw(40)
    signature = tf.saved_model.load(str(path)).signatures["predict"]
    inputs = {name: tf.constant(value) for name, value in encoder.to_inputs(examples).items()}
    found = signature(**inputs)["click_probability"]
    np.testing.assert_allclose(found, encoder.score(examples), rtol=1e-4)
    for weight, expected in zip(
        load_export(path).model.weights, restored.model.weights, strict=True
    ):
        np.testing.assert_array_equal(weight, expected)


def test_the_export_passes_the_check(quantized):
    table_format, path, folder = quantized
    # By its own weights, or by the run's, which the check then rounds.
    run_dir = folder.path if table_format == "int8" else None
    results = run_rules(Export(path, run_dir), DLRM_RULES)
    assert [result for result in results if result.failed] == []


def test_tables_json_says_what_is_where(quantized):
    table_format, path, _ = quantized
    places = json.loads((path / "assets" / "tables.json").read_text())
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    place = places["user" if table_format == "int8" else "user.quotient"]
    values = reader.get_tensor(place["variable"])
    assert values.dtype == table_format
    is_int8 = table_format == "int8"
    assert ("scales" in place, "exact" in place) == (is_int8, is_int8)
    if is_int8:
        assert reader.get_tensor(place["exact"]).shape == (len(values), 2)
        assert (place["first_order"], place["factor"]) == (place["width"], place["width"] + 1)
    else:
        # Of a single number a row, which would not shrink.
        assert reader.get_tensor(places["device"]["variable"]).dtype == np.float32


def test_without_data_the_loss_is_that_of_random_examples(quantized):
    table_format, path, _ = quantized
    about = json.loads((path / "assets" / "config.json").read_text())["export"]
    loss = about["table_loss"]
    assert (about["tables"], loss["num_requests"]) == (table_format, 64)
    assert 0 < loss["mean_probability_error"] < loss["largest_probability_error"] < 0.05
    assert "float32" not in loss
