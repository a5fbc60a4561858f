"""Small DLRMs with random weights over features of every kind, and what they are fed, by loops."""

import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.clicks.click_schema import (
    MISSING,
    CategoricalFeature,
    ClickSchema,
    DenseFeature,
)
from tfrec_zoo.data.clicks.farm_hash import fingerprint64
from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.export.restore import RestoredDLRM
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.dlrm_config import DLRMConfig
from tfrec_zoo.run_folder import RunFolder, write_json
from tfrec_zoo.vocabulary import Vocabulary

NETWORK = {"embedding_dim": 4, "bottom_mlp": (6, 4), "top_mlp": (8, 1)}
VOCABULARIES = {
    "user": ["u3", MISSING, "é/ü 1", "u1", "NA"],
    "tags": ["red", "green", "a:b", "blue"],
    "words": ["on", "off", "up"],
    "genres": ["Drama", "Comedy", "War", "Film-Noir"],
    "first": ["x", "y"],
    "C.1": ["v1", "v2", "v3", "v4", "v5", "v6"],
}
DENSE = (
    DenseFeature("a", "a", "log"),
    DenseFeature("b", "b", "standard", mean=2.0, std=3.0),
    DenseFeature("a_raw", "a", "none"),
    DenseFeature("a_scaled", "a", "log_standard", mean=1.5, std=0.5),
)
# In the order of slots, with the numbers between the texts.
KINDS = {
    "user": {},
    "tags": {
        "max_values": 3,
        "pooling": "mean",
        "is_weighted": True,
        "separator": "|",
        "weight_separator": ":",
    },
    "age": {"kind": "buckets", "column": "b", "boundaries": (-1.0, 0.5, 2.0)},
    "device": {"kind": "hash", "num_rows": 7},
    "words": {"max_values": 2, "separator": " "},
    "genres": {"max_values": 4, "pooling": "mean"},
    "first": {"separator": ","},
    "urls": {"kind": "hash", "num_rows": 9, "max_values": 2, "separator": ";"},
    "price": {"kind": "buckets", "boundaries": (0.1,)},
    "C.1": {},
}
EVERY_KIND = tuple(KINDS)
# Of the log that they would have been trained on, as far as anybody asks.
SPEC = {"label": {"column": "click"}, "categorical": [{"name": "user"}]}


def make_feature(name: str) -> CategoricalFeature:
    """Returns one of the features in `KINDS`."""
    options = {"column": name, **KINDS[name]}
    size = len(VOCABULARIES.get(name, ())) + 1
    if options.get("kind") == "buckets":
        size = len(options["boundaries"]) + 2
    return CategoricalFeature(**{"name": name, "num_rows": size, **options})


def make_restored(names=EVERY_KIND, dense=DENSE, seed: int = 0, **network) -> RestoredDLRM:
    """Returns a model over some of the features, with random weights."""
    schema = ClickSchema(dense, tuple(map(make_feature, names)))
    vocabularies = {
        name: Vocabulary(VOCABULARIES[name], np.arange(len(VOCABULARIES[name]), 0, -1))
        for name in names
        if name in VOCABULARIES
    }
    experiment = DLRMExperiment(model=DLRMConfig(**{**NETWORK, **network}))
    model = DLRM(experiment.model, schema)
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    for table in model.tables.tables:
        table.variable[0].assign(tf.zeros_like(table.variable[0]))
    return RestoredDLRM(model, schema, vocabularies, experiment, spec=SPEC)


def write_run(path: Path, restored: RestoredDLRM) -> RunFolder:
    """Writes what a trainer leaves, with one checkpoint, `checkpoints/last/ckpt-3`."""
    folder = RunFolder(path)
    folder.vocabularies_path.mkdir(parents=True)
    folder.write_config(restored.experiment)
    restored.schema.save(folder.features_path)
    write_json(folder.spec_path, restored.spec)
    for name, vocabulary in restored.vocabularies.items():
        vocabulary.save(folder.vocabularies_path / f"{name}.tsv")
    folder.write_metrics({"auc": 0.75})
    save_weights(folder, restored, "last")
    return folder


def save_weights(folder: RunFolder, restored: RestoredDLRM, name: str) -> None:
    """Saves a checkpoint that has a slot beside the weights, as one of training has."""
    checkpoint = tf.train.Checkpoint(model=restored.model, slot=tf.Variable([1.0]))
    directory = str(folder.checkpoints_path / name)
    tf.train.CheckpointManager(checkpoint, directory, 1).save(checkpoint_number=3)


class Encoder:
    """Encodes raw examples value by value.

    An example is a dictionary: name of a column of numbers -> a number or None, name of a feature
    of texts -> its text.
    """

    def __init__(self, restored: RestoredDLRM) -> None:
        self.schema, self.vocabularies = restored.schema, restored.vocabularies
        self.model = restored.model
        dense = [feature.column for feature in self.schema.dense]
        dense += [f.column for f in self.schema.categorical if f.kind == "buckets"]
        self.columns = sorted(set(dense), key=dense.index)
        self.texts = [f.name for f in self.schema.categorical if f.kind != "buckets"]

    def to_inputs(self, examples: list[dict]) -> dict[str, np.ndarray]:
        """Returns the inputs of `predict`; those without a column are left out."""
        dense = [[_to_float(e.get(column)) for column in self.columns] for e in examples]
        sparse = [[e.get(name, "") for name in self.texts] for e in examples]
        inputs = {"dense": np.array(dense, np.float32), "sparse": np.array(sparse, dtype=object)}
        return {name: values for name, values in inputs.items() if values.shape[1]}

    def encode(self, examples: list[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns float32 [n, Dn], int32 [n, S], and float32 [n, S], the rows' weights."""
        dense = [[self._transform(f, e.get(f.column)) for f in self.schema.dense] for e in examples]
        rows, weights = [], []
        for example in examples:
            slots = [slot for f in self.schema.categorical for slot in self._slots(f, example)]
            rows.append([row for row, _ in slots])
            weights.append([weight for _, weight in slots])
        num_dense = len(self.schema.dense)
        return (
            np.array(dense, np.float32).reshape(len(examples), num_dense),
            np.array(rows, np.int32),
            np.array(weights, np.float32),
        )

    def score(self, examples: list[dict]) -> np.ndarray:
        """Returns the Python model's probabilities."""
        dense, rows, weights = self.encode(examples)
        # A graph, as exports are: one operation after the other, bfloat16 is rounded more often.
        score = tf.function(self.model.__call__)
        logits = score(dense, rows, weights if self.schema.needs_row_weights else None)
        return 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))

    def draw(self, count: int, seed: int = 0) -> list[dict]:
        """Returns random examples, with what is missing, unknown or too much."""
        rng = np.random.default_rng(seed)
        numbers = [None, 0.0, -1.0, 0.5, 2.0, 3.25, 0.1]
        examples = []
        for _ in range(count):
            example = {column: numbers[rng.integers(len(numbers))] for column in self.columns}
            for feature in self.schema.categorical:
                if feature.kind != "buckets":
                    example[feature.name] = self._draw_text(feature, rng)
            examples.append(example)
        return examples

    def _draw_text(self, feature: CategoricalFeature, rng: np.random.Generator) -> str:
        values = ["", "never seen", *VOCABULARIES.get(feature.name, ["p", "q", "r"])]
        separator = feature.separator or ("|" if feature.max_values > 1 else None)
        if separator is None:
            return values[rng.integers(len(values))]
        parts = [values[i] for i in rng.integers(len(values), size=rng.integers(0, 6))]
        if feature.weight_separator:
            # "a:b" would be a value "a" with the weight "b".
            parts = [
                part + (":0.5" if ":" in part else rng.choice(["", ":2", ":0"])) for part in parts
            ]
        return separator.join(parts)

    def _transform(self, feature: DenseFeature, number: float | None) -> float:
        if number is None or not math.isfinite(number):
            return 0.0
        if feature.transform.startswith("log"):
            number = math.log(1 + max(number, 0))
        if feature.transform.endswith("standard"):
            return (number - feature.mean) / feature.std
        return number

    def _slots(self, feature: CategoricalFeature, example: dict) -> list[tuple[int, float]]:
        if feature.kind == "buckets":
            number = example.get(feature.column)
            if number is None or not math.isfinite(number):
                return [(0, 1.0)]
            return [(1 + sum(number >= np.float32(edge) for edge in feature.boundaries), 1.0)]
        text = example.get(feature.name, "")
        separator = feature.separator or ("|" if feature.max_values > 1 else None)
        if separator is None:
            return [(self._row(feature, text or MISSING), 1.0)]
        found = []
        for part in text.split(separator):
            value, weight = part, 1.0
            if feature.weight_separator and feature.weight_separator in part:
                value, written = part.rsplit(feature.weight_separator, 1)
                weight = float(written)
            if value:
                found.append((self._row(feature, value), weight))
        found = found[: feature.max_values]
        if feature.max_values == 1 and not feature.is_weighted:
            return found or [(self._row(feature, MISSING), 1.0)]
        if feature.pooling == "mean" and (total := sum(weight for _, weight in found)):
            found = [(row, weight / total) for row, weight in found]
        return found + [(0, 0.0)] * (feature.max_values - len(found))

    def _row(self, feature: CategoricalFeature, value: str) -> int:
        if feature.kind == "hash":
            return 1 + int(fingerprint64([value])[0]) % (feature.num_rows - 1)
        ids = list(self.vocabularies[feature.name].ids)
        return ids.index(value) + 1 if value in ids else 0


def _to_float(number: float | None) -> float:
    return math.nan if number is None else number
