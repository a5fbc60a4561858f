"""The rules for exports of DLRM: its signatures, and answers as Python's and as promised."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.export.click_inputs import list_number_columns, list_text_features
from tfrec_zoo.export.click_reference import UNKNOWN, Examples, Reference
from tfrec_zoo.export.conformance import Export, Rule, require, require_signatures
from tfrec_zoo.export.table_places import TABLES_NAME


def check_signatures(export: Export) -> str:
    """The signatures have the inputs and outputs, types and shapes, of DLRM."""
    schema = export.restored.schema
    num_columns, num_texts = len(list_number_columns(schema)), len(list_text_features(schema))
    sparse = {"sparse": ("DT_STRING", [-1, num_texts])}
    predict = {"dense": ("DT_FLOAT", [-1, num_columns]), **sparse}
    rows = {
        "dense_values": ("DT_FLOAT", [-1, schema.num_dense]),
        "rows": ("DT_INT32", [-1, schema.num_slots]),
    }
    if schema.needs_row_weights:
        rows["row_weights"] = ("DT_FLOAT", [-1, schema.num_slots])
    inputs = {
        "serving_default": predict,
        "predict": predict,
        "predict_text": {"dense_text": ("DT_STRING", [-1, num_columns]), **sparse},
        "predict_rows": rows,
    }
    answer = {"click_probability": ("DT_FLOAT", [-1])}
    expected = {
        name: ({key: tensor for key, tensor in tensors.items() if tensor[1][1]}, answer)
        for name, tensors in inputs.items()
    }
    require_signatures(export, expected)
    return f"{len(expected)} signatures, {num_columns} numbers, {num_texts} texts"


def check_python_answers(export: Export) -> str:
    """Raw values are answered as Python encodes and scores them."""
    reference = Reference(export)
    examples = reference.draw()
    expected = reference.score(reference.encode(examples))
    for signature in ("predict", "serving_default"):
        answers = reference.predict(examples, signature)
        reference.require_close(answers, expected, f"of {signature}")
    source = "the run's checkpoint" if export.run_dir else "its own weights"
    spread = f"{expected.min():.3g} to {expected.max():.3g}"
    return f"{len(expected)} examples by {source}, probabilities {spread}"


def check_rows(export: Export) -> str:
    """`predict_rows` answers the rows of raw values as `predict` does these; others are row 0."""
    reference = Reference(export)
    examples = reference.draw()
    rows = reference.encode(examples)
    answers = reference.predict_rows(rows)
    reference.require_close(answers, reference.predict(examples), "of rows and of raw values")
    unknown = reference.predict_rows(_replace_rows(rows, 0))
    for row in (-1, np.iinfo(np.int32).max):
        answers = reference.predict_rows(_replace_rows(rows, row))
        reference.require_close(answers, unknown, f"of row {row} and of row 0")
    return f"{rows.num_rows} examples, {rows.rows.shape[1]} slots"


def check_texts(export: Export) -> str:
    """`predict_text` answers numbers in texts as `predict` does numbers."""
    reference = Reference(export)
    if not reference.columns:
        return "there are no numbers"
    examples = reference.draw()
    texts = np.where(np.isnan(examples.dense), "", examples.dense.astype(str)).astype(object)
    answers = reference.ask("predict_text", dense_text=texts, sparse=examples.sparse)
    reference.require_close(answers, reference.predict(examples), "of texts and of numbers")
    return f"{texts.size} numbers"


def check_missing_values(export: Export) -> str:
    """An example of nothing is answered as Python's, and so is what is no finite number."""
    reference = Reference(export)
    examples = Examples(
        np.full((1, len(reference.columns)), np.nan, np.float32),
        np.full((1, len(reference.texts)), "", dtype=object),
        np.zeros((1, 0), np.float32),
    )
    expected = reference.score(reference.encode(examples))
    reference.require_close(reference.predict(examples), expected, "of missing values")
    for number in (np.inf, -np.inf):
        infinite = replace(examples, dense=np.full_like(examples.dense, number))
        reference.require_close(reference.predict(infinite), expected, f"of {number}")
    for text in ("", "NA", "1,5", "inf", "1e999"):
        texts = np.full(examples.dense.shape, text, dtype=object)
        answers = reference.ask("predict_text", dense_text=texts, sparse=examples.sparse)
        reference.require_close(answers, expected, f"of the number {text!r}")
    return f"probability {expected[0]:.3g}; infinite numbers, texts that are none"


def check_unknown_values(export: Export) -> str:
    """Unknown values of all features share row 0, whatever they are."""
    reference = Reference(export)
    examples = reference.draw()
    answers = []
    for number in range(2):
        unknown = np.full_like(examples.sparse, f"{UNKNOWN}{number}")
        is_hash = [feature.kind == "hash" for feature in reference.texts]
        # A hashed feature has no unknown values.
        sparse = np.where(is_hash, examples.sparse, unknown)
        changed = replace(examples, sparse=sparse)
        expected = reference.score(reference.encode(changed))
        answers.append(reference.predict(changed))
        reference.require_close(answers[-1], expected, "of unknown values")
    reference.require_close(answers[0], answers[1], "of two kinds of unknown values")
    return f"{len(reference.texts)} features"


def check_batching(export: Export) -> str:
    """An example is answered alike alone, in another order, and among others."""
    reference = Reference(export)
    examples = reference.draw()
    together = reference.predict(examples)
    places = np.random.default_rng(0).permutation(len(together))
    reference.require_close(
        reference.predict(examples.take(places)), together[places], "in another order"
    )
    for place in places[:8]:
        alone = reference.predict(examples.take([place]))
        reference.require_close(alone, together[[place]], f"of example {place} alone")
    padded = np.append(places[:5], places[[0, 0, 0]])
    reference.require_close(
        reference.predict(examples.take(padded)), together[padded], "padded by a server"
    )
    return f"{len(together)} examples"


def check_tables(export: Export) -> str:
    """`tables.json` finds the table of each feature among the variables."""
    path = export.path / "assets" / TABLES_NAME
    places = json.loads(path.read_text(encoding="utf-8"))
    tables = export.restored.model.tables
    parts = {part.name: table[part] for table in tables.tables for part in table.store.parts}
    require(set(places) == set(parts), f"it has {sorted(places)}, expected {sorted(parts)}")
    reader = tf.train.load_checkpoint(str(export.path / "variables" / "variables"))
    for name, place in places.items():
        rows = _read_rows(reader, place)
        require(
            np.array_equal(rows, parts[name].numpy()), f"the rows of {name} are not where it says"
        )
    return f"{len(places)} tables"


DLRM_RULES = (
    Rule.of(check_signatures, "python_model", "signature_form"),
    Rule.of(check_python_answers, "signatures"),
    Rule.of(check_rows, "signatures"),
    Rule.of(check_texts, "signatures"),
    Rule.of(check_missing_values, "signatures"),
    Rule.of(check_unknown_values, "signatures"),
    Rule.of(check_batching, "signatures"),
    Rule.of(check_tables, "python_model"),
)


def _read_rows(reader: Any, place: dict[str, Any]) -> np.ndarray:
    """Returns a table's rows, float32 [n, W], from where `tables.json` says that they are."""

    def read(part: str) -> np.ndarray:
        return reader.get_tensor(place[part])[place["first_row"] :][: place["rows"]]

    rows = read("variable").astype(np.float32)
    if "scales" in place:
        rows = rows * read("scales")[:, None]
    return np.column_stack([rows, read("exact")]) if "exact" in place else rows


def _replace_rows(rows: ClickRows, row: int) -> ClickRows:
    """Returns the examples with another row in every other slot."""
    changed = rows.rows.copy()
    changed[:, ::2] = row
    return ClickRows(rows.labels, rows.dense, changed, rows.row_weights)
