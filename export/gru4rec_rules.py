"""The rules for exports of GRU4Rec: its signatures, and answers as Python's and as promised."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrec_zoo.export.conformance import Export, Rule, require_signatures
from tfrec_zoo.export.restore import RestoredGRU4Rec
from tfrec_zoo.export.session_checks import (
    LENGTHS,
    UNKNOWN,
    Answer,
    draw_sessions,
    pad_sessions,
    recommend,
    require_batching_invariance,
    require_best,
    require_padding_invariance,
    require_same,
    take_answer,
)


class Reference:
    """The Python model's answers, click by click and by a full sort."""

    def __init__(self, restored: RestoredGRU4Rec, k: int) -> None:
        """Takes the model and the number of items in an answer."""
        self.model = restored.model
        self.vocabulary = restored.vocabulary
        self.k = k

    def score(self, session: Sequence[str]) -> np.ndarray:
        """Returns the scores [V + 1] of all rows after a session."""
        states = self.model.initial_state(1)
        rows = self.vocabulary.rows(np.array(session, dtype=object))
        for row in rows[rows > 0]:
            vector, states = self.model(tf.constant([row]), states)
        if rows.any():
            return self.model.score(vector)[0].numpy()
        counts = self.vocabulary.row_counts()
        return counts / max(counts.sum(), 1)

    def compare(
        self, sessions: Sequence[Sequence[str]], answer: Answer, excluded: Sequence[str] = ()
    ) -> None:
        """Raises an error unless the answer has the best items with their scores."""
        for session, items, scores in zip(sessions, *answer, strict=True):
            expected = self.score(session)
            expected[[0, *self.vocabulary.rows(np.array(excluded, dtype=object))]] = -np.inf
            require_best(self.vocabulary, expected, items, scores)


def check_signatures(export: Export) -> str:
    """The signatures have the inputs and outputs, types and shapes, of GRU4Rec."""
    text, number, row = "DT_STRING", "DT_FLOAT", "DT_INT32"
    k = export.config["export"]["k"]
    layers = list(enumerate(export.config["model"]["hidden_dims"]))
    answer = {"items": (text, [-1, k]), "scores": (number, [-1, k])}
    session = {"session_items": (text, [-1, -1])}
    recommend = (session, answer)
    expected = {
        "serving_default": recommend,
        "recommend": recommend,
        "recommend_excluding": ({**session, "exclude_items": (text, [-1, -1])}, answer),
        "step": (
            {"item": (text, [-1]), **{f"state_{i}": (number, [-1, h]) for i, h in layers}},
            {**answer, **{f"next_state_{i}": (number, [-1, h]) for i, h in layers}},
        ),
        "recommend_rows": (
            {"session_rows": (row, [-1, -1])},
            {"rows": (row, [-1, k]), "scores": (number, [-1, k])},
        ),
    }
    require_signatures(export, expected)
    return f"{len(expected)} signatures, k={k}"


def check_python_answers(export: Export) -> str:
    """`recommend` and `recommend_rows` answer as the Python model does."""
    reference = _reference(export)
    sessions = draw_sessions(reference.vocabulary, LENGTHS)
    reference.compare(sessions, recommend(export, sessions))
    rows = reference.vocabulary.rows(pad_sessions(sessions))
    answer = export.ask("recommend_rows", session_rows=rows)
    items = reference.vocabulary.raw_ids(answer["rows"])
    reference.compare(sessions, (items, answer["scores"]))
    source = "the run's checkpoint" if export.run_dir else "its own weights"
    return f"{2 * len(sessions)} sessions by {source}"


def check_steps(export: Export) -> str:
    """Clicks sent one by one to `step` are answered as the session sent to `recommend`."""
    reference = _reference(export)
    clicks = [*draw_sessions(reference.vocabulary, [6])[0], UNKNOWN, ""]
    widths = enumerate(export.config["model"]["hidden_dims"])
    states = {f"state_{layer}": np.zeros((1, width), np.float32) for layer, width in widths}
    for number, click in enumerate(clicks, start=1):
        answer = export.ask("step", item=np.array([click], dtype=object), **states)
        require_same(take_answer(answer), recommend(export, [clicks[:number]]), f"click {number}")
        states = {name: answer[f"next_{name}"] for name in states}
    return f"{len(clicks)} clicks"


def check_padding(export: Export) -> str:
    """Unknown items and "", at the end or anywhere, change no answer."""
    return require_padding_invariance(export, export.restored.vocabulary)


def check_batching(export: Export) -> str:
    """Requests are answered alike one by one and as a server computes them together."""
    return require_batching_invariance(export, export.restored.vocabulary)


def check_empty_session(export: Export) -> str:
    """A session without a known item gets the most popular items and their shares of clicks."""
    reference = _reference(export)
    for session in ([], [""], [UNKNOWN, ""]):
        reference.compare([session], recommend(export, [session]))
    return "without items, padding only, unknown only"


def check_exclusion(export: Export) -> str:
    """Excluded items never come back; where few are left the answer is shorter and padded."""
    reference = _reference(export)
    sessions = [*draw_sessions(reference.vocabulary, (3, 2)), []]
    k = reference.k
    best = recommend(export, sessions)[0]
    some = [*dict.fromkeys(best[:, : max(1, k // 2)].ravel()), UNKNOWN, ""]
    reference.compare(sessions, recommend(export, sessions, excluded=some), some)
    all_but_some = reference.vocabulary.ids[min(3, k - 1) :].tolist()
    answer = recommend(export, sessions, excluded=all_but_some)
    reference.compare(sessions, answer, all_but_some)
    return f"{len(some) - 2} and {len(all_but_some)} items excluded"


GRU4REC_RULES = (
    Rule.of(check_signatures, "python_model", "signature_form"),
    Rule.of(check_python_answers, "signatures"),
    Rule.of(check_steps, "signatures"),
    Rule.of(check_padding, "signatures"),
    Rule.of(check_batching, "signatures"),
    Rule.of(check_empty_session, "python_answers"),
    Rule.of(check_exclusion, "empty_session", "python_answers"),
)


def _reference(export: Export) -> Reference:
    return Reference(export.restored, export.config["export"]["k"])
