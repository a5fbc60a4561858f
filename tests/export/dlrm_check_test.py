import dataclasses
import json
import shutil

import pytest
import tensorflow as tf
from click_models import DENSE, SPEC, make_restored, write_run
from export_programs import call_program, find_failures

from tfrec_zoo.export import check, click_inputs, dlrm_module, main, warmup
from tfrec_zoo.export.dlrm_rules import DLRM_RULES
from tfrec_zoo.export.restore import load_export
from tfrec_zoo.export.saved_model import export_dlrm
from tfrec_zoo.export.server_files import SERVER_RULES
from tfrec_zoo.export.serving_rules import SERVING_RULES
from tfrec_zoo.run_folder import write_json
from tfrec_zoo.vocabulary import Vocabulary

RULES = SERVING_RULES + SERVER_RULES + DLRM_RULES


@pytest.fixture(scope="module")
def small():
    """A model of few features, since each check takes a second or two."""
    return make_restored(("user", "tags", "age"), dense=DENSE[:2])


@pytest.fixture(scope="module")
def exported_small(small, tmp_path_factory):
    return export_dlrm(small, tmp_path_factory.mktemp("served_small"))


@pytest.fixture
def copy(exported_small, tmp_path):
    """A copy of the export, to be damaged."""
    return shutil.copytree(exported_small, tmp_path / "1")


def test_a_good_export_passes(exported_dlrm, monkeypatch, capsys):
    code, printed = call_program(monkeypatch, capsys, check, exported_dlrm.parent)
    assert (code, printed.err) == (0, "")
    assert (
        printed.out.splitlines()[-1] == f"{exported_dlrm}: {len(RULES) - 2} rules hold, 2 skipped"
    )
    assert "4 signatures, 3 numbers, 8 texts" in printed.out


@pytest.mark.parametrize(
    "network",
    [
        {"qr_threshold": 5, "first_order": True, "weighted_pooling": True},
        {"table_dims": ("user:2",), "interaction": "cross", "precision": "mixed_bfloat16"},
        {"names": ("user", "age", "device"), "interaction": "cat"},
        {"names": ("price", "age"), "dense": ()},
        {"names": ("words", "urls"), "dense": ()},
    ],
)
def test_other_networks_pass(network, tmp_path):
    assert find_failures(export_dlrm(make_restored(**network), tmp_path)) == {}


def test_side_tables_are_named_without_their_folder(small, tmp_path):
    join = {"file": "/data/mine/user*.csv", "on": "user", "key": "number"}
    path = export_dlrm(dataclasses.replace(small, spec={**SPEC, "join": [join]}), tmp_path)
    assert find_failures(path) == {}
    assert load_export(path).spec == {**SPEC, "join": [{**join, "file": "user*.csv"}]}


def test_a_run_is_exported_and_checked_by_the_programs(small, tmp_path, monkeypatch, capsys):
    run, served = tmp_path / "run", tmp_path / "served"
    folder = write_run(run, small)
    flags = [f"--run_dir={run}", f"--export_dir={served}"]
    code, printed = call_program(monkeypatch, capsys, main, *flags, "--version=12")
    path = served / "12"
    assert (code, printed.out) == (0, f"{path}\n")
    about = json.loads((path / "assets" / "config.json").read_text())["export"]
    assert (about["checkpoint"], about["metrics"]) == ("checkpoints/last/ckpt-3", {"auc": 0.75})

    code, printed = call_program(monkeypatch, capsys, check, path, f"--run_dir={run}")
    assert code == 0
    assert "by the run's checkpoint" in printed.out

    other = make_restored(("user", "tags", "age"), dense=DENSE[:2], seed=1)
    tf.train.Checkpoint(model=other.model).write(str(folder.checkpoints_path / "last" / "ckpt-3"))
    code, printed = call_program(monkeypatch, capsys, check, path, f"--run_dir={run}")
    assert code == 1
    assert "FAIL  python_answers" in printed.out

    code, printed = call_program(monkeypatch, capsys, main, *flags, "--k=5")
    assert (code, printed.out) == (1, "")
    assert "k=5 belongs to GRU4Rec" in printed.err.splitlines()[-1]
    assert [p.name for p in served.iterdir() if p.is_dir()] == ["12"]


def test_an_export_of_an_unknown_model_is_one_sentence(copy, monkeypatch, capsys):
    path = copy / "assets" / "config.json"
    write_json(path, {**json.loads(path.read_text()), "program": "wide"})
    code, printed = call_program(monkeypatch, capsys, check, copy)
    assert (code, printed.out, printed.err.count("\n")) == (1, "", 1)
    assert "is of a model 'wide', expected one of gru4rec, ssr, dlrm" in printed.err


def test_a_damaged_configuration_fails(copy, monkeypatch, capsys):
    (copy / "assets" / "config.json").write_text("{")
    code, printed = call_program(monkeypatch, capsys, check, copy)
    assert code == 1 and "FAIL" in printed.out


def test_missing_warm_up_requests_are_noticed(copy):
    requests = warmup.read_warmup_requests(copy)
    kept = [request for request in requests if request.signature != "predict_text"]
    warmup.write_warmup_requests(copy, "dlrm", kept)
    assert find_failures(copy, SERVING_RULES) == {"warmup": "there is no request for predict_text"}


def test_a_vocabulary_of_other_rows_than_the_runs_is_noticed(copy, small, tmp_path):
    vocabulary = Vocabulary.load(copy / "assets/tags.tsv")
    Vocabulary(vocabulary.ids[::-1], vocabulary.counts).save(copy / "assets/tags.tsv")
    # Both sides read the file, so only the run tells the difference.
    assert find_failures(copy) == {}
    config_path = copy / "assets" / "config.json"
    config = json.loads(config_path.read_text())
    config["export"]["checkpoint"] = "checkpoints/last/ckpt-3"
    write_json(config_path, config)
    run = write_run(tmp_path / "run", small)
    assert {"python_answers", "rows"} <= set(find_failures(copy, run_dir=run.path))


def test_tables_that_are_elsewhere_are_noticed(copy):
    path = copy / "assets" / "tables.json"
    places = json.loads(path.read_text())
    write_json(path, {**places, "user": {**places["user"], "first_row": 2}})
    assert find_failures(copy) == {"tables": "the rows of user are not where it says"}
    del places["user"]
    write_json(path, places)
    assert set(find_failures(copy)) == {"tables"}


def change(monkeypatch, target, name, make):
    monkeypatch.setattr(target, name, make(getattr(target, name)))


def forget_transforms(monkeypatch):
    monkeypatch.setattr(
        dlrm_module, "transform_numbers", lambda dense, _: tf.where(dense > 0, dense, 0.0)
    )


def forget_missing_texts(monkeypatch):
    change(
        monkeypatch, click_inputs, "_put_missing", lambda put: lambda rows, missing: put(rows, 0)
    )


def forget_weights(monkeypatch):
    def make(split):
        def split_without(values, separator):
            texts, weights = split(values, separator)
            return texts, tf.ones_like(weights)

        return split_without

    change(monkeypatch, click_inputs, "_split_weights", make)


def shift_buckets(monkeypatch):
    change(
        monkeypatch,
        click_inputs.tf,
        "searchsorted",
        lambda search: lambda edges, values, side: search(edges, values, side="left"),
    )


def forget_range_of_rows(monkeypatch):
    def predict_rows(self, rows, dense_values=None, row_weights=None):
        return self._answer(dense_values, tf.maximum(rows, 0) % 3, row_weights)

    monkeypatch.setattr(dlrm_module.DLRMModule, "predict_rows", predict_rows)


def mistake_numbers(monkeypatch):
    monkeypatch.setattr(
        dlrm_module,
        "parse_numbers",
        lambda texts: tf.strings.to_number(
            tf.where(tf.strings.regex_full_match(texts, r"[\d.]+"), texts, "0")
        ),
    )


def mix_the_batch(monkeypatch):
    def answer(self, values, rows, weights):
        probabilities = tf.sigmoid(self._score(values, rows, weights))
        return {"click_probability": probabilities - tf.reduce_mean(probabilities) / 9}

    monkeypatch.setattr(dlrm_module.DLRMModule, "_answer", answer)


def answer_logits(monkeypatch):
    def answer(self, values, rows, weights):
        return {"click_probability": self._score(values, rows, weights)}

    monkeypatch.setattr(dlrm_module.DLRMModule, "_answer", answer)


@pytest.mark.parametrize(
    ("mistake", "rules"),
    [
        (forget_transforms, {"python_answers", "missing_values", "rows"}),
        (forget_missing_texts, {"python_answers", "missing_values", "rows"}),
        (forget_weights, {"python_answers", "rows"}),
        (shift_buckets, {"python_answers", "rows"}),
        (forget_range_of_rows, {"rows"}),
        (mistake_numbers, {"texts", "missing_values"}),
        (mix_the_batch, {"batching", "python_answers"}),
        (answer_logits, {"python_answers", "missing_values", "unknown_values"}),
    ],
)
def test_wrong_answers(small, tmp_path, monkeypatch, mistake, rules):
    mistake(monkeypatch)
    path = export_dlrm(small, tmp_path)
    monkeypatch.undo()
    failures = find_failures(path)
    assert rules <= set(failures) <= {rule.name for rule in DLRM_RULES}, failures
