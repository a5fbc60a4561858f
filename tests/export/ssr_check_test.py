import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from export_programs import call_program, find_failures
from news_models import SPEC, make_catalogue, make_restored, write_run

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.export import check, histories, ssr_module
from tfrec_zoo.export.saved_model import export_run, export_ssr
from tfrec_zoo.export.server_files import SERVER_RULES
from tfrec_zoo.export.serving_rules import SERVING_RULES
from tfrec_zoo.export.ssr_rules import SSR_RULES
from tfrec_zoo.vocabulary import Vocabulary

RULES = SERVING_RULES + SERVER_RULES + SSR_RULES
SMALL = {"id": "NewsId", "categorical": ["Category"], "vectors": SPEC["vectors"]}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return make_catalogue(tmp_path_factory.mktemp("items"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model of few features, since each check takes a second or two."""
    return make_restored(make_catalogue(tmp_path_factory.mktemp("items"), SMALL))


@pytest.fixture(scope="module")
def exported_small(small, tmp_path_factory):
    return export_ssr(small, tmp_path_factory.mktemp("served"), k=5)


@pytest.fixture
def copy(exported_small, tmp_path):
    """A copy of the export, to be damaged."""
    return shutil.copytree(exported_small, tmp_path / "1")


def test_a_good_export_passes(catalogue, tmp_path, monkeypatch, capsys):
    catalogue = dataclasses.replace(catalogue, shows=np.linspace(0, 9, catalogue.num_rows))
    options = {"age_buckets": 4, "exposure_weight": 0.2, "click_rate_weight": 0.1}
    restored = make_restored(catalogue, repeats="adjacent", max_history=4, **options)
    path = export_ssr(restored, tmp_path, k=7)
    code, printed = call_program(monkeypatch, capsys, check, path)
    assert (code, printed.err) == (0, "")
    assert printed.out.splitlines()[-1] == f"{path}: {len(RULES) - 2} rules hold, 2 skipped"
    assert "7 signatures, k=7, vectors of 5" in printed.out
    assert "40 items by its own weights" in printed.out


def test_another_model_passes(catalogue, tmp_path):
    restored = make_restored(catalogue, exclude_history=False, repeats="all")
    assert find_failures(export_run(restored, tmp_path), SSR_RULES) == {}


def test_items_known_by_their_ids_alone_pass(tmp_path):
    catalogue = ItemCatalogue.of_ids(Vocabulary([f"N{n}" for n in range(30)], range(30)))
    assert find_failures(export_run(make_restored(catalogue), tmp_path), SSR_RULES) == {}


def test_an_export_is_compared_with_its_run(small, tmp_path):
    folder = write_run(tmp_path / "run", small)
    path = export_run(small, tmp_path / "served")
    config_path = path / "assets" / "config.json"
    config = json.loads(config_path.read_text())
    config["export"]["checkpoint"] = "checkpoints/last/ckpt-3"
    config_path.write_text(json.dumps(config))
    # Its items may be other ones than the run's.
    small.catalogue.remove(["N1"]).save(folder.catalogue_path)
    assert find_failures(path, SSR_RULES, folder.path) == {}
    other = make_restored(small.catalogue)
    other.model.item_layer.bias.assign(other.model.item_layer.bias + 1.0)
    tf.train.Checkpoint(model=other.model).write(str(folder.checkpoints_path / "last" / "ckpt-3"))
    failures = find_failures(path, SSR_RULES, folder.path)
    assert {"python_answers", "item_vectors"} <= set(failures)


def test_items_of_another_version_are_noticed(copy, small):
    small.catalogue.remove(["N3"]).save(copy / "assets.extra" / "catalogue")
    assert "python_answers" in find_failures(copy, SSR_RULES)


def change(monkeypatch, target, name, make):
    monkeypatch.setattr(target, name, make(getattr(target, name)))


def forget_exclusion(monkeypatch):
    def make(search):
        return lambda self, queries, excluded, included: search(
            self, queries, excluded[:, :0], included
        )

    change(monkeypatch, ssr_module.SSRModule, "_search", make)


def forget_inclusion(monkeypatch):
    def make(search):
        return lambda self, queries, excluded, included: search(self, queries, excluded, None)

    change(monkeypatch, ssr_module.SSRModule, "_search", make)


def keep_gaps(monkeypatch):
    def read_all(config):
        def read(rows):
            lengths = tf.fill([tf.shape(rows)[0]], tf.shape(rows)[1])
            return histories.Histories(rows, lengths)

        return read

    monkeypatch.setattr(ssr_module, "make_reader", read_all)


def forget_popularity(monkeypatch):
    def make(embed):
        def answer(self, sessions, excluded_rows=None, included_rows=None):
            vectors = self._embed(self._read_histories(sessions))
            queries = tf.concat([vectors, tf.zeros_like(vectors[:, :1])], axis=1)
            excluded = sessions if excluded_rows is None else excluded_rows
            return self._find(queries, tf.concat([sessions, excluded], axis=1), included_rows)

        return answer

    change(monkeypatch, ssr_module.SSRModule, "_answer", make)


def forget_vectors(monkeypatch):
    def make(embed):
        return lambda self, dense=None, sparse=None, vectors=None, ages=None: embed(
            self, dense, sparse, tf.zeros_like(vectors), ages
        )

    change(monkeypatch, ssr_module.SSRModule, "embed_items", make)


def mix_the_batch(monkeypatch):
    def make(embed):
        def embed_mixed(self, clicks):
            vectors = embed(self, clicks)
            return vectors - tf.reduce_mean(vectors, axis=0) / 9

        return embed_mixed

    change(monkeypatch, ssr_module.SSRModule, "_embed", make)


@pytest.mark.parametrize(
    ("mistake", "rules"),
    [
        (forget_exclusion, {"python_answers"}),
        (forget_inclusion, {"inclusion"}),
        (keep_gaps, {"padding", "python_answers"}),
        (forget_popularity, {"empty_session"}),
        (forget_vectors, {"item_vectors"}),
        (mix_the_batch, {"batching", "python_answers", "session_vectors"}),
    ],
)
def test_wrong_answers(small, tmp_path, monkeypatch, mistake, rules):
    mistake(monkeypatch)
    path = export_ssr(small, tmp_path, k=5)
    monkeypatch.undo()
    failures = find_failures(path, SSR_RULES)
    assert rules <= set(failures), failures
