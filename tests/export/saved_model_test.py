import json

import numpy as np
import pytest
import tensorflow as tf
from export_programs import ask_plain_tensorflow

from tfrec_zoo.export import version_content
from tfrec_zoo.export.saved_model import export_gru4rec
from tfrec_zoo.vocabulary import Vocabulary


def test_the_files_of_a_version(exported, restored):
    names = {str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file()}
    assert names == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets/vocabulary.tsv",
        "assets/config.json",
        "assets.extra/tf_serving_warmup_requests",
    }
    assert (exported.name, (exported.parent / "models.config").is_file()) == ("1", True)
    vocabulary = Vocabulary.load(exported / "assets" / "vocabulary.tsv")
    assert vocabulary.ids.tolist() == restored.vocabulary.ids.tolist()
    assert vocabulary.counts.tolist() == restored.vocabulary.counts.tolist()
    config = json.loads((exported / "assets" / "config.json").read_text())
    assert (config["program"], config["model"]["hidden_dims"]) == ("gru4rec", [6])
    assert config["export"]["k"] == 10
    assert config["export"]["tensorflow"] == tf.__version__


def test_only_the_weights_and_four_tables_are_stored(exported, restored):
    stored = dict(tf.train.list_variables(str(exported / "variables" / "variables")))
    shapes = [shape for name, shape in stored.items() if "VARIABLE_VALUE" in name]
    columns = list(restored.model.item_table.shape)[::-1]
    sums = [41, 3 * restored.model.network.state_dims[0]]
    expected = [list(weight.shape) for weight in restored.model.weights]
    assert sorted(shapes) == sorted([*expected, [41], [41], columns, sums])


def test_it_answers_like_python_where_there_is_only_tensorflow(
    exported, restored, make_oracle, tmp_path
):
    oracle = make_oracle(restored)
    session = ["item-7", "é/ü 1", "item-21"]
    states = oracle.play(session)
    excluded = oracle.answer(states, 10)[0][:3]
    request = {
        "serving_default": {"session_items": [session]},
        "recommend": {"session_items": [session]},
        "recommend_excluding": {"session_items": [session], "exclude_items": [excluded]},
        "recommend_rows": {"session_rows": [[oracle.ids.index(item) for item in session]]},
        "step": {"item": session[-1:], "state_0": [oracle.play(session[:-1])[0].tolist()]},
    }
    answers = ask_plain_tensorflow(exported, request, tmp_path)
    for signature, answer in answers.items():
        left_out = excluded if signature == "recommend_excluding" else ()
        items, scores = oracle.answer(states, 10, left_out)
        rows = [oracle.ids.index(item) for item in items]
        assert answer.get("items", [items])[0] == items
        assert answer.get("rows", [rows])[0] == rows
        np.testing.assert_allclose(answer["scores"][0], scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answers["step"]["next_state_0"][0], states[0], rtol=1e-4, atol=1e-5)


def test_two_exports_of_one_size_keep_their_own_vocabularies(exported, make_restored, tmp_path):
    other = make_restored()
    ids = other.vocabulary.ids[::-1]
    vocabulary = Vocabulary.build(ids, other.vocabulary.counts)
    path = export_gru4rec(
        type(other)(other.model, vocabulary, other.experiment), tmp_path, k=10, version=1
    )
    sessions = tf.constant([["item-7", "item-0"]])
    first, second = (
        tf.saved_model.load(str(version)).signatures["recommend"](session_items=sessions)
        for version in (exported, path)
    )
    assert first["items"].numpy().tolist() != second["items"].numpy().tolist()
    place = dict(zip(other.vocabulary.ids, ids, strict=True))
    swapped = tf.constant([[place["item-7"], place["item-0"]]])
    again = tf.saved_model.load(str(path)).signatures["recommend"](session_items=swapped)
    expected = [place[item.decode()] for item in first["items"][0].numpy()]
    assert [item.decode() for item in again["items"][0].numpy()] == expected


def test_a_failed_export_leaves_no_version(restored, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(version_content, "write_warmup_requests", fail)
    with pytest.raises(OSError, match="No space"):
        export_gru4rec(restored, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert export_gru4rec(restored, tmp_path).name == "1"
    with pytest.raises(ValueError, match="1 exists"):
        export_gru4rec(restored, tmp_path, version=1)
