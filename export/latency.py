"""How long an export takes to answer, measured in processes that know TensorFlow alone.

Two of them are started: one calls each signature once, cold, as a server without warm-up requests
would; the other replays these requests first, calls each signature once, and then often enough for
percentiles. The inputs are those of the warm-up requests, cut or repeated to the size of a batch.
TensorFlow has all its threads, and the time is that in Python: from tensors to arrays, without a
server's network and queues.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_zoo.export.conformance import Export
from tfrec_zoo.export.warmup import Request, read_warmup_requests

BATCH_SIZES = (1, 64)
PERCENTILES = (50, 90, 99)
_WORKER = Path(__file__).with_name("latency_worker.py")


@dataclass(frozen=True)
class SignatureLatency:
    """The times of a signature, in milliseconds.

    Attributes:
        signature: its name.
        cold_ms: of its first call without warm-up requests, with one row. The first signature of
            all pays for what they share, too.
        warm_ms: of the same call after the warm-up requests.
        batches: size of a batch -> percentile -> milliseconds, once warm.
        num_calls: size of a batch -> how many calls the percentiles are of.
    """

    signature: str
    cold_ms: float
    warm_ms: float
    batches: dict[int, dict[int, float]]
    num_calls: dict[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON values."""
        batches = {
            f"batch_{size}": {
                "calls": self.num_calls[size],
                **{f"p{percent}_ms": round(value, 3) for percent, value in percentiles.items()},
            }
            for size, percentiles in self.batches.items()
        }
        first = {"cold_ms": round(self.cold_ms, 3), "warm_ms": round(self.warm_ms, 3)}
        return {"signature": self.signature, "first_call": first, **batches}


@dataclass(frozen=True)
class Latency:
    """The times of an export: to load it and to warm it up, in seconds, and of its signatures."""

    load_seconds: float
    warm_up_seconds: float
    signatures: list[SignatureLatency]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {
            "load_seconds": round(self.load_seconds, 6),
            "warm_up_seconds": round(self.warm_up_seconds, 6),
            "signatures": [signature.to_dict() for signature in self.signatures],
        }

    def format(self) -> str:
        """Returns a table for people."""
        heads = [f"{size}: p{percent}" for size in BATCH_SIZES for percent in PERCENTILES]
        rows = [["milliseconds", "cold", "warm", *heads]]
        for signature in self.signatures:
            times = [value for each in signature.batches.values() for value in each.values()]
            times = [signature.cold_ms, signature.warm_ms, *times]
            rows.append([signature.signature, *(f"{value:.2f}" for value in times)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{name:{widths[0]}}  "
            + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
            for name, *cells in rows
        ]
        lines.append(
            f"loaded in {self.load_seconds:.2f} s, warmed up in {self.warm_up_seconds:.2f} s; cold "
            "and warm are first calls, the others percentiles with 1 and 64 rows"
        )
        return "\n".join(lines) + "\n"


def measure_latency(export: Export, num_calls: int = 200, seconds: float = 1.0) -> Latency:
    """Measures an export, in two processes.

    Args:
        export: it loads, and its warm-up requests reach every signature.
        num_calls: how many calls of a signature with a batch there are at least.
        seconds: for how long there are more.

    Raises:
        ValueError: TensorFlow fails in one of the processes.
    """
    warm_up = read_warmup_requests(export.path)
    signatures = list(export.signature_defs)
    batches = {
        (name, size): _resize(warm_up, name, size) for name in signatures for size in BATCH_SIZES
    }
    singles = [batches[name, BATCH_SIZES[0]] for name in signatures]
    cold = _run_worker(export.path, [], singles, 0, 0.0)
    warm = _run_worker(export.path, warm_up, list(batches.values()), num_calls, seconds)
    measured = dict(zip(batches, warm["requests"], strict=True))

    def summarize(name: str, first: dict[str, Any]) -> SignatureLatency:
        times = {size: 1e3 * np.array(measured[name, size]["times"]) for size in BATCH_SIZES}
        return SignatureLatency(
            name,
            1e3 * first["first"],
            1e3 * measured[name, BATCH_SIZES[0]]["first"],
            {
                size: {percent: float(np.percentile(each, percent)) for percent in PERCENTILES}
                for size, each in times.items()
            },
            {size: len(each) for size, each in times.items()},
        )

    firsts = zip(signatures, cold["requests"], strict=True)
    return Latency(warm["load"], warm["warm_up"], [summarize(*each) for each in firsts])


def _resize(requests: Sequence[Request], signature: str, size: int) -> Request:
    """Returns a request of `size` rows, those of the signature's largest one over and over."""
    found = [request.inputs for request in requests if request.signature == signature]
    inputs = max(found, key=lambda each: len(next(iter(each.values()))))
    return Request(
        signature, {name: value[np.arange(size) % len(value)] for name, value in inputs.items()}
    )


def _run_worker(
    path: Path,
    warm_up: Sequence[Request],
    requests: Sequence[Request],
    num_calls: int,
    seconds: float,
) -> dict[str, Any]:
    order = {
        "path": str(path.resolve()),
        "warm_up": [_encode(request) for request in warm_up],
        "requests": [_encode(request) for request in requests],
        "limits": {"num_calls": num_calls, "seconds": seconds},
    }
    run = subprocess.run(
        [sys.executable, "-c", _WORKER.read_text(encoding="utf-8")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        # No folder of modules, as the one that the check is started in may be.
        cwd=path,
        check=False,
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        raise ValueError(f"the latencies of {path} cannot be measured: {last}")
    return json.loads(run.stdout)


def _encode(request: Request) -> dict[str, Any]:
    inputs = {
        name: base64.b64encode(tf.make_tensor_proto(value).SerializeToString()).decode()
        for name, value in request.inputs.items()
    }
    return {"signature": request.signature, "inputs": inputs}
