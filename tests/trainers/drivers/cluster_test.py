"""The description of a cluster: what is read from it, and what is wrong with others."""

import json
import socket

import pytest

from tfrec_zoo.distribution_config import DistributionConfig
from tfrec_zoo.trainers.drivers.cluster import Cluster, find_cluster

WORKERS = {"worker": ["a:1", "b:2"]}
SERVERS = {"chief": ["a:1"], "worker": ["b:2"], "ps": ["c:3", "d:4"]}


def describe(monkeypatch, tasks, kind="worker", index=0):
    value = {"cluster": tasks, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(value))


@pytest.mark.parametrize(
    ("tasks", "kind", "index", "is_chief", "is_server"),
    [
        (WORKERS, "worker", 0, True, False),
        (WORKERS, "worker", 1, False, False),
        ({"chief": ["c:3"], **WORKERS}, "worker", 0, False, False),
        ({"chief": ["c:3"], **WORKERS}, "chief", 0, True, False),
        (SERVERS, "chief", 0, True, False),
        (SERVERS, "worker", 0, False, True),
        (SERVERS, "ps", 1, False, True),
    ],
)
def test_who_writes_and_who_waits(monkeypatch, tasks, kind, index, is_chief, is_server):
    describe(monkeypatch, tasks, kind, index)
    strategy = "parameter_server" if "ps" in tasks else "multi_worker"
    cluster = find_cluster(DistributionConfig(strategy=strategy))
    assert (cluster.is_chief, cluster.is_server) == (is_chief, is_server)
    assert (cluster.task_type, cluster.task_index) == (kind, index)


@pytest.mark.parametrize("strategy", ["multi_worker", "parameter_server"])
def test_without_a_description_the_sentence_has_an_example(monkeypatch, strategy):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=f"strategy={strategy} needs a cluster") as caught:
        find_cluster(DistributionConfig(strategy=strategy))
    text = str(caught.value)
    assert json.loads(text[text.index("'") + 1 : text.rindex("'")])["cluster"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "TF_CONFIG is malformed"),
        ("[]", "TF_CONFIG is malformed"),
        ("{}", "'task'"),
        ('{"cluster": {"worker": ["a:1"]}}', "'task'"),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "a list"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "host:port"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "worker 1"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "no task ps 0"),
    ],
)
def test_a_malformed_description(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="expected such as") as caught:
        find_cluster(DistributionConfig(strategy="multi_worker"))
    assert words in str(caught.value)


def test_a_description_for_the_other_strategy(monkeypatch):
    describe(monkeypatch, SERVERS)
    with pytest.raises(ValueError, match="belong to strategy=parameter_server"):
        find_cluster(DistributionConfig(strategy="multi_worker"))
    describe(monkeypatch, WORKERS)
    with pytest.raises(ValueError, match="got no chief and no ps"):
        find_cluster(DistributionConfig(strategy="parameter_server"))


def test_tasks_where_nobody_listens_are_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard = f"127.0.0.1:{server.getsockname()[1]}"
        cluster = Cluster({"worker": [heard, "127.0.0.1:1"]}, "worker", 0)
        assert cluster.list_silent_tasks() == ["worker 1 (127.0.0.1:1)"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "mirror"}, "strategy must be one of"),
        ({"num_devices": 2}, "num_devices=2 belongs to strategy=mirrored"),
        ({"strategy": "mirrored", "num_devices": -1}, "num_devices must be at least 0"),
        ({"strategy": "parameter_server", "share_negatives": False}, "negatives of its own"),
        ({"max_shards": -1}, "max_shards must be at least 0"),
        ({"min_shard_bytes": 0}, "min_shard_bytes must be at least 1"),
        ({"cluster_timeout": 0.0}, "cluster_timeout must be at least 1"),
    ],
)
def test_options_without_a_meaning(options, words):
    with pytest.raises(ValueError, match=words):
        DistributionConfig(**options)
