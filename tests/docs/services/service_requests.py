"""What every service is asked, and how its answers are compared with Python's.

An input is a list of rows of any lengths, as services take them; None is a missing value.
"""

import numpy as np
import tensorflow as tf

SESSIONS = [["item-3", "é/ü 1"], ["item-7", "unknown", "item-1", "item-28"], [], ["unknown"]]
NEWS = [["N1", "N2"], ["N3", "unknown", "N30", "N4", "N5"], [], ["unknown"]]
CLICKS = {
    "dense": [[1.5, None, 0.25], [None, -2, 7]],
    "sparse": [
        ["u3", "red:2|green", "d", "on up", "Drama|War", "x,y", "p;q", "v2"],
        ["é/ü 1", "", "", "never seen", "", "", "", ""],
    ],
}
# Name -> model, signature and inputs.
REQUESTS = {
    "gru4rec": ("gru4rec", "recommend", {"session_items": SESSIONS}),
    "gru4rec excluding": (
        "gru4rec",
        "recommend_excluding",
        {
            "session_items": SESSIONS,
            "exclude_items": [["item-20"], [], ["item-28", "item-27", "x"], ["item-9"]],
        },
    ),
    "gru4rec step": (
        "gru4rec",
        "step",
        {
            "item": ["item-3", "unknown"],
            "state_0": [[0.5, -0.25, 0, 0, 1, 0.125], [0] * 6],
            "state_1": [[0.1, 0.2, 0.3, 0.4], [0] * 4],
        },
    ),
    "gru4rec rows": ("gru4rec", "recommend_rows", {"session_rows": [[3, 1], [], [29]]}),
    "ssr": ("ssr", "recommend", {"session_items": NEWS}),
    "ssr including": (
        "ssr",
        "recommend_including",
        {"session_items": NEWS, "include_items": [["N7", "N8", "N9"], ["N1"], ["x"], []]},
    ),
    "ssr vectors": ("ssr", "embed_session", {"session_items": NEWS}),
    "dlrm": ("dlrm", "predict", CLICKS),
    "dlrm texts": (
        "dlrm",
        "predict_text",
        {"dense_text": [["1.5", "", "0.25"], ["", "-2", "7"]], "sparse": CLICKS["sparse"]},
    ),
    "cascade": (
        "cascade",
        "recommend_excluding",
        {
            "session_items": SESSIONS,
            "exclude_items": [["item-20"], [], ["item-28", "x"], []],
            "dense": [[0.5], [None], [-3], [2]],
            "sparse": [
                ["u3", "on up", "x,y", "p;q", "v2"],
                ["", "", "", "", ""],
                ["é/ü 1", "never seen", "", "", "v1"],
                ["u1", "off", "y", "", ""],
            ],
        },
    ),
}


def make_tensor(rows: list, spec: tf.TensorSpec) -> tf.Tensor:
    """Returns the rows, filled up with what is missing."""
    missing = {tf.string: "", tf.float32: np.nan, tf.int32: 0}[spec.dtype]
    if spec.shape.rank == 2:
        width = max(map(len, rows))
        rows = [[*row, *[None] * (width - len(row))] for row in rows]
        rows = [[missing if value is None else value for value in row] for row in rows]
    return tf.constant(rows, spec.dtype)


def require_answer(found: dict, expected: dict[str, np.ndarray], tolerance: float = 1e-5) -> None:
    """Requires Python's answer of one in JSON, whose numbers may be null where they are -inf."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if array.dtype == object:
            assert found[name] == np.vectorize(bytes.decode, otypes=[object])(array).tolist()
            continue
        numbers = np.array(found[name], np.float64)
        numbers[np.isnan(numbers)] = -np.inf
        assert numbers.shape == array.shape
        np.testing.assert_allclose(numbers, array, rtol=tolerance, atol=tolerance / 10)
