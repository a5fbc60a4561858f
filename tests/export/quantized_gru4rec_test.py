import json

import numpy as np
import pytest
import row_oracle
import tensorflow as tf

from tfrec_zoo.export.conformance import Export, run_rules
from tfrec_zoo.export.gru4rec_rules import GRU4REC_RULES
from tfrec_zoo.export.quantized_models import QuantizedGRU4Rec
from tfrec_zoo.export.restore import load_export
from tfrec_zoo.export.saved_model import export_gru4rec
from tfrec_zoo.export.serving_rules import SERVING_RULES
from tfrec_zoo.models.gru4rec import GRU4Rec

K = 10
# Inputs from the scored table and its biases; from a table of their own, into two layers.
NETWORKS = {
    "int8": {"hidden_dims": (16,)},
    "float16": {
        "hidden_dims": (5, 7),
        "tie_embeddings": False,
        "embedding_dim": 4,
        "score_activation": "elu",
    },
}


@pytest.fixture(scope="module", params=NETWORKS)
def quantized(request, make_restored, make_oracle, tmp_path_factory):
    """A format, an export in it, the oracle with rounded tables, and the model."""
    restored = make_restored(num_items=900, **NETWORKS[request.param])
    path = export_gru4rec(restored, tmp_path_factory.mktemp("served"), K, tables=request.param)
    oracle = make_oracle(restored)
    for name, num_exact in (("item_table", 1), ("input_table", 0)):
        if name in oracle.weights:
            rows = oracle.weights[name].astype(np.float32)
            oracle.weights[name] = row_oracle.round_rows(rows, request.param, num_exact)
    return request.param, path, oracle, restored


def test_answers_are_those_of_the_rounded_tables(quantized):
    _, path, oracle, _ = quantized
    signatures = tf.saved_model.load(str(path)).signatures
    sessions = [["item-0", "item-7"], [oracle.ids[-1], ""], ["item-14"] * 2]
    answer = signatures["recommend"](session_items=tf.constant(sessions))
    for session, items, scores in zip(sessions, answer["items"], answer["scores"], strict=True):
        expected_items, expected = oracle.answer(oracle.play(session), K)
        np.testing.assert_allclose(scores, expected, rtol=1e-4)
        assert [item.decode() for item in items.numpy()] == expected_items
    states = {f"state_{i}": tf.zeros([1, h]) for i, h in enumerate(oracle.config.hidden_dims)}
    answer = signatures["step"](item=tf.constant(["item-21"]), **states)
    expected = oracle.play(["item-21"])
    np.testing.assert_allclose(answer["next_state_0"][0], expected[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(answer["scores"][0], oracle.answer(expected, K)[1], rtol=1e-4)


def test_the_tables_take_as_many_bytes_as_their_format(quantized):
    table_format, path, _, restored = quantized
    num_rows = restored.vocabulary.num_rows
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    names = reader.get_variable_to_shape_map()
    found = {name: np.asarray(reader.get_tensor(name)) for name in names}
    tables = {
        name: values
        for name, values in found.items()
        if name.startswith("columns/") or (values.shape and values.shape[0] == num_rows)
    }
    numbers = [values for name, values in tables.items() if "/values/" in name]
    assert {values.dtype.name for values in numbers} == {table_format}
    # The item table is there twice, for lookups and as columns, which are filled up.
    item_width = restored.model.item_table.shape[1] - 1
    width = sum(w.shape[1] for w in restored.model.weights if w.shape[0] == num_rows) - 1
    size = sum(values.size for values in numbers)
    assert num_rows * (width + item_width) <= size < 1.1 * num_rows * (width + item_width)
    others = [v for n, v in tables.items() if "/values/" not in n and v.dtype == np.float32]
    # Biases and scales twice, and the popularity.
    assert sum(values.size for values in others) < 6 * num_rows


def test_python_has_the_rounded_tables_back(quantized):
    table_format, path, oracle, restored = quantized
    found = load_export(path)
    assert found.experiment == restored.experiment
    for weight in found.model.weights:
        expected = oracle.weights[weight.name.removesuffix(":0")]
        np.testing.assert_array_equal(weight.numpy(), expected.astype(np.float32))
    about = json.loads((path / "assets" / "config.json").read_text())["export"]
    assert about["tables"] == table_format
    assert about["table_loss"]["num_requests"] == 500
    assert about["table_loss"]["same_items@10"] > 0.9


def test_the_export_passes_the_check(quantized):
    _, path, _, _ = quantized
    results = run_rules(Export(path), SERVING_RULES + GRU4REC_RULES)
    assert [result for result in results if result.failed] == []


def test_another_table_than_the_exported_one_is_noticed(quantized, monkeypatch):
    _, path, _, _ = quantized
    export = Export(path)
    table = export.restored.model.item_table
    # Half a percent, about as much as int8 takes off: what counts are the numbers inside.
    table.assign(table * 1.005)
    (result,) = run_rules(export, [r for r in GRU4REC_RULES if r.name == "python_answers"])
    assert result.failed


def test_the_model_keeps_its_own_tables(quantized, make_restored):
    table_format, _, _, restored = quantized
    before = make_restored(num_items=900, **NETWORKS[table_format]).model
    for weight, other in zip(restored.model.weights, before.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_refusals(restored, tmp_path):
    with pytest.raises(ValueError, match="float32, float16, int8, got 'int4'"):
        export_gru4rec(restored, tmp_path, tables="int4")

    class Own(GRU4Rec):
        def input_vectors(self, item_rows):
            return 2.0 * super().input_vectors(item_rows)

    model = Own(restored.experiment.model, restored.vocabulary.num_rows)
    with pytest.raises(ValueError, match="Own has a input_vectors of its own.*float32"):
        QuantizedGRU4Rec(model, "int8")
    assert list(tmp_path.iterdir()) == []
