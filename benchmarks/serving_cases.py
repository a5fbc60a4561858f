"""What the serving benchmark asks whom: the signatures of exports, their requests, their sides."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfrec_zoo.vocabulary import Vocabulary

BATCH_SIZES = (1, 64)
# Inputs whose columns are a session's clicks.
SESSION_INPUTS = ("session_items", "session_rows")
# What others are compared with: the zoo's SavedModel in the same runtime, or else in Python.
ZOO, ZOO_SESSION = "zoo tensorflow", "zoo session"

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Side:
    """One that answers: a folder or file, and what loads it.

    Attributes:
        name: in the table.
        consumer: key of `serving_worker.CONSUMERS`.
        path: see `serving_worker.Settings`.
        reference: name of the side that it is compared with.
        shapes: of the inputs by name, where these are fixed.
    """

    name: str
    consumer: str
    path: Path
    reference: str = ZOO
    shapes: dict[str, list[int]] = field(default_factory=dict)

    def answers(self, inputs: Inputs) -> bool:
        """Returns whether the shapes of a request fit."""
        return all(list(inputs[name].shape) == shape for name, shape in self.shapes.items())


@dataclass
class Case:
    """A signature of a model, with requests by name and the sides that answer them."""

    model: str
    signature: str
    requests: dict[str, Inputs]
    sides: list[Side]


def list_cases(versions: list[Path], peers: Path | None, clicks: list[int]) -> list[Case]:
    """Returns a case for each signature of the SavedModels among `versions`.

    Args:
        versions: folders of versions that `tfrec-export` has written, of any format. Those in other
            formats become sides of the SavedModel of the same program.
        peers: folder with `keras_gru` and `tfrs_brute_force`, beside GRU4Rec's.
        clicks: lengths of sessions.

    Raises:
        ValueError: there is no SavedModel among them.
    """
    saved = [path for path in versions if (path / "saved_model.pb").exists()]
    if not saved:
        raise ValueError(
            "--export has no SavedModel, from whose warm-up requests the questions come: "
            "pass one, too"
        )
    others = [path for path in versions if path not in saved]
    return [case for path in saved for case in _list_cases(path, others, peers, clicks)]


def _list_cases(path: Path, others: list[Path], peers: Path | None, clicks: list[int]):
    from tfrec_zoo.export.restore import find_program
    from tfrec_zoo.export.warmup import read_warmup_requests

    config = json.loads((path / "assets" / "config.json").read_text(encoding="utf-8"))
    program = find_program(config)
    largest: dict[str, Inputs] = {}
    for request in read_warmup_requests(path):
        known = largest.get(request.signature)
        if known is None or _count_values(request.inputs) > _count_values(known):
            largest[request.signature] = dict(request.inputs)
    largest.pop("serving_default", None)
    for signature, inputs in largest.items():
        sides = _list_tensorflow("zoo", path)
        for other in others:
            sides += _find_other_format(other, program, signature)
        if peers is not None and program == "gru4rec":
            name = {"recommend_rows": "keras_gru", "recommend": "tfrs_brute_force"}.get(signature)
            if name and (peers / name).exists():
                side = name.replace("_", " ")
                sides += _list_tensorflow(side, peers / name / "1")
                if (file := peers / name / f"{signature}.onnx").exists():
                    sides.append(Side(f"{side} onnx", "onnx", file))
        yield Case(program, signature, draw_requests(inputs, path, clicks), sides)


def _list_tensorflow(name: str, path: Path) -> list[Side]:
    references = {"tensorflow": ZOO, "session": ZOO_SESSION}
    return [Side(f"{name} {by}", by, path, reference) for by, reference in references.items()]


def _find_other_format(path: Path, program: str, signature: str) -> list[Side]:
    interface = json.loads((path / "interface.json").read_text(encoding="utf-8"))
    described = interface["signatures"].get(signature)
    if interface["model"] != program or described is None:
        return []
    shapes = {name: each["shape"] for name, each in described["inputs"].items()}
    consumer, name = interface["format"], f"zoo {interface['format']}"
    is_fixed = all(size is not None for shape in shapes.values() for size in shape)
    file = path / described["file"]
    return [Side(name, consumer, file, shapes=shapes if is_fixed else {})]


def draw_requests(inputs: Inputs, path: Path, clicks: list[int]) -> dict[str, Inputs]:
    """Returns requests of a signature by name: of each size, and of each number of clicks.

    Args:
        inputs: some request of it.
        path: of the version; sessions are drawn from its vocabulary, the rest are `inputs` over and
            over.
        clicks: lengths of sessions.
    """
    has_session = any(name in SESSION_INPUTS for name in inputs)
    requests = {}
    for size in BATCH_SIZES:
        repeated = {name: value[np.arange(size) % len(value)] for name, value in inputs.items()}
        if not has_session:
            requests[f"batch {size}"] = repeated
            continue
        ids = Vocabulary.load(path / "assets" / "vocabulary.tsv").ids
        for length in clicks:
            rows = np.random.default_rng(length).integers(1, len(ids) + 1, (size, length))
            sessions = {"session_items": ids[rows - 1], "session_rows": rows.astype(np.int32)}
            drawn = {name: sessions.get(name, value) for name, value in repeated.items()}
            requests[f"batch {size}, {length} clicks"] = drawn
    return requests


def _count_values(inputs: Inputs) -> int:
    return sum(value.size for value in inputs.values())
