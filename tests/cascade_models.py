"""Small rankers over a table of items, and what a cascade answers: one model after the other."""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import click_models
import numpy as np

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.export.cascade_items import ItemFeatures
from tfrec_zoo.export.restored import RestoredDLRM
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.models.dlrm_config import DLRMConfig
from tfrec_zoo.vocabulary import Vocabulary

ITEM_COLUMN = "device"
# In the order of the features of click_models, so that the item's stand between the request's.
SPEC = {
    "label": "click",
    "dense": [
        {"name": "a", "transform": "log"},
        {"name": "b", "transform": "standard"},
        {"name": "a_raw", "column": "a"},
        {"name": "a_scaled", "column": "a", "transform": "log_standard"},
    ],
    "categorical": [
        "user",
        {
            "name": "tags",
            "separator": "|",
            "weight_separator": ":",
            "max_values": 3,
            "pooling": "mean",
        },
        {"name": "age", "column": "b", "buckets": 4},
        {"name": "device", "hash_rows": 6},
        {"name": "words", "separator": " ", "max_values": 2},
        {"name": "genres", "separator": "|", "max_values": 4, "pooling": "mean"},
        {"name": "first", "separator": ",", "max_values": 1},
        {"name": "urls", "separator": ";", "max_values": 2, "hash_rows": 8},
        {"name": "price", "buckets": 2},
        "C.1",
    ],
}
# What of it is the item's; the rest is the request's.
ITEM_COLUMNS = ("a", "device", "tags", "genres", "price")


def make_ranker(seed: int = 0) -> RestoredDLRM:
    """Returns a DLRM over features of every kind, with random weights."""
    return dataclasses.replace(click_models.make_restored(seed=seed), spec=SPEC)


def draw_items(ids: Sequence[str], ranker: RestoredDLRM, seed: int = 1) -> dict[str, dict]:
    """Returns id -> the item's values in the form of `click_models.Encoder`; random ones."""
    drawn = click_models.Encoder(ranker).draw(len(ids), seed)
    items = {}
    for item, example in zip(ids, drawn, strict=True):
        items[item] = {name: example[name] for name in ITEM_COLUMNS} | {ITEM_COLUMN: item}
    return items


def write_items(path: Path, items: dict[str, dict], key: str = ITEM_COLUMN) -> Path:
    """Writes a table of items, with a column that no feature reads."""
    names = {name: key if name == ITEM_COLUMN else name for name in ITEM_COLUMNS}
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["title", *names.values()])
        writer.writeheader()
        for item in items.values():
            row = {names[name]: "" if value is None else value for name, value in item.items()}
            writer.writerow({"title": "a, b", **row})
    return path


def make_id_ranker(ids: Sequence[str]) -> RestoredDLRM:
    """Returns a small DLRM of a user and the id of an item, for which it has a vocabulary."""
    vocabularies = {
        "user": Vocabulary(["u1", "u2"], np.array([2, 1])),
        "film": Vocabulary(list(ids)[::-2], np.arange(len(ids[::-2]), 0, -1)),
    }
    features = [CategoricalFeature(n, n, v.num_rows) for n, v in vocabularies.items()]
    schema = ClickSchema([], features)
    experiment = DLRMExperiment(model=DLRMConfig(**click_models.NETWORK))
    model = DLRM(experiment.model, schema)
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    spec = {
        "label": "click",
        "categorical": ["user", "film"],
        "join": [{"file": "films.csv", "on": "film", "key": "number"}],
    }
    return RestoredDLRM(model, schema, vocabularies, experiment, spec=spec)


class CascadeOracle:
    """Retrieves with an oracle, scores each pair by the Python DLRM, and sorts."""

    def __init__(
        self,
        retrieve: Callable[[list[str], int, Sequence[str]], tuple[list[str], np.ndarray]],
        ranker: RestoredDLRM,
        items: dict[str, dict],
        num_candidates: int,
    ) -> None:
        self.retrieve, self.items = retrieve, items
        self.encoder = click_models.Encoder(ranker)
        self.num_candidates = num_candidates

    def answer(
        self, session: list[str], request: dict, k: int, excluded: Sequence[str] = ()
    ) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Returns items, scores and retrieval scores, padded by "" and -inf."""
        found, retrieval_scores = self.retrieve(session, self.num_candidates, excluded)
        found = [item for item in found if item]
        examples = [request | self.items.get(item, {ITEM_COLUMN: item}) for item in found]
        scores = self.encoder.score(examples) if found else np.zeros(0)
        best = np.argsort(-scores, kind="stable")[:k]
        missing = np.full(k - len(best), -np.inf)
        return (
            [found[place] for place in best] + [""] * len(missing),
            np.append(scores[best], missing),
            np.append(retrieval_scores[best], missing),
        )

    def draw_requests(self, count: int) -> list[dict]:
        """Returns random values of the request's features."""
        drawn = self.encoder.draw(count, seed=9)
        return [{n: v for n, v in e.items() if n not in ITEM_COLUMNS} for e in drawn]


def to_inputs(requests: list[dict], items: ItemFeatures) -> dict[str, np.ndarray]:
    """Returns the inputs `dense` and `sparse` of requests."""
    schema = items.request_schema
    columns = [feature.column for feature in schema.dense]
    columns += [f.column for f in schema.categorical if f.kind == "buckets"]
    columns = sorted(set(columns), key=columns.index)
    texts = [feature.name for feature in schema.categorical if feature.kind != "buckets"]
    dense = [[np.nan if r.get(c) is None else r[c] for c in columns] for r in requests]
    sparse = [[request[name] for name in texts] for request in requests]
    return {"dense": np.array(dense, np.float32), "sparse": np.array(sparse, dtype=object)}
