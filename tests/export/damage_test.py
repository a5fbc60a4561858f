"""Exports that are damaged in one way each: the rule that fails is the one for it, and alone."""

import shutil
from pathlib import Path

import pytest
from click_models import DENSE
from click_models import make_restored as make_dlrm
from damages import (
    DATA,
    add_node,
    add_text,
    change_weights,
    cut,
    edit_graph,
    edit_json,
    edit_requests,
    edit_signature,
    edit_vocabulary,
    fix_batch,
    flip_bit,
    forget_rank,
    move_table,
    name_asset,
    name_output_as_input,
    name_table,
    remove,
    rename,
    repeat_graph,
    serve_older_items,
    set_method,
    set_tags,
    widen_answer,
    write,
)
from export_programs import find_failures
from news_models import SPEC, make_catalogue
from news_models import make_restored as make_ssr

from tfrec_zoo.export.saved_model import export_dlrm, export_ssr
from tfrec_zoo.export.warmup import WARMUP_PATH, Request
from tfrec_zoo.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def good(exported, tmp_path_factory):
    """A good version of each model, by its name; not to be changed."""
    folder = tmp_path_factory.mktemp("good")
    items = make_catalogue(folder, {"id": "NewsId", "categorical": ["Category"]})
    dlrm = make_dlrm(("user", "tags", "age"), dense=DENSE[:2])
    dlrm = type(dlrm)(dlrm.model, dlrm.schema, dlrm.vocabularies, dlrm.experiment, spec=SPEC)
    return {
        "gru4rec": exported,
        "ssr": export_ssr(make_ssr(items), folder / "ssr", k=5),
        "dlrm": export_dlrm(dlrm, folder / "dlrm"),
    }


GRU4REC = [
    ("the folder's name is no number", rename("one"), "version_folder", "'one'"),
    ("the folder's name is no version", rename("0"), "version_folder", "'0'"),
    ("no graph", remove("saved_model.pb"), "files", "no saved_model.pb"),
    ("no index of variables", remove("variables/variables.index"), "files", "variables.index"),
    ("no variables", remove(DATA), "files", f"no {DATA}"),
    ("variables of no bytes", cut(DATA, 0), "files", f"{DATA} is empty"),
    ("no configuration", remove("assets/config.json"), "files", "no assets/config.json"),
    ("half of the variables", cut(DATA), "loads", ""),
    ("a bit of the variables", flip_bit(DATA), "loads", "hecksum"),
    ("half of the vocabulary", cut("assets/vocabulary.tsv"), "loads", ""),
    ("a configuration that is no JSON", write("assets/config.json", "{"), "config", "no JSON"),
    ("a list in its place", write("assets/config.json", "[]"), "config", "no JSON object"),
    (
        "a run's configuration",
        edit_json("assets/config.json", lambda values: values.pop("export")),
        "config",
        "no object 'export'",
    ),
    (
        "an option that there is not",
        edit_json("assets/config.json", lambda values: values["model"].update(depth=3)),
        "python_model",
        "depth",
    ),
    (
        "another network",
        edit_json("assets/config.json", lambda values: values["model"].update(hidden_dims=[9])),
        "python_model",
        "does not fit",
    ),
    ("half of the graph", cut("saved_model.pb"), "serve_tag", "saved_model.pb is damaged"),
    ("the tag of training", set_tags("train"), "serve_tag", "0 of 1 graphs"),
    ("two graphs", repeat_graph, "serve_tag", "2 of 2 graphs"),
    (
        "an operation of another library",
        add_node(name="bad", op="Scann>ScannSearch"),
        "stock_operations",
        "Scann>ScannSearch",
    ),
    ("a function in Python", add_node(name="bad", op="EagerPyFunc"), "no_python", "EagerPyFunc"),
    ("a path", add_text("/home/me/items.tsv"), "no_absolute_paths", "/home/me/items.tsv"),
    (
        "a table named by its file",
        name_table(b"hash_table_/tmp/run/vocabulary.tsv_41_0_-1"),
        "no_absolute_paths",
        "/tmp/run/vocabulary.tsv",
    ),
    ("an asset by its path", name_asset("/run/ids.tsv"), "no_absolute_paths", "/run/ids.tsv"),
    ("an asset elsewhere", name_asset("../ids.tsv"), "assets", "../ids.tsv is not in"),
    ("an asset of another name", name_asset("ids.tsv"), "assets", "assets/ids.tsv, which"),
    ("no vocabulary", remove("assets/vocabulary.tsv"), "assets", "assets/vocabulary.tsv"),
    ("one example only", edit_signature("step", fix_batch), "signature_form", "its shape is [1]"),
    ("any rank", edit_signature("step", forget_rank), "signature_form", "no free batch dimension"),
    ("a classifier", edit_signature("step", set_method), "signature_form", "serving/classify"),
    (
        "an input named as an output",
        edit_signature("recommend", name_output_as_input),
        "signature_form",
        "session_items both as input and as output",
    ),
    (
        "no outputs",
        edit_signature("step", lambda signature: signature.outputs.clear()),
        "signature_form",
        "step has no inputs or no outputs",
    ),
    (
        "no default",
        edit_graph(lambda graph: graph.signature_def.pop("serving_default")),
        "signature_form",
        "no signature serving_default",
    ),
    (
        "a signature too few",
        edit_graph(lambda graph: graph.signature_def.pop("recommend_rows")),
        "signatures",
        "expected ['recommend'",
    ),
    ("a longer answer", edit_signature("recommend", widen_answer), "signatures", "[-1, 11]"),
    ("no warm-up", remove(WARMUP_PATH), "warmup", "there is no assets.extra"),
    ("half of the warm-up", cut(WARMUP_PATH), "warmup", "damaged"),
    ("another file as warm-up", write(WARMUP_PATH, "item 1 and item 2"), "warmup", "damaged"),
    ("warm-up of nothing", edit_requests(lambda good: []), "warmup", "0 requests"),
    ("1001 requests", edit_requests(lambda good: good[:1] * 1001), "warmup", "1001 requests"),
    ("too few requests", edit_requests(lambda good: good[:1]), "warmup", "no request for"),
    (
        "a request to another model",
        edit_requests(lambda good: [*good, Request("classify", {})]),
        "warmup",
        "no signature classify",
    ),
    (
        "a request to another signature",
        edit_requests(lambda good: [*good, Request("step", good[0].inputs)]),
        "warmup",
        "step takes",
    ),
    ("other weights", change_weights, "python_answers", "differ"),
    (
        "a vocabulary in another order",
        edit_vocabulary(lambda ids, counts: Vocabulary.build(ids[::-1], counts)),
        "python_answers",
        "differ",
    ),
    (
        "other ids",
        edit_vocabulary(lambda ids, counts: Vocabulary.build([f"{i}x" for i in ids], counts)),
        "python_answers",
        "",
    ),
    (
        "other counts",
        edit_vocabulary(lambda ids, counts: Vocabulary.build(ids, counts[::-1])),
        "empty_session",
        "differ",
    ),
]
OTHERS = [
    ("ssr", "no items", remove("assets.extra/catalogue/items.arrow"), "python_model", "items"),
    ("ssr", "older items", serve_older_items, "python_answers", ""),
    ("ssr", "no values", remove("assets/feature.Category.tsv"), "assets", "feature.Category.tsv"),
    ("dlrm", "no values", remove("assets/tags.tsv"), "assets", "assets/tags.tsv"),
    ("dlrm", "no features", remove("assets/features.json"), "python_model", "features.json"),
    ("dlrm", "half of the features", cut("assets/features.json"), "python_model", ""),
    ("dlrm", "no places of tables", remove("assets/tables.json"), "tables", "tables.json"),
    ("dlrm", "a table elsewhere", edit_json("assets/tables.json", move_table), "tables", "user"),
    (
        "dlrm",
        "a path among the columns",
        edit_json("assets/spec.json", lambda values: values.update(id="/home/me/ids.tsv")),
        "no_absolute_paths",
        "assets/spec.json names a path: /home/me/ids.tsv",
    ),
    (
        "dlrm",
        "no warm-up of a signature",
        edit_requests(lambda good: [each for each in good if each.signature != "predict_text"]),
        "warmup",
        "no request for predict_text",
    ),
]
CASES = [("gru4rec", *case) for case in GRU4REC] + OTHERS


@pytest.mark.parametrize(
    ("model", "damage", "rule", "words"),
    [(model, *case) for model, _, *case in CASES],
    ids=[f"{model}: {name}" for model, name, *_ in CASES],
)
def test_the_rule_for_a_damage_fails(good, tmp_path, model, damage, rule, words):
    path = shutil.copytree(good[model], tmp_path / good[model].name)
    moved = damage(path)
    failures = find_failures(moved if isinstance(moved, Path) else path)
    assert list(failures) == [rule], failures
    assert words in failures[rule]
