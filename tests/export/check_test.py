import json
import shutil

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfrec_zoo.export import check, gru4rec_module, warmup
from tfrec_zoo.export.conformance import Export, run_rules
from tfrec_zoo.export.gru4rec_rules import GRU4REC_RULES
from tfrec_zoo.export.saved_model import export_gru4rec
from tfrec_zoo.export.serving_rules import SERVING_RULES
from tfrec_zoo.vocabulary import Vocabulary

RULES = SERVING_RULES + GRU4REC_RULES


def find_failures(path, rules=RULES, run_dir=None):
    """Returns rule -> what is wrong, of the rules that fail."""
    results = run_rules(Export(path, run_dir), rules)
    return {result.rule: result.detail for result in results if not result.passed}


def run_program(monkeypatch, capsys, *arguments):
    """Returns the exit code and what was printed."""
    monkeypatch.setattr("sys.argv", ["tfrec-check", *map(str, arguments)])
    code = 0
    try:
        check.main()
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr()


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of the export, to be damaged."""
    return shutil.copytree(exported, tmp_path / "1")


def edit_graph(path, edit):
    file = path / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    edit(saved_model.meta_graphs[0])
    file.write_bytes(saved_model.SerializeToString())


def test_a_good_export_passes(exported, monkeypatch, capsys):
    # The folder of all versions stands for the last one.
    code, printed = run_program(monkeypatch, capsys, exported.parent)
    assert (code, printed.err) == (0, "")
    assert printed.out.splitlines()[-1] == f"{exported}: {len(RULES)} rules hold"
    code, printed = run_program(monkeypatch, capsys, exported, "--json")
    report = json.loads(printed.out)
    assert (code, report["passed"], len(report["rules"])) == (0, True, len(RULES))


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
    code, printed = run_program(monkeypatch, capsys, copy)
    assert code == 1
    failed = [line for line in printed.out.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1 and "there is no assets.extra" in failed[0]
    code, printed = run_program(monkeypatch, capsys, copy, "--json")
    assert (code, json.loads(printed.out)["passed"]) == (1, False)


def test_what_is_no_folder_is_one_sentence(monkeypatch, capsys, tmp_path):
    code, printed = run_program(monkeypatch, capsys, tmp_path / "none")
    assert (code, printed.out, printed.err.count("\n")) == (1, "", 1)
    assert "there is no folder" in printed.err


def test_the_name_of_the_version(copy):
    assert "version_folder" in find_failures(copy.rename(copy.with_name("one")), SERVING_RULES[:1])


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("assets/config.json", "version_folder"),
        ("assets/vocabulary.tsv", "loads"),
        ("variables/variables.index", "version_folder"),
        ("variables/variables.data-00000-of-00001", "loads"),
        ("saved_model.pb", "serve_tag"),
    ],
)
def test_missing_and_truncated_files(copy, file, rule):
    content = (copy / file).read_bytes()
    (copy / file).unlink()
    assert rule in find_failures(copy, SERVING_RULES)
    (copy / file).write_bytes(content[: len(content) // 2])
    assert find_failures(copy)


def rename_output(graph):
    outputs = graph.signature_def["recommend"].outputs
    outputs["session_items"].CopyFrom(outputs["items"])


def fix_batch_size(graph):
    graph.signature_def["step"].inputs["item"].tensor_shape.dim[0].size = 1


def remove_signature(graph):
    del graph.signature_def["recommend_rows"]


def make_classifier(graph):
    graph.signature_def["step"].method_name = "tensorflow/serving/classify"


def remove_tag(graph):
    graph.meta_info_def.tags[:] = ["train"]


def call_python(graph):
    graph.graph_def.library.function[0].node_def.add(name="bad", op="EagerPyFunc")


def call_foreign_operation(graph):
    graph.graph_def.library.function[0].node_def.add(name="bad", op="Scann>ScannSearch")


def name_a_file(graph):
    node = graph.graph_def.library.function[0].node_def.add(name="bad", op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/home/me/items.tsv"))


def name_a_table_by_a_file(graph):
    tables = [node for node in graph.graph_def.node if node.op == "HashTableV2"]
    tables[0].attr["shared_name"].s = b"hash_table_/tmp/run/vocabulary.tsv_41_0_-1"


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (rename_output, "signature_form"),
        (fix_batch_size, "signature_form"),
        (make_classifier, "signature_form"),
        (remove_signature, "signatures"),
        (remove_tag, "serve_tag"),
        (call_python, "no_python"),
        (call_foreign_operation, "stock_operations"),
        (name_a_file, "no_absolute_paths"),
        (name_a_table_by_a_file, "no_absolute_paths"),
    ],
)
def test_damaged_graphs(copy, damage, rule):
    edit_graph(copy, damage)
    assert rule in find_failures(copy)


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        (lambda good: [], "0 requests"),
        (lambda good: good[:1] * 1001, "1001 requests"),
        (lambda good: good[:1], "no request for"),
        (lambda good: [*good, warmup.Request("classify", {})], "no signature classify"),
        (lambda good: [*good, warmup.Request("step", good[0].inputs)], "step takes"),
    ],
)
def test_warmup_requests(copy, requests, words):
    found = requests(warmup.read_warmup_requests(copy))
    warmup.write_warmup_requests(copy, "gru4rec", found)
    failures = find_failures(copy, SERVING_RULES)
    assert list(failures) == ["warmup"] and words in failures["warmup"]


def test_a_vocabulary_of_other_rows_is_noticed(copy, restored):
    vocabulary = restored.vocabulary
    Vocabulary.build(vocabulary.ids[::-1], vocabulary.counts).save(copy / "assets/vocabulary.tsv")
    assert "python_answers" in find_failures(copy)


def test_other_counts_than_those_served_are_noticed(copy, restored):
    vocabulary = restored.vocabulary
    Vocabulary.build(vocabulary.ids, vocabulary.counts[::-1]).save(copy / "assets/vocabulary.tsv")
    # Excluding asks for an empty session, too.
    assert set(find_failures(copy)) == {"empty_session", "exclusion"}


def forget_exclusion(monkeypatch):
    top_items = gru4rec_module.top_items
    monkeypatch.setattr(gru4rec_module, "top_items", lambda scores, k, _: top_items(scores, k))


def forget_padding(monkeypatch):
    make_player = gru4rec_module.make_player

    def make_wrong_player(model):
        return lambda rows: make_player(model)(tf.where(rows == 0, 1, rows))

    monkeypatch.setattr(gru4rec_module, "make_player", make_wrong_player)


def forget_first_click(monkeypatch):
    make_player = gru4rec_module.make_player

    def make_wrong_player(model):
        return lambda rows: make_player(model)(rows[:, 1:])

    monkeypatch.setattr(gru4rec_module, "make_player", make_wrong_player)


def forget_state(monkeypatch):
    step = gru4rec_module.GRU4RecModule.step

    def step_from_zeros(self, item, **state):
        return step(self, item, **{name: tf.zeros_like(value) for name, value in state.items()})

    monkeypatch.setattr(gru4rec_module.GRU4RecModule, "step", step_from_zeros)


def mix_the_batch(monkeypatch):
    make_player = gru4rec_module.make_player

    def make_wrong_player(model):
        def play(rows):
            (state,) = make_player(model)(rows)
            return (state + tf.reduce_mean(state, axis=0) - state[0],)

        return play

    monkeypatch.setattr(gru4rec_module, "make_player", make_wrong_player)


@pytest.mark.parametrize(
    ("mistake", "rules"),
    [
        (forget_exclusion, {"exclusion"}),
        (forget_padding, {"padding", "empty_session", "batching"}),
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
