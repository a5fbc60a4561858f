"""The rules for exports of SSR: its signatures, and answers as Python's and as promised."""

from collections.abc import Sequence

import numpy as np

from tfrec_zoo.export.click_inputs import list_number_columns, list_text_features
from tfrec_zoo.export.conformance import Export, Rule, require_signatures
from tfrec_zoo.export.session_checks import (
    LENGTHS,
    UNKNOWN,
    Answer,
    Sessions,
    draw_sessions,
    pad_sessions,
    recommend,
    require_batching_invariance,
    require_best,
    require_near,
    require_padding_invariance,
)
from tfrec_zoo.export.ssr_module import list_offset_inputs
from tfrec_zoo.export.ssr_reference import ItemReference, SessionReference


def check_signatures(export: Export) -> str:
    """The signatures have the inputs and outputs, types and shapes, of SSR."""
    text, number, row = "DT_STRING", "DT_FLOAT", "DT_INT32"
    k, schema = export.config["export"]["k"], export.restored.catalogue.schema
    model = export.restored.model
    width = model.config.vector_dim + model.has_offsets
    answer = {"items": (text, [-1, k]), "scores": (number, [-1, k])}
    session = {"session_items": (text, [-1, -1])}
    content = {
        "dense": (number, [-1, len(list_number_columns(schema))]),
        "sparse": (text, [-1, len(list_text_features(schema))]),
        "vectors": (number, [-1, schema.num_dense - len(schema.dense)]),
    }
    content = {name: tensor for name, tensor in content.items() if tensor[1][1]}
    for name in list_offset_inputs(model.config):
        content[name] = (number, [-1])
    expected = {
        "serving_default": (session, answer),
        "recommend": (session, answer),
        "recommend_excluding": ({**session, "exclude_items": (text, [-1, -1])}, answer),
        "recommend_including": ({**session, "include_items": (text, [-1, -1])}, answer),
        "recommend_rows": (
            {"session_rows": (row, [-1, -1])},
            {"rows": (row, [-1, k]), "scores": (number, [-1, k])},
        ),
        "embed_session": (session, {"session_vector": (number, [-1, width])}),
        "embed_items": (content, {"item_vector": (number, [-1, width])}),
    }
    require_signatures(export, expected)
    return f"{len(expected)} signatures, k={k}, vectors of {width}"


def check_python_answers(export: Export) -> str:
    """`recommend` and `recommend_rows` answer as the Python model and a full sort do."""
    reference = SessionReference(export)
    sessions = draw_sessions(reference.vocabulary, LENGTHS)
    _compare(reference, sessions, recommend(export, sessions))
    rows = reference.vocabulary.rows(pad_sessions(sessions))
    answer = export.ask("recommend_rows", session_rows=rows)
    items = reference.vocabulary.raw_ids(answer["rows"])
    _compare(reference, sessions, (items, answer["scores"]))
    source = "the run's checkpoint" if export.run_dir else "its own weights"
    return f"{2 * len(sessions)} sessions, {reference.vocabulary.num_items:,} items by {source}"


def check_session_vectors(export: Export) -> str:
    """`embed_session` gives the vectors of the Python model."""
    reference = SessionReference(export)
    sessions = [*draw_sessions(reference.vocabulary, LENGTHS), []]
    found = export.ask("embed_session", session_items=pad_sessions(sessions))["session_vector"]
    expected = np.stack([reference.embed(session) for session in sessions])
    require_near(found, expected, "the sessions' vectors")
    return f"{len(sessions)} sessions"


def check_item_vectors(export: Export) -> str:
    """`embed_items` gives the vectors that Python encodes and computes, of any content."""
    reference = ItemReference(export)
    inputs = reference.draw()
    found = export.ask("embed_items", **inputs)["item_vector"]
    require_near(found, reference.embed(), "the items' vectors")
    return f"{len(found)} items, spread {np.ptp(found, axis=0).max():.3g}"


def check_padding(export: Export) -> str:
    """Unknown items and "", at the end or anywhere, change no answer."""
    return require_padding_invariance(export, export.restored.catalogue.vocabulary)


def check_batching(export: Export) -> str:
    """Requests are answered alike one by one and as a server computes them together."""
    return require_batching_invariance(export, export.restored.catalogue.vocabulary)


def check_empty_session(export: Export) -> str:
    """A session without a known item gets the most popular items and their shares of clicks."""
    reference = SessionReference(export)
    for session in ([], [""], [UNKNOWN, ""]):
        _compare(reference, [session], recommend(export, [session]))
    return "without items, padding only, unknown only"


def check_exclusion(export: Export) -> str:
    """Excluded items never come back; where few are left the answer is shorter and padded."""
    reference = SessionReference(export)
    sessions = [*draw_sessions(reference.vocabulary, (3, 2)), []]
    best = recommend(export, sessions)[0]
    some = [*dict.fromkeys(best[:, : max(1, reference.k // 2)].ravel()), UNKNOWN, ""]
    answer = recommend(export, sessions, excluded=some)
    _compare(reference, sessions, answer, excluded=some)
    all_but_some = reference.vocabulary.ids[min(3, reference.k - 1) :].tolist()
    answer = recommend(export, sessions, excluded=all_but_some)
    _compare(reference, sessions, answer, excluded=all_but_some)
    return f"{len(some) - 2} and {len(all_but_some)} items excluded"


def check_inclusion(export: Export) -> str:
    """Where a request names the items to be answered there are no others, in whatever order."""
    reference = SessionReference(export)
    sessions = [*draw_sessions(reference.vocabulary, (3, 2)), []]
    ids = reference.vocabulary.ids
    some = [*ids[-3:][::-1], UNKNOWN, "", ids[0], ids[-1]]
    answer = recommend(export, sessions, included=some)
    _compare(reference, sessions, answer, included=some)
    answer = recommend(export, sessions, included=[""])
    _compare(reference, sessions, answer, included=[""])
    return f"{len(set(some)) - 2} items and none included"


SSR_RULES = (
    Rule.of(check_signatures, "python_model", "signature_form"),
    Rule.of(check_python_answers, "signatures"),
    Rule.of(check_session_vectors, "signatures"),
    Rule.of(check_item_vectors, "signatures"),
    Rule.of(check_padding, "signatures"),
    Rule.of(check_batching, "signatures"),
    Rule.of(check_empty_session, "python_answers"),
    Rule.of(check_exclusion, "empty_session", "python_answers"),
    Rule.of(check_inclusion, "empty_session", "python_answers"),
)


def _compare(
    reference: SessionReference,
    sessions: Sessions,
    answer: Answer,
    excluded: Sequence[str] = (),
    included: Sequence[str] | None = None,
) -> None:
    """Raises an error unless the answer has the best items with their scores."""
    for session, items, scores in zip(sessions, *answer, strict=True):
        expected = reference.score(session, excluded, included)
        require_best(reference.vocabulary, expected, items, scores)
