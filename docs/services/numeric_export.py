"""What the services without TensorFlow share: raw ids and values to rows, and rows back to ids.

Reads the files that `tfrec-export --format=onnx`, `tflite` or `openvino` writes beside the model.
Needs NumPy; a service of your own takes this file along.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

MISSING = "<missing>"

# Inputs by name to outputs by name.
Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def read_rows(path: Path) -> dict[str, int]:
    """Returns id -> row of a vocabulary's file, whose line number is the row; "" has row 0."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return {line.rpartition("\t")[0]: row for row, line in enumerate(lines)}


class NumericExport:
    """A version's folder.

    Attributes:
        path: of the folder.
        signatures: name -> file, inputs and outputs, as `interface.json` has them.
    """

    def __init__(self, path: str) -> None:
        """Reads what the folder has beside the model.

        Raises:
            OSError: it is no such folder.
        """
        self.path = Path(path)
        interface = json.loads((self.path / "interface.json").read_text(encoding="utf-8"))
        self.signatures = interface["signatures"]
        self._features = self._ids = None
        if interface["model"] == "dlrm":
            self._features = json.loads((self.path / "features.json").read_text(encoding="utf-8"))
            files = (self.path / "vocabularies").glob("*.tsv")
            self._vocabularies = {file.name.removesuffix(".tsv"): read_rows(file) for file in files}
        else:
            self._rows = read_rows(self.path / "vocabulary.tsv")
            self._ids = list(self._rows)

    def find(self, signature: str) -> Path:
        """Returns the file of a signature.

        Raises:
            ValueError: there is no such signature.
        """
        if signature not in self.signatures:
            raise ValueError(f"there is no signature {signature}, only {sorted(self.signatures)}")
        return self.path / self.signatures[signature]["file"]

    def ask(self, run: Run, signature: str, requests: list) -> dict[str, list]:
        """Returns the outputs for requests, as JSON has them, ids in place of rows.

        Args:
            run: the function of the signature.
            signature: its name.
            requests: sessions, each a list of ids, oldest click first; or examples of a DLRM, each
                an object of columns.

        Raises:
            ValueError: the requests are none.
        """
        if self._features is not None:
            return _to_json(run(self.encode_examples(requests)))
        rows = self.encode_sessions(requests)
        if signature == "step_rows":
            outputs = self._play(run, rows)
        else:
            outputs = run({"session_rows": rows})
        if "rows" in outputs:
            items = [[self._ids[row] for row in line] for line in outputs["rows"]]
            return {"items": items, **_to_json({"scores": outputs["scores"]})}
        return _to_json(outputs)

    def encode_sessions(self, sessions: list[list[str]]) -> np.ndarray:
        """Returns the rows of sessions, int32 [B, T]; 0 for unknown ids and in front.

        The last clicks stand at the end, from which those are taken that fit a fixed length.
        """
        if not sessions or not all(isinstance(session, list) for session in sessions):
            raise ValueError('expected sessions, as [["272660", "257291"], []]')
        rows = np.zeros((len(sessions), max(1, *map(len, sessions))), np.int32)
        for line, session in zip(rows, sessions, strict=True):
            line[len(line) - len(session) :] = [self._rows.get(str(item), 0) for item in session]
        return rows

    def _play(self, run: Run, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Plays sessions click by click; a service would keep each visitor's states."""
        shapes = self.signatures["step_rows"]["inputs"]
        states = {
            name: np.zeros((len(rows), described["shape"][1]), np.float32)
            for name, described in shapes.items()
            if name != "row"
        }
        for clicks in rows.T:  # row 0 leaves the states as they are
            outputs = run({"row": np.ascontiguousarray(clicks), **states})
            states = {name: outputs[f"next_{name}"] for name in states}
        return {name: outputs[name] for name in ("rows", "scores")}

    def encode_examples(self, examples: list[dict]) -> dict[str, np.ndarray]:
        """Returns the inputs of `predict_rows`, those that it has.

        An example has the value of each column: a number, a text, or None where it is missing,
        which may be left out, too; several texts are a list, or an object with their weights. Of a
        hashed feature it has the row, 1 + fingerprint64(text) % (num_rows - 1) of FarmHash.

        Raises:
            ValueError: a text stands where a row is needed.
        """
        if not examples or not all(isinstance(example, dict) for example in examples):
            raise ValueError('expected examples, as [{"I1": 3, "C1": "68fd1e64"}]')
        dense, categorical = self._features["dense"], self._features["categorical"]
        slots = [
            [slot for feature in categorical for slot in self._fill_slots(feature, example)]
            for example in examples
        ]
        inputs = {
            "dense_values": np.array(
                [[transform(feature, example) for feature in dense] for example in examples],
                np.float32,
            ),
            "rows": np.array([[row for row, _ in line] for line in slots], np.int32),
            "row_weights": np.array([[weight for _, weight in line] for line in slots], np.float32),
        }
        return {name: inputs[name] for name in self.signatures["predict_rows"]["inputs"]}

    def _fill_slots(self, feature: dict, example: dict) -> list[tuple[int, float]]:
        """Returns the rows of a feature and their weights, as many as it has slots."""
        value = example.get(feature["column"])
        if feature["kind"] == "buckets":
            number, edges = as_number(value), np.float32(feature["boundaries"])
            row = 0 if np.isnan(number) else 1 + int(np.searchsorted(edges, number, "right"))
            return [(row, 1.0)]
        values = [] if value is None else value if isinstance(value, list | dict) else [value]
        weights = values.values() if isinstance(values, dict) else [1.0] * len(values)
        pairs = [pair for pair in zip(values, weights, strict=True) if pair[0] != ""]
        has_bag = feature["max_values"] > 1 or feature["is_weighted"]
        if not has_bag and not pairs:
            pairs = [(MISSING, 1.0)]
        found = [(self._find_row(feature, text), float(weight)) for text, weight in pairs]
        found = found[: feature["max_values"]]
        total = sum(weight for _, weight in found)
        if has_bag and feature["pooling"] == "mean" and total:
            found = [(row, weight / total) for row, weight in found]
        return found + [(0, 0.0)] * (feature["max_values"] - len(found))

    def _find_row(self, feature: dict, value: str | int) -> int:
        if isinstance(value, int):
            return value
        row = self._vocabularies.get(feature["name"], {}).get(value, 0)
        if row == 0 and (feature["kind"] == "hash" or feature["oov_rows"]):
            raise ValueError(f"{feature['name']} is hashed: send its row in place of {value!r}")
        return row


def transform(feature: dict, example: dict) -> np.float32:
    """Returns what the model is fed for a number."""
    number = as_number(example.get(feature["column"]))
    if np.isnan(number):
        return np.float32(0)
    if feature["transform"].startswith("log"):
        number = np.log1p(max(number, np.float32(0)))
    if feature["transform"].endswith("standard"):
        number = (number - np.float32(feature["mean"])) / np.float32(feature["std"])
    return number


def as_number(value: float | None) -> np.float32:
    """Returns a number; NaN where it is missing or infinite."""
    number = np.float32(np.nan if value is None else value)
    return number if np.isfinite(number) else np.float32(np.nan)


def _to_json(outputs: dict[str, np.ndarray]) -> dict[str, list]:
    """Returns the numbers, None for the score of no item: -inf, or the least number."""
    least = np.finfo(np.float32).min
    return {
        name: np.where(values > least, values.astype(object), None).tolist()
        for name, values in outputs.items()
    }


def answer_command_line(load: Callable[[NumericExport, str], Run], description: str) -> None:
    """Answers the requests on the command line, once; the rest is what a runtime does.

    Args:
        load: returns the function of an export's signature.
        description: of the program.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("export", help="a version's folder")
    parser.add_argument("requests", help='in JSON: sessions [["272660"]] or examples [{"I1": 3}]')
    parser.add_argument("--signature", help="recommend_rows or predict_rows, if none is given")
    arguments = parser.parse_args()
    try:
        export = NumericExport(arguments.export)
        signature = arguments.signature or next(iter(export.signatures))
        requests = json.loads(arguments.requests)
        print(json.dumps(export.ask(load(export, signature), signature, requests)))
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
