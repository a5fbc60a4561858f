import json
import shutil

import pytest
import tensorflow as tf
from export_programs import call_program, find_failures

from tfrec_zoo.export import check, gru4rec_module, warmup
from tfrec_zoo.export.conformance import Export, Rule, Skipped, run_rules
from tfrec_zoo.export.gru4rec_rules import GRU4REC_RULES
from tfrec_zoo.export.saved_model import export_gru4rec
from tfrec_zoo.export.server_files import SERVER_RULES
from tfrec_zoo.export.serving_rules import SERVING_RULES
from tfrec_zoo.vocabulary import Vocabulary

RULES = SERVING_RULES + SERVER_RULES + GRU4REC_RULES


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of the export, to be damaged."""
    return shutil.copytree(exported, tmp_path / "1")


def test_a_good_export_passes(exported, monkeypatch, capsys):
    # The folder of all versions stands for the last one.
    code, printed = call_program(monkeypatch, capsys, check, exported.parent)
    assert (code, printed.err) == (0, "")
    lines = printed.out.splitlines()
    assert lines[-1] == f"{exported}: {len(RULES) - 2} rules hold, 2 skipped"
    assert [line.split()[0] for line in lines[:-1]].count("ok") == len(RULES) - 2
    code, printed = call_program(monkeypatch, capsys, check, exported, "--json")
    report = json.loads(printed.out)
    assert (code, report["export"], report["passed"]) == (0, str(exported), True)
    assert report.keys() == {"export", "passed", "rules", "latency"} and report["latency"] is None
    assert report["rules"][0].keys() == {"rule", "outcome", "detail", "seconds"}
    assert [rule["rule"] for rule in report["rules"]] == [rule.name for rule in RULES]
    skipped = {rule["rule"] for rule in report["rules"] if rule["outcome"] == "skipped"}
    # There is no folder deploy.
    assert skipped == {"batching_config", "monitoring_config"}


def test_a_rule_waits_for_those_that_it_needs(exported):
    asked = []

    def look(name, *needs, error=None):
        def check(export):
            asked.append(name)
            if error:
                raise error
            return "seen"

        return Rule(name, check, needs)

    rules = (
        look("last", "first", "other"),
        look("second", "first"),
        look("first", error=ValueError("it is broken\nin detail")),
        look("alone", "not_among_these"),
        look("other", error=Skipped("there is none")),
        look("third", "second"),
    )
    results = {result.rule: result for result in run_rules(Export(exported), rules)}
    assert list(results) == [rule.name for rule in rules]
    assert sorted(asked) == ["alone", "first", "other"]
    outcomes = {name: result.outcome for name, result in results.items()}
    assert outcomes == {
        "last": "skipped",
        "second": "skipped",
        "first": "failed",
        "alone": "passed",
        "other": "skipped",
        "third": "skipped",
    }
    assert results["first"].detail == "it is broken"
    assert results["other"].detail == "there is none"
    assert "first and other" in results["last"].detail


@pytest.mark.parametrize(
    "network",
    [
        {"hidden_dims": (5, 4), "score_activation": "elu"},
        {"tie_embeddings": False, "score_activation": "relu"},
        {"num_items": 3},
    ],
)
def test_other_networks_pass(make_restored, tmp_path, network):
    assert find_failures(export_gru4rec(make_restored(**network), tmp_path, k=4)) == {}


def test_a_failure_is_told_by_line_and_exit_code(copy, monkeypatch, capsys):
    (copy / warmup.WARMUP_PATH).unlink()
    code, printed = call_program(monkeypatch, capsys, check, copy)
    assert code == 1
    failed = [line for line in printed.out.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1 and "there is no assets.extra" in failed[0]
    code, printed = call_program(monkeypatch, capsys, check, copy, "--json")
    assert (code, json.loads(printed.out)["passed"]) == (1, False)


def test_what_is_no_folder_is_one_sentence(monkeypatch, capsys, tmp_path):
    code, printed = call_program(monkeypatch, capsys, check, tmp_path / "none")
    assert (code, printed.out, printed.err.count("\n")) == (1, "", 1)
    assert "there is no folder" in printed.err


def test_a_vocabulary_of_other_rows_is_noticed(copy, restored):
    vocabulary = restored.vocabulary
    Vocabulary.build(vocabulary.ids[::-1], vocabulary.counts).save(copy / "assets/vocabulary.tsv")
    assert "python_answers" in find_failures(copy)


def test_other_counts_than_those_served_are_noticed(copy, restored):
    vocabulary = restored.vocabulary
    Vocabulary.build(vocabulary.ids, vocabulary.counts[::-1]).save(copy / "assets/vocabulary.tsv")
    assert set(find_failures(copy)) == {"empty_session"}


def forget_exclusion(monkeypatch):
    top_items = gru4rec_module.top_items
    monkeypatch.setattr(
        gru4rec_module, "top_items", lambda scores, k, _=None, n=None: top_items(scores, k, None, n)
    )


def forget_padding(monkeypatch):
    make_player = gru4rec_module.make_player

    def make_wrong_player(model, sums):
        return lambda rows: make_player(model, sums)(tf.where(rows == 0, 1, rows))

    monkeypatch.setattr(gru4rec_module, "make_player", make_wrong_player)


def forget_first_click(monkeypatch):
    make_player = gru4rec_module.make_player

    def make_wrong_player(model, sums):
        return lambda rows: make_player(model, sums)(rows[:, 1:])

    monkeypatch.setattr(gru4rec_module, "make_player", make_wrong_player)


def forget_state(monkeypatch):
    step = gru4rec_module.GRU4RecModule.step

    def step_from_zeros(self, item, **state):
        return step(self, item, **{name: tf.zeros_like(value) for name, value in state.items()})

    monkeypatch.setattr(gru4rec_module.GRU4RecModule, "step", step_from_zeros)


def mix_the_batch(monkeypatch):
    make_player = gru4rec_module.make_player

    def make_wrong_player(model, sums):
        def play(rows):
            (state,) = make_player(model, sums)(rows)
            return (state + tf.reduce_mean(state, axis=0) - state[0],)

        return play

    monkeypatch.setattr(gru4rec_module, "make_player", make_wrong_player)


@pytest.mark.parametrize(
    ("mistake", "rules"),
    [
        (forget_exclusion, {"exclusion"}),
        (forget_padding, {"padding", "python_answers", "batching"}),
        (forget_first_click, {"python_answers", "steps"}),
        (forget_state, {"steps"}),
        (mix_the_batch, {"batching", "python_answers"}),
    ],
)
def test_wrong_answers(restored, tmp_path, monkeypatch, mistake, rules):
    mistake(monkeypatch)
    path = export_gru4rec(restored, tmp_path, k=10)
    failures = find_failures(path)
    assert rules <= set(failures) <= {rule.name for rule in GRU4REC_RULES}, failures
