import json

import click_models
import numpy as np
import pytest
import tensorflow as tf
from click_models import SPEC, Encoder, make_restored
from export_programs import ask_plain_tensorflow

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.export import version_content
from tfrec_zoo.export.saved_model import export_dlrm, export_run
from tfrec_zoo.export.warmup import read_warmup_requests
from tfrec_zoo.vocabulary import Vocabulary

SPLIT = {"qr_threshold": 5, "first_order": True, "weighted_pooling": True, "table_dims": ("C.1:2",)}


def find_files(path):
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}


def test_the_files_of_a_version(exported_dlrm, restored_dlrm):
    vocabularies = {f"assets/{name}.tsv" for name in click_models.VOCABULARIES}
    assets = {f"assets/{name}.json" for name in ("config", "features", "spec", "tables")}
    assert find_files(exported_dlrm) == vocabularies | assets | {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/tf_serving_warmup_requests",
    }
    models_config = (exported_dlrm.parent / "models.config").read_text()
    assert (exported_dlrm.name, 'name: "dlrm"' in models_config) == ("1", True)
    assets = exported_dlrm / "assets"
    assert ClickSchema.load(assets / "features.json") == restored_dlrm.schema
    assert json.loads((assets / "spec.json").read_text()) == SPEC
    for name, vocabulary in restored_dlrm.vocabularies.items():
        found = Vocabulary.load(assets / f"{name}.tsv")
        assert found.ids.tolist() == vocabulary.ids.tolist()
        assert found.counts.tolist() == vocabulary.counts.tolist()


def test_the_configuration_says_what_the_inputs_are(exported_dlrm):
    config = json.loads((exported_dlrm / "assets" / "config.json").read_text())
    assert (config["program"], config["model"]["embedding_dim"]) == ("dlrm", 4)
    assert config["export"]["inputs"] == {
        "dense": ["a", "b", "price"],
        "sparse": ["user", "tags", "device", "words", "genres", "first", "urls", "C.1"],
    }
    assert config["export"]["tensorflow"] == tf.__version__


def test_only_the_weights_are_stored(exported_dlrm, restored_dlrm):
    stored = dict(tf.train.list_variables(str(exported_dlrm / "variables" / "variables")))
    shapes = [shape for name, shape in stored.items() if "VARIABLE_VALUE" in name]
    assert sorted(shapes) == sorted(list(weight.shape) for weight in restored_dlrm.model.weights)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_nothing_warns_who_loads_it(precision, tmp_path, caplog):
    path = export_dlrm(make_restored(("user", "age"), precision=precision), tmp_path)
    caplog.clear()
    tf.saved_model.load(str(path))
    assert caplog.messages == []


@pytest.mark.parametrize("network", [{}, SPLIT])
def test_tables_are_found_by_the_features_names(network, tmp_path):
    restored = make_restored(**network)
    path = export_dlrm(restored, tmp_path)
    places = json.loads((path / "assets" / "tables.json").read_text())
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))

    def read(name, row):
        place = places[name]
        row = row // place.get("divisor", 1) % place.get("modulus", 2**31 - 1)
        assert 0 <= row < place["rows"]
        return place, reader.get_tensor(place["variable"])[place["first_row"] + row]

    for index, feature in enumerate(restored.schema.categorical):
        for row in range(feature.num_rows):
            rows = np.zeros((1, restored.schema.num_slots), np.int32)
            slots = restored.schema.slot_offsets
            weights = np.zeros(rows.shape, np.float32)
            rows[0, slots[index]], weights[0, slots[index]] = row, 1
            pooled = restored.model.tables(rows, tf.constant(weights))
            names = [name for name in places if name.split(".quot")[0] == feature.name]
            names += [f"{feature.name}.remainder"] * (f"{feature.name}.remainder" in places)
            found = [read(name, row) for name in names]
            vector = np.prod([values[: place["width"]] for place, values in found], axis=0)
            for place, values in found:
                vector = vector * values[place["factor"]] if "factor" in place else vector
            if matrix := found[0][0].get("projection"):
                vector = vector @ reader.get_tensor(matrix["variable"])[matrix["index"]]
            np.testing.assert_allclose(pooled.vectors[0, index], vector, rtol=1e-5, atol=1e-6)
            if network:
                own = sum(values[place["first_order"]] for place, values in found)
                assert float(pooled.first_order[0]) == pytest.approx(own, rel=1e-5)


def test_warm_up_asks_for_frequent_values(exported_dlrm):
    requests = read_warmup_requests(exported_dlrm)
    assert {request.signature for request in requests} == {
        "serving_default",
        "predict",
        "predict_text",
        "predict_rows",
    }
    small, large = (r.inputs for r in requests if r.signature == "predict")
    assert (len(small["sparse"]), len(large["sparse"])) == (1, 8)
    values = [value.decode() for value in small["sparse"][0]]
    assert values == ["u3", "red", "1", "on", "Drama", "x", "1", "v1"]
    assert np.isfinite(small["dense"]).all() and np.isnan(large["dense"][-1]).all()


def test_it_answers_like_python_where_there_is_only_tensorflow(
    exported_dlrm, restored_dlrm, tmp_path
):
    encoder = Encoder(restored_dlrm)
    examples = encoder.draw(40, seed=3)
    expected = encoder.score(examples)
    inputs = encoder.to_inputs(examples)
    dense, rows, weights = encoder.encode(examples)
    texts = np.where(np.isnan(inputs["dense"]), "", inputs["dense"].astype(str))
    sparse = {"sparse": inputs["sparse"].tolist()}
    predict = {"dense": inputs["dense"].tolist(), **sparse}
    request = {
        "serving_default": predict,
        "predict": predict,
        "predict_text": {"dense_text": texts.tolist(), **sparse},
        "predict_rows": {
            "dense_values": dense.tolist(),
            "rows": rows.tolist(),
            "row_weights": weights.tolist(),
        },
    }
    answers = ask_plain_tensorflow(exported_dlrm, request, tmp_path)
    for signature, answer in answers.items():
        (found,) = answer.values()
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=signature)


def test_two_exports_keep_their_own_vocabularies(exported_dlrm, tmp_path):
    other = make_restored()
    reversed_ids = other.vocabularies["user"].ids[::-1]
    vocabulary = Vocabulary(reversed_ids, other.vocabularies["user"].counts)
    vocabularies = {**other.vocabularies, "user": vocabulary}
    path = export_dlrm(
        type(other)(other.model, other.schema, vocabularies, other.experiment), tmp_path
    )
    first, second = (tf.saved_model.load(str(p)) for p in (exported_dlrm, path))
    encoder = Encoder(other)

    def ask(model, user):
        inputs = encoder.to_inputs([{"user": user}])
        answer = model.signatures["predict"](**{k: tf.constant(v) for k, v in inputs.items()})
        return answer["click_probability"].numpy()

    assert ask(first, "u3") == ask(second, "NA") != ask(first, "NA")
    assert not (path / "assets" / "spec.json").exists()


def test_a_model_without_vocabularies(tmp_path):
    restored = make_restored(("price", "device"), dense=())
    path = export_dlrm(restored, tmp_path)
    encoder = Encoder(restored)
    examples = encoder.draw(10)
    served = tf.saved_model.load(str(path)).signatures["predict"]
    inputs = {name: tf.constant(value) for name, value in encoder.to_inputs(examples).items()}
    np.testing.assert_allclose(
        served(**inputs)["click_probability"], encoder.score(examples), rtol=1e-5
    )


def test_a_failed_export_leaves_no_version(restored_dlrm, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(version_content, "write_warmup_requests", fail)
    with pytest.raises(OSError, match="No space"):
        export_run(restored_dlrm, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert export_run(restored_dlrm, tmp_path).name == "1"
    with pytest.raises(ValueError, match="1 exists"):
        export_run(restored_dlrm, tmp_path, version=1)
    with pytest.raises(ValueError, match="k=5 belongs to GRU4Rec"):
        export_run(restored_dlrm, tmp_path, k=5)
