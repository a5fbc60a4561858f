import json

import numpy as np
import pytest
import tensorflow as tf
from export_programs import ask_plain_tensorflow
from news_models import NewsOracle, draw_items, make_catalogue, make_restored, write_run

from tfrec_zoo.export import main, version_content
from tfrec_zoo.export.restore import load_export, load_exported_ssr, restore_run, restore_ssr
from tfrec_zoo.export.saved_model import export_run, export_ssr
from tfrec_zoo.export.warmup import read_warmup_requests
from tfrec_zoo.program import run_program
from tfrec_zoo.vocabulary import Vocabulary

K = 6
NOW = 95_000.0


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    catalogue = make_catalogue(tmp_path_factory.mktemp("items"))
    return make_restored(catalogue, age_buckets=5, age_unit=500.0)


@pytest.fixture(scope="module")
def exported(restored, tmp_path_factory):
    return export_ssr(restored, tmp_path_factory.mktemp("served"), K, now=NOW)


def find_files(path):
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}


def test_the_files_of_a_version(exported, restored):
    learned = ("Category", "title", "tags", "vocabulary")
    names = {"catalogue.json", "ids.tsv", "items.arrow", "features.json", "spec.json", "times.npy"}
    names |= {f"vocabularies/{name}.tsv" for name in learned}
    assets = {"config.json", "vocabulary.tsv", *(f"feature.{name}.tsv" for name in learned)}
    assert find_files(exported) == {
        *(f"assets/{name}" for name in assets),
        *(f"assets.extra/catalogue/{name}" for name in names),
        "assets.extra/tf_serving_warmup_requests",
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    }
    found = Vocabulary.load(exported / "assets" / "vocabulary.tsv")
    assert found.ids.tolist() == restored.catalogue.ids.tolist()
    assert 'name: "ssr"' in (exported.parent / "models.config").read_text()


def test_the_configuration_says_what_it_is(exported):
    config = json.loads((exported / "assets" / "config.json").read_text())
    assert (config["program"], config["model"]["vector_dim"]) == ("ssr", 4)
    about = config["export"]
    assert (about["k"], about["now"], about["num_items"]) == (K, NOW, 40)
    assert about["inputs"] == {
        "dense": ["length", "rating", "price"],
        "sparse": ["Category", "vocabulary", "title", "tags", "author"],
        "vectors": {"vec": 2, "image": 3},
    }


def test_warm_up_reaches_all_signatures(exported, restored):
    requests = read_warmup_requests(exported)
    assert {request.signature for request in requests} == {
        "serving_default",
        "recommend",
        "recommend_excluding",
        "recommend_including",
        "recommend_rows",
        "embed_session",
        "embed_items",
    }
    sessions = [r.inputs["session_items"] for r in requests if r.signature == "recommend"]
    assert [session.shape for session in sessions] == [(1, 5), (8, 5)]
    counts = restored.catalogue.vocabulary.counts
    asked = restored.catalogue.rows([item.decode() for item in sessions[0][0]]) - 1
    assert sorted(counts[asked]) == sorted(counts)[-5:]


def test_it_answers_like_python_where_there_is_only_tensorflow(exported, restored, tmp_path):
    oracle = NewsOracle(restored, NOW)
    sessions = [["N3", "N4", "nobody", "N5"], ["N39", "", "", ""], [""] * 4]
    items = restored.catalogue.take(np.arange(1, 41))
    texts = [[item[name] for name in ("Category", "NewsId", "Title", "tags", "author")]
             for item in draw_items()]  # fmt: skip
    session_items = {"session_items": sessions}
    numbers = [[float(item[name] or "nan") for name in ("length", "rating", "price")]
               for item in draw_items()]  # fmt: skip
    request = {
        "serving_default": session_items,
        "recommend_excluding": session_items | {"exclude_items": [["N7", "N8"]] * 3},
        "recommend_including": session_items | {"include_items": [["N7", "N8"]] * 3},
        "recommend_rows": {"session_rows": restored.catalogue.rows(sessions).tolist()},
        "embed_session": session_items,
        "embed_items": {
            "dense": numbers,
            "sparse": texts,
            "vectors": items.dense[:, 2:].tolist(),
            "ages": (NOW - restored.catalogue.times[1:]).tolist(),
        },
    }
    answers = ask_plain_tensorflow(exported, request, tmp_path)

    def require(signature, **limits):
        answer = answers[signature]
        for line, session in enumerate(sessions):
            expected, scores = oracle.answer(session, K, **limits)
            assert answer["items"][line] == expected
            found = np.array(answer["scores"][line], np.float64)
            np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-5)

    require("serving_default")
    require("recommend_excluding", excluded=["N7", "N8"])
    require("recommend_including", included=["N7", "N8"])
    found = np.array(answers["embed_session"]["session_vector"], np.float64)
    vectors = np.array(answers["embed_items"]["item_vector"], np.float64)
    expected = [np.append(oracle.embed(session), 1) for session in sessions]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        vectors, np.column_stack([oracle.vectors, oracle.offsets])[1:], rtol=1e-4, atol=1e-5
    )
    rows = [[int(row) for row in line] for line in answers["recommend_rows"]["rows"]]
    assert [[oracle.ids[row] for row in line] for line in rows] == answers["serving_default"][
        "items"
    ]


def test_the_python_model_comes_back_from_an_export(exported, restored):
    for found in (load_export(exported), load_exported_ssr(exported)):
        for weight, other in zip(found.model.weights, restored.model.weights, strict=True):
            assert weight.numpy().tobytes() == other.numpy().tobytes()
        catalogue = found.catalogue
        assert catalogue.ids.tolist() == restored.catalogue.ids.tolist()
        assert catalogue.features.fingerprint == restored.catalogue.features.fingerprint
        np.testing.assert_array_equal(catalogue.times, restored.catalogue.times)
        assert found.experiment == restored.experiment
        assert found.exported["now"] == NOW and found.run is None


def test_a_run_comes_back(restored, tmp_path, capsys):
    folder = write_run(tmp_path / "run", restored)
    for found in (restore_run(folder), restore_ssr(tmp_path / "run")):
        assert (found.run, found.exported) == (folder, None)
        for weight, other in zip(found.model.weights, restored.model.weights, strict=True):
            assert weight.numpy().tobytes() == other.numpy().tobytes()
        assert found.catalogue.num_items == 40
    served = tmp_path / "served"
    flags = [f"--run_dir={folder.path}", f"--export_dir={served}", "--k=3", "--now=80000"]
    run_program(main.export, main.define_flags, ["tfrec-export", *flags])
    assert capsys.readouterr().out == f"{served / '1'}\n"
    about = json.loads((served / "1" / "assets" / "config.json").read_text())["export"]
    assert (about["k"], about["now"]) == (3, 80_000.0)
    assert (about["checkpoint"], about["metrics"]) == (
        "checkpoints/last/ckpt-3",
        {"recall@20": 0.25},
    )


def test_the_time_of_ages_is_that_of_the_newest_item(restored, tmp_path):
    path = export_run(restored, tmp_path)
    config = json.loads((path / "assets" / "config.json").read_text())
    assert config["export"]["now"] == np.nanmax(restored.catalogue.times)
    again = export_run(load_export(path), tmp_path)
    config = json.loads((again / "assets" / "config.json").read_text())
    assert config["export"]["now"] == np.nanmax(restored.catalogue.times)
    assert config["export"]["checkpoint"] is None


def test_a_failed_export_leaves_no_version(restored, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(version_content, "write_warmup_requests", fail)
    with pytest.raises(OSError, match="No space"):
        export_run(restored, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_export_without_its_items_is_refused(exported, tmp_path):
    (tmp_path / "assets").mkdir()
    content = (exported / "assets" / "config.json").read_text()
    (tmp_path / "assets" / "config.json").write_text(content)
    with pytest.raises(ValueError, match="catalogue is not a catalogue of items"):
        load_export(tmp_path)


def test_only_the_weights_and_the_items_are_stored(exported, restored):
    stored = dict(tf.train.list_variables(str(exported / "variables" / "variables")))
    shapes = [shape for name, shape in stored.items() if "VARIABLE_VALUE" in name]
    items = [[41, 6], [6, 40], [41]]
    weights = [list(weight.shape) for weight in restored.model.weights]
    assert sorted(shapes) == sorted(weights + items)
