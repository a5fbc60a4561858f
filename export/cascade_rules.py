"""The rules for exports of cascades: their signatures, and answers as the two Python models'."""

from dataclasses import replace

import numpy as np

from tfrec_zoo.export.cascade_reference import CascadeReference
from tfrec_zoo.export.click_inputs import list_number_columns, list_text_features
from tfrec_zoo.export.conformance import Export, Rule, require, require_signatures
from tfrec_zoo.export.session_checks import LENGTHS, UNKNOWN, draw_sessions


def check_signatures(export: Export) -> str:
    """The signatures have the inputs and outputs, types and shapes, of a cascade."""
    reference = CascadeReference(export)
    text, number, schema = "DT_STRING", "DT_FLOAT", reference.request_schema
    features = {}
    if schema is not None:
        features["dense"] = (number, [-1, len(list_number_columns(schema))])
        features["sparse"] = (text, [-1, len(list_text_features(schema))])
    features = {name: tensor for name, tensor in features.items() if tensor[1][1]}
    features["session_items"] = (text, [-1, -1])
    shape = [-1, reference.k]
    answer = {
        "items": (text, shape),
        "scores": (number, shape),
        "retrieval_scores": (number, shape),
    }
    expected = {
        "serving_default": (features, answer),
        "recommend": (features, answer),
        "recommend_excluding": ({**features, "exclude_items": (text, [-1, -1])}, answer),
    }
    require_signatures(export, expected)
    return (
        f"{len(expected)} signatures, k={reference.k} of {reference.num_candidates} candidates, "
        f"{len(features) - 1} inputs of features"
    )


def check_item_features(export: Export) -> str:
    """The item's features inside are those of the retriever's rows: what a table has, by its id."""
    reference = CascadeReference(export)
    items, schema, num_rows = reference.items, reference.item_schema, reference.vocabulary.num_rows
    sizes = (len(items.rows), items.rows.shape[1], items.dense.shape[1])
    expected = (num_rows, schema.num_slots, schema.num_dense)
    require(sizes == expected, f"items, slots and numbers are {sizes}, expected {expected}")
    require(np.isfinite(items.dense).all(), "a number of an item is not finite")
    if items.row_weights is not None:
        weights = items.row_weights
        require((np.isfinite(weights) & (weights >= 0)).all(), "a weight is no weight")
    column = export.config["export"]["item_column"]
    for feature, slot in zip(schema.categorical, schema.slot_offsets, strict=False):
        rows = items.rows[:, slot : slot + feature.max_values]
        require(
            ((rows >= 0) & (rows < feature.num_rows)).all(),
            f"a row of {feature.name} is outside of its table of {feature.num_rows} rows",
        )
        is_id = feature.column == column and feature.kind == "vocabulary" and not feature.oov_rows
        if is_id and not feature.has_bag:
            known = reference.ranker.vocabularies[feature.name].rows(reference.vocabulary.ids)
            require((rows[1:, 0] == known).all(), f"a row of {feature.name} is another item's")
    names = [feature.name for feature in (*schema.dense, *schema.categorical)]
    return f"{', '.join(names)} of {num_rows - 1:,} items"


def check_python_answers(export: Export) -> str:
    """`recommend` answers as the two Python models do, one after the other."""
    reference = CascadeReference(export)
    sessions = draw_sessions(reference.vocabulary, LENGTHS)
    requests = reference.draw_requests(len(sessions))
    for signature in ("recommend", "serving_default"):
        answers = reference.ask(sessions, requests, signature=signature)
        reference.compare(sessions, requests, answers)
    scores = answers.scores[answers.scores > -np.inf]
    sources = [
        "the run's checkpoint" if run_dir else "its own weights"
        for run_dir in (export.run_dir, export.ranker_run_dir)
    ]
    return (
        f"{len(sessions)} sessions by {sources[0]}, ranked by {sources[1]}, "
        f"probabilities {scores.min():.3g} to {scores.max():.3g}"
    )


def check_padding(export: Export) -> str:
    """Unknown items and "", at the end or anywhere in a session, change no answer."""
    reference = CascadeReference(export)
    sessions = draw_sessions(reference.vocabulary, (2, 4))
    requests = reference.draw_requests(len(sessions))
    changed = [["", *session[:1], UNKNOWN, "", *session[1:], *[""] * 30] for session in sessions]
    reference.compare(sessions, requests, reference.ask(changed, requests))
    return "gaps, unknown items, padding by 30"


def check_batching(export: Export) -> str:
    """A request is answered alike alone and among others, in any order."""
    reference = CascadeReference(export)
    sessions = draw_sessions(reference.vocabulary, LENGTHS)
    requests = reference.draw_requests(len(sessions))
    for number, session in enumerate(sessions):
        alone = requests.take(np.array([number]))
        reference.compare([session], alone, reference.ask([session], alone))
    order = np.arange(len(sessions))[::-1]
    turned, turned_requests = [sessions[place] for place in order], requests.take(order)
    reference.compare(turned, turned_requests, reference.ask(turned, turned_requests))
    return f"{len(sessions)} requests"


def check_empty_session(export: Export) -> str:
    """A session without a known item gets the most popular items, ranked."""
    reference = CascadeReference(export)
    sessions = [[], [""], [UNKNOWN, ""]]
    requests = reference.draw_requests(len(sessions))
    reference.compare(sessions, requests, reference.ask(sessions, requests))
    return "without items, padding only, unknown only"


def check_exclusion(export: Export) -> str:
    """Excluded items are no candidates; where few are left the answer is shorter and padded."""
    reference = CascadeReference(export)
    sessions = [*draw_sessions(reference.vocabulary, (3, 2)), []]
    requests = reference.draw_requests(len(sessions))
    best = reference.ask(sessions, requests).items
    some = [*dict.fromkeys(best[:, : max(1, reference.k // 2)].ravel()), UNKNOWN, ""]
    all_but_some = reference.vocabulary.ids[min(3, reference.k - 1) :].tolist()
    for excluded in (some, all_but_some):
        answers = reference.ask(sessions, requests, excluded)
        reference.compare(sessions, requests, answers, excluded)
    return f"{len(some) - 2} and {len(all_but_some)} items excluded"


def check_unknown_values(export: Export) -> str:
    """A request with values that are missing or unknown is answered as Python answers it."""
    reference = CascadeReference(export)
    if reference.request_schema is None:
        return "a request has no features"
    sessions = draw_sessions(reference.vocabulary, (3, 3))
    requests = reference.draw_requests(len(sessions))
    nothing = replace(
        requests,
        dense=np.full_like(requests.dense, np.nan),
        sparse=np.full_like(requests.sparse, ""),
    )
    unknown = replace(
        requests,
        dense=np.full_like(requests.dense, np.nan),
        sparse=np.full_like(requests.sparse, UNKNOWN),
    )
    for changed in (nothing, unknown):
        reference.compare(sessions, changed, reference.ask(sessions, changed))
    infinite = replace(nothing, dense=np.full_like(requests.dense, np.inf))
    reference.compare(sessions, nothing, reference.ask(sessions, infinite))
    return f"{requests.dense.shape[1]} numbers, {requests.sparse.shape[1]} texts"


CASCADE_RULES = (
    Rule.of(check_signatures, "python_model", "signature_form"),
    Rule.of(check_item_features, "python_model"),
    Rule.of(check_python_answers, "item_features", "signatures"),
    Rule.of(check_padding, "signatures"),
    Rule.of(check_batching, "signatures"),
    Rule.of(check_empty_session, "python_answers"),
    Rule.of(check_exclusion, "empty_session", "python_answers"),
    Rule.of(check_unknown_values, "python_answers"),
)
