"""What the rules for models of sessions share: sessions, and the comparison of answers.

Answers are compared by their scores within `_TOLERANCE`: kernels of other shapes add in another
order, and items that are so near to each other may change places.
"""

from collections.abc import Sequence

import numpy as np

from tfrec_zoo.export.conformance import Export, require, require_close
from tfrec_zoo.export.server_batches import merge_requests, split_answer
from tfrec_zoo.vocabulary import Vocabulary

UNKNOWN = "\x01unknown\x01"
LENGTHS = (1, 2, 3, 5, 8, 13)

_TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

Sessions = list[list[str]]
# Items [B, K] and their scores [B, K].
Answer = tuple[np.ndarray, np.ndarray]


def draw_sessions(vocabulary: Vocabulary, lengths: Sequence[int]) -> Sessions:
    """Returns random sessions of these lengths."""
    rng = np.random.default_rng(len(lengths))
    return [list(rng.choice(vocabulary.ids, length)) for length in lengths]


def pad_sessions(sessions: Sessions, padding: int = 0) -> np.ndarray:
    """Returns string [B, T], with `padding` columns more than the longest session needs."""
    length = max(map(len, sessions)) + padding
    items = np.full((len(sessions), length), "", dtype=object)
    for line, session in zip(items, sessions, strict=True):
        line[: len(session)] = session
    return items


def recommend(
    export: Export,
    sessions: Sessions,
    padding: int = 0,
    excluded: Sequence[str] | None = None,
    included: Sequence[str] | None = None,
) -> Answer:
    """Returns the answers to sessions; the same items are excluded, or included, for all."""
    inputs, signature = {"session_items": pad_sessions(sessions, padding)}, "recommend"
    if excluded is not None:
        inputs["exclude_items"], signature = _repeat(excluded, sessions), "recommend_excluding"
    if included is not None:
        inputs["include_items"], signature = _repeat(included, sessions), "recommend_including"
    return take_answer(export.ask(signature, **inputs))


def take_answer(answer: dict[str, np.ndarray]) -> Answer:
    """Returns what a signature has answered."""
    return np.vectorize(bytes.decode, otypes=[object])(answer["items"]), answer["scores"]


def require_best(
    vocabulary: Vocabulary, expected: np.ndarray, items: np.ndarray, scores: np.ndarray
) -> None:
    """Raises an error unless an answer has the best items, with their scores.

    Args:
        vocabulary: of the items.
        expected: [V + 1], the scores of all rows; -inf for those that must not be answered.
        items: object [K].
        scores: [K].
    """
    k = len(scores)
    best = np.sort(expected)[::-1][:k]
    best = np.append(best, np.full(k - len(best), -np.inf))
    require_near(scores, best, "the best scores")
    rows = vocabulary.rows(items.astype(object))
    require(len(set(rows[rows > 0])) == (scores > -np.inf).sum(), "an item is answered twice")
    require_near(scores, np.where(rows > 0, expected[rows], -np.inf), "the items' scores")


def require_same(answer: Answer, expected: Answer, when: str) -> None:
    """Raises an error unless items and scores are the same, but for ties."""
    require_near(answer[1], expected[1], f"the scores {when}")
    for items, scores, other_items, other_scores in zip(*answer, *expected, strict=True):
        known = dict(zip(other_items, other_scores, strict=True))
        # An item that only one of them has can only be one that ties for the last place.
        beside = np.array([known.get(item, other_scores[-1]) for item in items])
        require_near(scores, beside, f"the items {when}")


def require_near(values: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Raises an error unless numbers are the same but for rounding."""
    require_close(values, expected, what, **_TOLERANCE)


def require_padding_invariance(export: Export, vocabulary: Vocabulary) -> str:
    """Unknown items and "", at the end or anywhere, change no answer."""
    sessions = draw_sessions(vocabulary, (2, 4))
    plain = recommend(export, sessions)
    changed = [["", *session[:1], UNKNOWN, "", *session[1:]] for session in sessions]
    require_same(recommend(export, changed), plain, "with unknown items and gaps")
    require_same(recommend(export, sessions, padding=30), plain, "padded by 30")
    return "gaps, unknown items, padding by 30"


def require_batching_invariance(export: Export, vocabulary: Vocabulary) -> str:
    """Requests are answered alike one by one and as a server computes them together.

    TensorFlow Serving fills up the rows of a shorter request with the request's first element. No
    model can tell a click repeated so from one that was made, so what the requests here have in
    front is passed over: "", or row 0.
    """
    sessions = draw_sessions(vocabulary, LENGTHS)
    together = recommend(export, sessions)
    for number, session in enumerate(sessions):
        alone = tuple(part[number : number + 1] for part in together)
        require_same(recommend(export, [session]), alone, f"session {number} alone")
    # Of several lengths, with one and with more sessions each, and one without a click.
    groups = [sessions[:2], sessions[2:3], [[]], sessions[3:]]
    signatures = []
    for signature in export.signature_defs:
        requests = [_make_request(export, vocabulary, signature, group) for group in groups]
        if all(requests):
            _require_same_merged(export, signature, requests)
            signatures.append(signature)
    return f"{len(sessions)} sessions, {len(groups)} requests to {len(signatures)} signatures"


def _make_request(
    export: Export, vocabulary: Vocabulary, signature: str, sessions: Sessions
) -> dict[str, np.ndarray] | None:
    """Returns a request for sessions, a gap in front; None: the signature takes something else."""
    items = pad_sessions([["", *session] for session in sessions])
    rng = np.random.default_rng(items.shape)
    # As many others as there are clicks, so that these differ in number, too.
    others = pad_sessions([["", *rng.choice(vocabulary.ids, items.shape[1])] for _ in sessions])
    values = {
        "session_items": items,
        "session_rows": vocabulary.rows(items),
        "exclude_items": others,
        "include_items": others,
        "item": items[:, -1],
    }
    request = {}
    for name, tensor in export.signature_defs[signature].inputs.items():
        if name.startswith("state_"):
            width = tensor.tensor_shape.dim[1].size
            request[name] = rng.normal(0, 0.5, (len(items), width)).astype(np.float32)
        elif name in values:
            request[name] = values[name]
        else:
            return None
    return request


def _require_same_merged(
    export: Export, signature: str, requests: list[dict[str, np.ndarray]]
) -> None:
    """Raises an error unless requests are answered alike one by one and as one larger batch."""
    num_rows = 2 * sum(len(next(iter(request.values()))) for request in requests)
    merged = export.ask(signature, **merge_requests(requests, num_rows))
    for request, found in zip(requests, split_answer(merged, requests), strict=True):
        expected, when = export.ask(signature, **request), f"of {signature} batched by a server"
        for name in ("items", "rows"):
            if name in found:
                require_same(
                    (found.pop(name), found["scores"]), (expected[name], expected["scores"]), when
                )
        for name, values in found.items():
            require_near(values, expected[name], f"{name} {when}")


def _repeat(items: Sequence[str], sessions: Sessions) -> np.ndarray:
    return np.tile(np.array(items, dtype=object), (len(sessions), 1))
