import json
import shutil

import numpy as np
import pytest
import row_oracle
import tensorflow as tf
from news_models import SPEC, NewsOracle, make_catalogue, make_restored, write_run

from tfrec_zoo.export.conformance import Export, run_rules
from tfrec_zoo.export.restore import load_export, restore_ssr
from tfrec_zoo.export.saved_model import export_ssr
from tfrec_zoo.export.ssr_rules import SSR_RULES

NOW, K = 96_000.0, 7
FEW = {
    "id": "NewsId",
    "time": SPEC["time"],
    "categorical": ["Category"],
    "vectors": SPEC["vectors"],
}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A run of few features, with ages."""
    path = tmp_path_factory.mktemp("items")
    restored = make_restored(make_catalogue(path, FEW), age_buckets=5, age_unit=500.0)
    return write_run(path / "run", restored)


@pytest.fixture(scope="module", params=["float16", "int8"])
def versions(request, small_run, tmp_path_factory):
    """A format, and a folder of versions with an export in it."""
    path = tmp_path_factory.mktemp("served")
    export_ssr(restore_ssr(small_run), path, K, now=NOW, tables=request.param)
    return request.param, path


def read_about(version):
    return json.loads((version / "assets" / "config.json").read_text())["export"]


def read_variables(version):
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name]
    return {name: reader.get_tensor(name) for name in names}


def test_answers_are_those_of_rounded_features_items_and_vectors(small_run, versions):
    table_format, path = versions
    restored = restore_ssr(small_run)
    for table in restored.model.tables.tables:
        table.variable.assign(row_oracle.round_rows(table.variable, table_format))
    oracle = NewsOracle(restored, NOW)
    inputs = row_oracle.round_rows(oracle.inputs.numpy(), table_format)
    oracle.inputs = tf.constant(inputs, tf.float32)
    vectors = row_oracle.round_rows(oracle.vectors, table_format)
    assert np.abs(vectors - oracle.vectors).max() > 1e-5
    oracle.vectors = vectors

    signature = tf.saved_model.load(str(path / "1")).signatures["recommend"]
    for session in (["N3", "N4", "N5"], ["N9"], [""]):
        answer = signature(session_items=tf.constant([session]))
        items, scores = oracle.answer(session, K)
        np.testing.assert_allclose(answer["scores"][0], scores, rtol=1e-4)
        assert [item.decode() for item in answer["items"][0].numpy()] == items


def test_the_export_passes_the_check(small_run, versions):
    table_format, path = versions
    # By its own weights, or by the run's, which the check then rounds.
    run_dir = small_run.path if table_format == "int8" else None
    results = run_rules(Export(path / "1", run_dir), SSR_RULES)
    assert [result for result in results if result.failed] == []


def test_items_that_are_not_the_models_are_noticed(versions):
    _, path = versions
    export = Export(path / "1")
    kernel = export.restored.model.item_layer.kernel
    kernel.assign(kernel * 1.1)
    (result,) = run_rules(export, [r for r in SSR_RULES if r.name == "python_answers"])
    assert "rows are not those that the model has" in result.detail


def test_a_refresh_keeps_the_format_and_every_weight(versions, tmp_path, run_index):
    table_format, path = versions
    served = shutil.copytree(path, tmp_path / "served")
    code, _, _ = run_index(f"--export_dir={served}", "--remove_id=N3")
    assert code == 0
    before, after = read_variables(served / "1"), read_variables(served / "2")
    assert set(before) == set(after)
    for name, values in before.items():
        assert values.dtype == after[name].dtype
        if name.startswith("weights/"):
            np.testing.assert_array_equal(values, after[name])
    # The items that remain have the vectors that they had.
    first = int(np.flatnonzero(load_export(served / "1").catalogue.ids == "N3")[0])
    name = next(
        name
        for name in before
        if name.startswith("search/c") and before[name].dtype == table_format
    )
    np.testing.assert_array_equal(np.delete(before[name], first, axis=1), after[name])
    about = read_about(served / "2")
    assert about["tables"] == table_format
    assert about["table_loss"] == read_about(served / "1")["table_loss"]


def test_a_refresh_from_the_run_is_stored_as_it_says(small_run, tmp_path, run_index):
    flags = [f"--run_dir={small_run.path}", f"--export_dir={tmp_path / 'served'}", "--now=96000"]
    assert run_index(*flags, "--tables=int8")[0] == 0
    about = read_about(tmp_path / "served" / "1")
    assert (about["tables"], about["table_loss"]["num_requests"]) == ("int8", 500)
    assert run_index(f"--run_dir={small_run.path}", "--tables=int8", "--vectors_to=x")[0] == 2
