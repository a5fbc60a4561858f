import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.export.restore import load_exported_gru4rec, restore_again, restore_gru4rec
from tfrec_zoo.run_folder import RunFolder, write_json


def write_run(path, restored):
    """Writes what a trainer leaves: two checkpoints of the same weights times 1 and 2."""
    path.mkdir()
    folder = RunFolder(path)
    config = {"program": "gru4rec", **restored.experiment.to_dict()}
    write_json(folder.config_path, config)
    restored.vocabulary.save(folder.vocabulary_path)
    weights = restored.model.get_weights()
    for factor, name in enumerate(["last", "best"], start=1):
        save_weights(folder, name, restored, [factor * w for w in weights])
    restored.model.set_weights(weights)
    return folder


def save_weights(folder, name, restored, weights):
    """Saves a checkpoint that has a slot beside the weights, as one of training has."""
    restored.model.set_weights(weights)
    slot = tf.Variable(tf.ones_like(restored.model.item_table))
    checkpoint = tf.train.Checkpoint(model=restored.model, slot=slot, step=tf.Variable(7))
    directory = str(folder.checkpoints_path / name)
    tf.train.CheckpointManager(checkpoint, directory, 1).save(checkpoint_number=7)


@pytest.fixture
def folder(tmp_path, restored):
    return write_run(tmp_path / "run", restored)


def assert_weights(found, restored, factor):
    for got, weight in zip(found.model.get_weights(), restored.model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, factor * weight)
    assert found.experiment == restored.experiment
    assert found.vocabulary.ids.tolist() == restored.vocabulary.ids.tolist()


def test_best_last_and_a_path(folder, restored):
    best, last = restore_gru4rec(folder), restore_gru4rec(str(folder.path), "last")
    assert_weights(best, restored, 2)
    assert_weights(last, restored, 1)
    assert best.checkpoint.endswith("best/ckpt-7")
    assert best.run == last.run == folder
    assert_weights(restore_gru4rec(folder, last.checkpoint), restored, 1)


def test_another_checkpoint_is_read_into_the_same_model(folder, restored):
    first = restore_gru4rec(folder)
    second = restore_again(first, "last")
    assert second.model is first.model
    assert_weights(second, restored, 1)
    assert second.checkpoint.endswith("last/ckpt-7") and second.run == folder
    with pytest.raises(ValueError, match="there is no checkpoint ckpt-8"):
        restore_again(second, "ckpt-8")


def test_best_is_the_last_where_nothing_was_validated(folder, restored):
    for path in (folder.checkpoints_path / "best").iterdir():
        path.unlink()
    assert_weights(restore_gru4rec(folder), restored, 1)


def test_a_moved_run_folder_is_restored(folder, restored):
    moved = folder.path.rename(folder.path.with_name("elsewhere"))
    assert_weights(restore_gru4rec(moved), restored, 2)


def test_an_export_is_restored_from_its_own_weights(exported, restored):
    assert_weights(load_exported_gru4rec(exported), restored, 1)


def test_refusals(folder, tmp_path, make_restored):
    with pytest.raises(ValueError, match="not a run folder"):
        restore_gru4rec(tmp_path)
    with pytest.raises(ValueError, match="not an exported version"):
        load_exported_gru4rec(tmp_path)
    with pytest.raises(ValueError, match="there is no checkpoint ckpt-9"):
        restore_gru4rec(folder, "ckpt-9")
    config = folder.load_config()
    write_json(folder.config_path, {**config, "program": "dlrm"})
    with pytest.raises(ValueError, match="of a model 'dlrm'"):
        restore_gru4rec(folder)
    write_json(folder.config_path, {**config, "momentum": 1})
    with pytest.raises(ValueError, match="config.json: unknown option 'momentum'"):
        restore_gru4rec(folder)
    write_json(folder.config_path, config)
    make_restored(num_items=39).vocabulary.save(folder.vocabulary_path)
    with pytest.raises(ValueError, match="does not fit the configuration and the vocabulary"):
        restore_gru4rec(folder)


def test_a_network_of_more_layers_than_the_checkpoint_is_refused(folder):
    config = folder.load_config()
    config["model"]["hidden_dims"] = [6, 6]
    write_json(folder.config_path, config)
    with pytest.raises(ValueError, match="does not fit"):
        restore_gru4rec(folder)


def test_a_run_without_a_checkpoint_is_refused(tmp_path, restored):
    folder = RunFolder(tmp_path)
    write_json(folder.config_path, restored.experiment.to_dict())
    restored.vocabulary.save(folder.vocabulary_path)
    with pytest.raises(ValueError, match="no checkpoint yet"):
        restore_gru4rec(folder)
