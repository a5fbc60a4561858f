import ast
import json
import sys

import numpy as np
import pytest
from export_programs import call_program

from tfrec_zoo.export import check, latency
from tfrec_zoo.export.conformance import Export
from tfrec_zoo.export.latency import Latency, SignatureLatency, measure_latency
from tfrec_zoo.export.latency_worker import measure_calls
from tfrec_zoo.export.warmup import Request

SIGNATURES = ["recommend", "recommend_excluding", "recommend_rows", "serving_default", "step"]


@pytest.fixture(scope="module")
def measured(exported):
    return measure_latency(Export(exported), num_calls=5, seconds=0.01)


def test_every_signature_is_measured(measured):
    assert [each.signature for each in measured.signatures] == SIGNATURES
    for each in measured.signatures:
        assert each.num_calls.keys() == each.batches.keys() == {1, 64}
        assert min(each.num_calls.values()) >= 5
        for times in each.batches.values():
            assert 0 < times[50] <= times[90] <= times[99] < 1e4
    assert measured.load_seconds > 0
    # A first call makes the graph ready; warm-up requests have done so.
    first = measured.signatures[0]
    assert first.cold_ms > 3 * first.warm_ms
    assert measured.warm_up_seconds * 1e3 > first.cold_ms / 2


def test_it_is_told_as_json_and_as_a_table(measured):
    values = json.loads(json.dumps(measured.to_dict()))
    assert values.keys() == {"load_seconds", "warm_up_seconds", "signatures"}
    for each in values["signatures"]:
        assert each.keys() == {"signature", "first_call", "batch_1", "batch_64"}
        assert each["first_call"].keys() == {"cold_ms", "warm_ms"}
        assert each["batch_64"].keys() == {"calls", "p50_ms", "p90_ms", "p99_ms"}
    lines = measured.format().splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == SIGNATURES
    assert len({len(line) for line in lines[:-1]}) == 1


def test_percentiles_are_those_of_the_calls(monkeypatch, exported):
    times = np.random.default_rng(0).permutation(np.arange(1, 101) / 1e3).tolist()
    orders = []

    def run_worker(path, warm_up, requests, num_calls, seconds):
        orders.append((warm_up, requests, num_calls))
        first = 0.5 if not warm_up else 0.002
        answers = [{"first": first, "times": times} for _ in requests]
        return {"load": 1.5, "warm_up": 0.25, "requests": answers}

    monkeypatch.setattr(latency, "_run_worker", run_worker)
    found = measure_latency(Export(exported))
    assert (found.load_seconds, found.warm_up_seconds) == (1.5, 0.25)
    for each in found.signatures:
        assert (each.cold_ms, each.warm_ms) == pytest.approx((500, 2))
        assert each.num_calls == {1: 100, 64: 100}
        # Of 1 ms to 100 ms, between neighbours.
        assert each.batches[64] == pytest.approx({50: 50.5, 90: 90.1, 99: 99.01})
    (cold, requests, _), (warm, others, num_calls) = orders
    assert cold == [] and len(warm) == 10 and num_calls == 200
    assert {len(value) for request in requests for value in request.inputs.values()} == {1}
    sizes = [len(next(iter(request.inputs.values()))) for request in others]
    assert sizes == [1, 64] * 5


def test_requests_are_repeated_to_the_size_of_a_batch():
    small = Request("a", {"x": np.array([[9]])})
    large = Request("a", {"x": np.array([[1], [2], [3]]), "y": np.array([4, 5, 6])})
    found = latency._resize([small, large, Request("b", {"x": np.zeros(8)})], "a", 7)
    assert found.inputs["x"].tolist() == [[1], [2], [3], [1], [2], [3], [1]]
    assert found.inputs["y"].tolist() == [4, 5, 6, 4, 5, 6, 4]
    assert latency._resize([small, large], "a", 1).inputs["x"].tolist() == [[1]]


def test_the_worker_calls_often_enough():
    assert len(measure_calls(lambda: {}, {}, num_calls=7, seconds=0.0)) == 7
    assert len(measure_calls(lambda: {}, {}, num_calls=0, seconds=0.0)) == 0
    assert len(measure_calls(lambda: {}, {}, num_calls=1, seconds=0.05)) > 10


def test_the_worker_imports_tensorflow_and_nothing_else_that_is_installed():
    nodes = list(ast.walk(ast.parse(latency._WORKER.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    packages = {name.split(".")[0] for name in names}
    assert packages - sys.stdlib_module_names == {"tensorflow"}


def test_what_goes_wrong_in_the_worker_is_one_sentence(exported):
    request = Request("none", {})
    with pytest.raises(ValueError, match="cannot be measured: .*none"):
        latency._run_worker(exported, [], [request], 0, 0.0)


def test_the_program_prints_latencies_where_the_rules_hold(exported, monkeypatch, capsys):
    times = {1: {50: 1.0, 90: 2.0, 99: 3.0}, 64: {50: 4.0, 90: 5.0, 99: 6.0}}
    signature = SignatureLatency("recommend", 99.0, 7.0, times, {1: 10, 64: 10})
    monkeypatch.setattr(latency, "measure_latency", lambda _: Latency(0.5, 0.25, [signature]))

    def run(*arguments):
        code, printed = call_program(monkeypatch, capsys, check, exported, *arguments)
        assert code == 0
        return printed.out

    report = json.loads(run("--json", "--latency"))
    assert report["latency"]["signatures"][0]["batch_64"]["p99_ms"] == 6.0
    line = run("--latency").splitlines()[-2]
    assert line.split() == ["recommend", *"99.00 7.00 1.00 2.00 3.00 4.00 5.00 6.00".split()]
