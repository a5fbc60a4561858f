import dataclasses
import shutil

import numpy as np
import pytest
from click_models import make_restored, save_weights, write_run

from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.export.restore import (
    RestoredDLRM,
    load_export,
    load_exported_dlrm,
    open_export,
    restore_dlrm,
    restore_gru4rec,
    restore_run,
)
from tfrec_zoo.export.saved_model import export_dlrm
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.run_folder import write_json


@pytest.fixture
def folder(tmp_path, restored_dlrm):
    return write_run(tmp_path / "run", restored_dlrm)


def assert_same(found, restored):
    assert isinstance(found, RestoredDLRM)
    for got, weight in zip(found.model.get_weights(), restored.model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, weight)
    assert (found.experiment, found.schema) == (restored.experiment, restored.schema)
    assert found.spec == restored.spec
    assert list(found.vocabularies) == list(restored.vocabularies)
    for name, vocabulary in restored.vocabularies.items():
        assert found.vocabularies[name].ids.tolist() == vocabulary.ids.tolist()
        assert found.vocabularies[name].counts.tolist() == vocabulary.counts.tolist()


@pytest.mark.parametrize("restore", [restore_run, restore_dlrm])
def test_the_program_of_the_run_says_which_model_it_is(folder, restored_dlrm, restore):
    other = make_restored(seed=1)
    save_weights(folder, other, "best")
    best, last = restore(folder), restore(str(folder.path), "last")
    assert_same(best, other)
    assert_same(last, restored_dlrm)
    assert best.checkpoint.endswith("best/ckpt-3")
    assert best.run == last.run == folder
    assert_same(restore(folder, last.checkpoint), restored_dlrm)


@pytest.mark.parametrize(
    "network",
    [
        {
            "qr_threshold": 5,
            "first_order": True,
            "weighted_pooling": True,
            "qr_operation": "concat",
        },
        {"table_dims": ("user:2", "C.1:8"), "interaction": "cross", "cross_rank": 2},
        {"names": ("price", "device"), "dense": ()},
    ],
)
def test_other_networks(network, tmp_path):
    restored = make_restored(**network)
    assert_same(restore_run(write_run(tmp_path / "run", restored)), restored)
    path = export_dlrm(restored, tmp_path / "served")
    assert_same(load_export(path), restored)


def test_an_export_is_restored_from_its_own_weights(exported_dlrm, restored_dlrm):
    assert_same(load_export(exported_dlrm), restored_dlrm)
    found = load_exported_dlrm(exported_dlrm)
    assert_same(found, restored_dlrm)
    assert (found.run, found.checkpoint) == (None, str(exported_dlrm / "variables" / "variables"))
    assert open_export(exported_dlrm).load_schema() == restored_dlrm.schema


def test_gru4rec_is_restored_by_the_same_function(exported, restored):
    assert type(load_export(exported)) is type(restored)


def test_a_subclass_of_the_network_is_rebuilt(folder):
    class Other(DLRM):
        pass

    assert type(restore_dlrm(folder, "last", Other).model) is Other


def test_a_run_without_a_specification(folder):
    folder.spec_path.unlink()
    assert restore_run(folder).spec is None


def test_a_run_of_another_model_is_refused(folder):
    with pytest.raises(ValueError, match=r"config.json is of a model 'dlrm', expected one of"):
        restore_gru4rec(folder)
    write_json(folder.config_path, {**folder.load_config(), "program": "wide"})
    with pytest.raises(ValueError, match="of a model 'wide', expected one of gru4rec, ssr, dlrm"):
        restore_run(folder)
    with pytest.raises(ValueError, match="of a model 'wide', expected one of 'dlrm'"):
        restore_dlrm(folder)


def test_what_does_not_fit_together_is_refused(folder, restored_dlrm):
    config = folder.load_config()
    config["model"]["bottom_mlp"] = [5, 4]
    write_json(folder.config_path, config)
    with pytest.raises(ValueError, match="does not fit the configuration and the features"):
        restore_run(folder)
    config["model"]["momentum"] = 1
    write_json(folder.config_path, config)
    with pytest.raises(ValueError, match="config.json: unknown option 'momentum'"):
        restore_run(folder)
    folder.write_config(restored_dlrm.experiment)
    path = folder.vocabularies_path / "user.tsv"
    shutil.copy(folder.vocabularies_path / "tags.tsv", path)
    with pytest.raises(ValueError, match="feature user has 6 rows and its vocabulary 5"):
        restore_run(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="user.tsv"):
        restore_run(folder)


@pytest.mark.parametrize("change", [{"name": "urls2"}, {"num_rows": 20}])
def test_other_features_than_those_of_the_checkpoint_are_refused(folder, restored_dlrm, change):
    features = [
        dataclasses.replace(feature, **change) if feature.name == "urls" else feature
        for feature in restored_dlrm.schema.categorical
    ]
    ClickSchema(restored_dlrm.schema.dense, features).save(folder.features_path)
    with pytest.raises(ValueError, match="does not fit the configuration and the features"):
        restore_run(folder)


def test_a_missing_vocabulary_is_told(restored_dlrm):
    with pytest.raises(ValueError, match="feature user has no vocabulary"):
        dataclasses.replace(restored_dlrm, vocabularies={})


def test_logs_are_read_with_the_side_tables_beside_them(tmp_path):
    spec = {"categorical": [{"name": "user"}], "join": [{"file": "/old/codes.csv", "on": "code"}]}
    restored = make_restored(("user",), dense=(), interaction="cat")
    restored = dataclasses.replace(restored, spec=spec)
    (tmp_path / "log.csv").write_text("code\n1\n2\n")
    with pytest.raises(FileNotFoundError, match="join: there is no file /old/codes.csv"):
        list(restored.encode_logs(tmp_path / "log.csv", needs_label=False))
    (tmp_path / "codes.csv").write_text("code,user\n2,u3\n1,u1\n")
    (examples,) = restored.encode_logs(tmp_path / "log.csv", needs_label=False)
    users = restored.vocabularies["user"]
    assert examples.rows.ravel().tolist() == [*users.rows(["u1"]), *users.rows(["u3"])]
