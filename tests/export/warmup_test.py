import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.export.warmup import (
    WARMUP_PATH,
    Request,
    read_warmup_requests,
    write_warmup_requests,
)

REQUESTS = [
    Request("recommend", {"session_items": np.array([["a", "é"], ["b", ""]], dtype=object)}),
    Request(
        "step", {"item": np.array(["a"], dtype=object), "state_0": np.ones((1, 3), np.float32)}
    ),
]


def test_what_is_written_is_read(tmp_path):
    write_warmup_requests(tmp_path, "news", REQUESTS)
    found = read_warmup_requests(tmp_path)
    assert [request.signature for request in found] == ["recommend", "step"]
    texts = found[0].inputs["session_items"]
    assert [[text.decode() for text in line] for line in texts] == [["a", "é"], ["b", ""]]
    assert found[1].inputs["state_0"].dtype == np.float32
    np.testing.assert_array_equal(found[1].inputs["state_0"], np.ones((1, 3)))


def test_the_servers_own_protos_read_it(tmp_path):
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    write_warmup_requests(tmp_path, "news", REQUESTS)
    records = [r.numpy() for r in tf.data.TFRecordDataset(str(tmp_path / WARMUP_PATH))]
    logs = [log_pb2.PredictionLog.FromString(record) for record in records]
    requests = [log.predict_log.request for log in logs]
    assert [r.model_spec.signature_name for r in requests] == ["recommend", "step"]
    assert {r.model_spec.name for r in requests} == {"news"}
    assert set(requests[1].inputs) == {"item", "state_0"}
    np.testing.assert_array_equal(tf.make_ndarray(requests[1].inputs["state_0"]), np.ones((1, 3)))


def test_requests_of_the_servers_protos_are_read(tmp_path):
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    log = log_pb2.PredictionLog()
    request = log.predict_log.request
    request.inputs["item"].CopyFrom(tf.make_tensor_proto([b"a"]))
    request.inputs["state_0"].CopyFrom(tf.make_tensor_proto([[1.0]]))
    log.log_metadata.sampling_config.sampling_rate = 1.0
    write_records(tmp_path, [log.SerializeToString()])
    (found,) = read_warmup_requests(tmp_path)
    assert (found.signature, sorted(found.inputs)) == ("serving_default", ["item", "state_0"])
    assert found.inputs["item"].tolist() == [b"a"]

    log.classify_log.request.model_spec.name = "a classifier"
    write_records(tmp_path, [log.SerializeToString()])
    with pytest.raises(ValueError, match="another log"):
        read_warmup_requests(tmp_path)


def write_records(version, records):
    path = version / WARMUP_PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def test_damage_is_told(tmp_path):
    with pytest.raises(ValueError, match="there is no assets.extra"):
        read_warmup_requests(tmp_path)
    write_records(tmp_path, [b"\xff\xff"])
    with pytest.raises(ValueError, match="no PredictionLog"):
        read_warmup_requests(tmp_path)
    write_warmup_requests(tmp_path, "news", REQUESTS)
    path = tmp_path / WARMUP_PATH
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="damaged"):
        read_warmup_requests(tmp_path)
