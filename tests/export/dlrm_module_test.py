import click_models
import numpy as np
import pytest
import tensorflow as tf
from click_models import Encoder, make_restored

from tfrec_zoo.export.dlrm_module import DLRMModule

NETWORKS = {
    "dot": {},
    "split": {"qr_threshold": 5, "first_order": True, "weighted_pooling": True},
    "concat": {"qr_threshold": 4, "qr_operation": "concat", "self_interaction": True},
    "own widths": {"table_dims": ("user:2", "tags:8", "C.1:2"), "interaction": "cross"},
    "no numbers": {"dense": (), "names": ("user", "words", "device", "first")},
    "one value each": {"names": ("user", "age", "device", "C.1"), "interaction": "cat"},
    "buckets alone": {"names": ("age", "price")},
    "no dense features": {"dense": (), "names": ("price", "user")},
    "log alone": {"dense": click_models.DENSE[:1], "names": ("C.1",)},
}


class Served:
    """The signatures of a model, and the module that they need and keep no reference to."""

    def __init__(self, restored, folder):
        self.restored, self.encoder = restored, Encoder(restored)
        self.module = DLRMModule(restored.model, restored.vocabularies, folder)
        self.signatures = self.module.trace_signatures()

    def ask(self, signature, **inputs):
        (answer,) = self.signatures[signature](
            **{name: tf.constant(value) for name, value in inputs.items()}
        ).values()
        return answer.numpy()

    def predict(self, *examples):
        return self.ask("predict", **self.encoder.to_inputs(list(examples)))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return Served(make_restored(), tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize("network", NETWORKS)
def test_all_signatures_answer_as_python(network, tmp_path):
    served = Served(make_restored(**NETWORKS[network]), tmp_path)
    encoder = served.encoder
    examples = encoder.draw(200)
    expected = encoder.score(examples)
    assert np.ptp(expected) > 0.05
    inputs = encoder.to_inputs(examples)
    np.testing.assert_allclose(served.ask("predict", **inputs), expected, rtol=1e-5)
    np.testing.assert_allclose(served.ask("serving_default", **inputs), expected, rtol=1e-5)
    if "dense" in inputs:
        dense = inputs.pop("dense")
        inputs["dense_text"] = np.where(np.isnan(dense), "", dense.astype(str)).astype(object)
    np.testing.assert_allclose(served.ask("predict_text", **inputs), expected, rtol=1e-5)
    dense, rows, weights = encoder.encode(examples)
    inputs = {"rows": rows}
    if encoder.schema.dense:
        inputs["dense_values"] = dense
    if encoder.schema.needs_row_weights:
        inputs["row_weights"] = weights
    np.testing.assert_allclose(served.ask("predict_rows", **inputs), expected, rtol=1e-5)


def test_inputs_by_name_type_and_width(served, tmp_path):
    def describe(served):
        return {
            name: {
                tensor.op.name: (tensor.dtype.name, tensor.shape[1])
                for tensor in function.inputs
                if tensor.shape.rank == 2  # the others are captured
            }
            for name, function in served.signatures.items()
        }

    everything = {"dense": ("float32", 3), "sparse": ("string", 8)}
    assert describe(served) == {
        "serving_default": everything,
        "predict": everything,
        "predict_text": {"dense_text": ("string", 3), "sparse": ("string", 8)},
        "predict_rows": {
            "dense_values": ("float32", 4),
            "rows": ("int32", 17),
            "row_weights": ("float32", 17),
        },
    }
    answers = served.signatures["predict"].structured_outputs
    assert {name: tensor.shape.rank for name, tensor in answers.items()} == {"click_probability": 1}
    bare = Served(make_restored(**NETWORKS["buckets alone"], dense=()), tmp_path)
    assert describe(bare)["predict"] == {"dense": ("float32", 2)}
    assert describe(bare)["predict_rows"] == {"rows": ("int32", 2)}


def test_numbers_in_the_documented_order(served):
    assert served.encoder.columns == ["a", "b", "price"]
    dense = np.full((4, 3), np.nan, np.float32)
    dense[[1, 2, 3], [0, 1, 2]] = 5
    sparse = np.full((4, 8), "", dtype=object)
    expected = served.encoder.score([{}, {"a": 5.0}, {"b": 5.0}, {"price": 5.0}])
    assert len(set(expected.round(6))) == 4
    np.testing.assert_allclose(
        served.ask("predict", dense=dense, sparse=sparse), expected, rtol=1e-5
    )


@pytest.mark.parametrize("number", [-1.0, 0.5, 2.0, 0.1, np.nextafter(np.float32(2), 0)])
def test_edges_of_buckets(served, number):
    examples = [{"b": number}, {"price": number}]
    np.testing.assert_allclose(served.predict(*examples), served.encoder.score(examples), rtol=1e-5)


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_what_is_no_finite_number_is_missing(served, number):
    example = {"a": number, "b": number, "price": number, "user": "u1"}
    np.testing.assert_array_equal(served.predict(example), served.predict({"user": "u1"}))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[(text, float(text)) for text in ("5", " 7 ", "+2", "-3.5", ".5", "5.", "1e2", "1E-2")],
        *[(text, None) for text in ("", " ", "NA", "1,5", "0x10", "1_0", "--1", "1e", "e1", "٣")],
        *[(text, None) for text in ("nan", "inf", "-Infinity", "1e999", "\\N", "null", "5 6")],
    ],
)
def test_numbers_in_texts(served, text, number):
    found = served.ask(
        "predict_text",
        dense_text=np.array([[text] * 3], dtype=object),
        sparse=np.full((1, 8), "", dtype=object),
    )
    expected = served.encoder.score([dict.fromkeys("ab", number) | {"price": number}])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("red|green", "red:1|green:1"),
        ("||red||green|", "red|green"),
        ("red|green|blue|red:9", "red|green|blue"),
        ("nothing:2|red|green", "nothing known:2|red|green"),
        # The weight is what follows the last separator.
        ("a:b:3", "a:b:1"),
        ("red:2|green:2", "red|green"),
        (":5|red", "red"),
        # What is no weight weighs nothing.
        ("red:heavy|green", "red:0|green"),
        ("red:|green", "red:0|green"),
        ("red:-1|green:inf", "red:0|green:0"),
        ("red:nan", "blue:0"),
    ],
)
def test_several_values_with_weights(served, text, same):
    found, expected = (served.predict({"tags": tags}) for tags in (text, same))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(found - served.predict({"tags": "blue:3|green"})) > 1e-4


def test_values_that_are_not_utf_8_are_unknown(served):
    sparse = np.full((2, 8), b"", dtype=object)
    sparse[0], sparse[1] = b"\xff\xfe:2", b"unknown:2"
    # The hashed features have no unknown values.
    sparse[:, [2, 6]] = b""
    dense = np.zeros((2, 3), np.float32)
    first, second = served.ask("predict", dense=dense, sparse=sparse)
    assert first == pytest.approx(second, rel=1e-5)


def test_missing_is_not_unknown(served):
    answers = served.predict({}, {"user": "never seen"}, {"user": "<missing>"})
    assert answers[0] == answers[2] and abs(answers[0] - answers[1]) > 1e-4


def test_rows_outside_of_a_table_are_row_0(served):
    dense, rows, weights = served.encoder.encode(served.encoder.draw(20))
    inputs = {"dense_values": dense, "row_weights": np.ones_like(weights)}
    limits = [f.num_rows for f in served.encoder.schema.categorical for _ in range(f.max_values)]
    for slot, limit in enumerate(limits):
        zero = rows.copy()
        zero[:, slot] = 0
        expected = served.ask("predict_rows", rows=zero, **inputs)
        for row in (-1, limit, 2**31 - 1):
            changed = rows.copy()
            changed[:, slot] = row
            np.testing.assert_array_equal(
                served.ask("predict_rows", rows=changed, **inputs), expected
            )


def test_an_empty_batch_has_an_empty_answer(served):
    dense, rows, weights = served.encoder.encode([])
    sparse = np.zeros((0, 8), dtype=object)
    found = served.signatures["predict"](
        dense=tf.zeros([0, 3]), sparse=tf.constant(sparse, tf.string)
    )
    assert found["click_probability"].shape == [0]


def test_mixed_precision_is_kept(tmp_path):
    served = Served(make_restored(precision="mixed_bfloat16"), tmp_path)
    examples = served.encoder.draw(50)
    exact = Encoder(make_restored()).score(examples)
    expected = served.encoder.score(examples)
    assert np.abs(expected - exact).max() > 1e-4
    np.testing.assert_allclose(served.predict(*examples), expected, atol=5e-3)
