"""Small SSRs with random weights over items of every kind of feature, and what they answer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.news.history_batch_config import HistoryBatchConfig
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.experiments import ItemLogConfig, SSRExperiment
from tfrec_zoo.export.restore import RestoredSSR
from tfrec_zoo.models.ssr import SSR
from tfrec_zoo.models.ssr_config import SSRConfig
from tfrec_zoo.run_folder import RunFolder
from tfrec_zoo.vocabulary import Vocabulary

SPEC = {
    "id": "NewsId",
    "time": "Published",
    "dense": [{"name": "length", "transform": "log_standard"}, {"name": "rating"}],
    "vectors": [{"name": "vec", "size": 2}, {"name": "image", "size": 3}],
    "categorical": [
        "Category",
        {"name": "vocabulary", "column": "NewsId", "min_count": 1},
        {
            "name": "title",
            "column": "Title",
            "tokens": True,
            "max_values": 4,
            "pooling": "mean",
            "oov_rows": 3,
        },
        {
            "name": "tags",
            "separator": "|",
            "weight_separator": ":",
            "max_values": 3,
            "pooling": "mean",
        },
        {"name": "author", "hash_rows": 5},
        {"name": "price", "buckets": 3},
    ],
}
COLUMNS = (
    *("NewsId", "Published", "length", "rating", "vec", "image"),
    *("Category", "Title", "tags", "author", "price"),
)
NETWORK = {"embedding_dim": 6, "hidden_dim": 5, "vector_dim": 4}
NUM_ITEMS = 40

Item = dict[str, str]


def draw_items(count: int = NUM_ITEMS, seed: int = 0, first: int = 0) -> list[Item]:
    """Returns random items N<first>, N<first + 1>, ...: every value of theirs may be missing."""
    rng = np.random.default_rng(seed)

    def numbers(size: int) -> str:
        return " ".join(f"{number:.3f}" for number in rng.normal(size=size))

    def pick(*choices: str) -> str:
        return str(rng.choice(choices))

    items = []
    for number in range(first, first + count):
        words = rng.choice(["Red", "fox,", "OWL", "stork", "Änd", "the"], rng.integers(0, 7))
        tags = rng.choice(["a", "b:2", "c:0.5", "d"], rng.integers(0, 5), replace=False)
        item = {
            "NewsId": f"N{number}",
            "Published": str(rng.integers(1000, 90_000)),
            "length": str(rng.integers(0, 900)),
            "rating": f"{rng.normal():.3f}",
            "vec": numbers(2),
            "image": numbers(3),
            "Category": pick("news", "sport", "é/ü"),
            "Title": " ".join(words),
            "tags": "|".join(tags),
            "author": f"author {rng.integers(9)}",
            "price": str(rng.integers(0, 50)),
        }
        for name in COLUMNS[2:]:
            if rng.random() < 0.15:
                item[name] = ""
        items.append(item)
    return items


def write_items(path: Path, items: Sequence[Item], columns: Sequence[str] = COLUMNS) -> Path:
    """Writes a table of items."""
    lines = [columns, *([item[name] for name in columns] for item in items)]
    text = "".join("\t".join(line) + "\n" for line in lines)
    path.write_bytes(text.encode(errors="surrogateescape"))
    return path


def make_catalogue(folder: Path, spec: dict | None = None) -> ItemCatalogue:
    """Returns the items of `draw_items`, of which three quarters were clicked in training."""
    items = draw_items()
    ids = [item["NewsId"] for item in items][: NUM_ITEMS * 3 // 4]
    counts = np.random.default_rng(1).integers(1, 9, len(ids))
    path = write_items(folder / "items.tsv", items)
    training = Vocabulary(ids, counts)
    return ItemCatalogue.build(path, TableSpec.from_dict(spec or SPEC), training=training)


def make_restored(
    catalogue: ItemCatalogue,
    *,
    exclude_history: bool = True,
    repeats: str = "keep",
    max_history: int = 50,
    **network,
) -> RestoredSSR:
    """Returns a model over the items of a catalogue, with random weights."""
    experiment = SSRExperiment(
        data=ItemLogConfig(item_columns="spec.json", exclude_history=exclude_history),
        model=SSRConfig(**{**NETWORK, **network}),
        batches=HistoryBatchConfig(repeats=repeats, max_history=max_history),
    )
    model = SSR(experiment.model, catalogue.schema)
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.6, weight.shape) for weight in model.get_weights()])
    for table in model.tables.tables:
        table.variable[0].assign(tf.zeros_like(table.variable[0]))
    return RestoredSSR(model, catalogue, experiment)


def write_run(path: Path, restored: RestoredSSR) -> RunFolder:
    """Writes what a trainer leaves, with one checkpoint, `checkpoints/last/ckpt-3`."""
    folder = RunFolder(path)
    folder.path.mkdir(parents=True)
    folder.write_config(restored.experiment)
    restored.catalogue.save(folder.catalogue_path)
    folder.write_metrics({"recall@20": 0.25})
    # A slot beside the weights, as training has.
    checkpoint = tf.train.Checkpoint(model=restored.model, slot=tf.Variable([1.0]))
    directory = str(folder.checkpoints_path / "last")
    tf.train.CheckpointManager(checkpoint, directory, 1).save(checkpoint_number=3)
    return folder


class NewsOracle:
    """The answers of an SSR: vectors by the Python model, one session at a time, sorted by NumPy.

    Attributes:
        vectors: float64 [V + 1, D], of all rows.
        offsets: float64 [V + 1], what the age of each row at the time `now`, and how much it is
            being shown, add to its score.
    """

    def __init__(self, restored: RestoredSSR, now: float | None = None) -> None:
        self.catalogue, self.model = restored.catalogue, restored.model
        self.experiment = restored.experiment
        content = self.catalogue.take(np.arange(self.catalogue.num_rows))
        self.inputs = self.model.read_items(content.dense, content.rows, content.row_weights)
        self.vectors = self.model.item_vectors(self.inputs).numpy().astype(np.float64)
        self.offsets = np.zeros(len(self.vectors))
        if self.model.age_scores is not None:
            ages = np.full(len(self.vectors), -np.inf)
            if now is not None:
                ages = np.nan_to_num(now - self.catalogue.times, nan=-np.inf)
            self.offsets = self.model.score_ages(tf.constant(ages, tf.float32)).numpy()
        if self.catalogue.shows is not None:
            config = self.model.config
            more = np.log(1 + self.catalogue.shows / config.exposure_prior)
            self.offsets = self.offsets + config.exposure_weight * more
        if self.catalogue.click_lifts is not None:
            more = np.log(self.catalogue.click_lifts)
            self.offsets = self.offsets + self.model.config.click_rate_weight * more
        self.ids = ["", *self.catalogue.ids]
        self.counts = np.array([0, *self.catalogue.vocabulary.counts])

    def read(self, session: Sequence[str]) -> list[int]:
        """Returns the rows that are read of a session."""
        rows, config = [], self.experiment.batches
        for item in session:
            row = self.ids.index(item) if item in self.ids else 0
            before = {"keep": [], "adjacent": rows[-1:], "all": rows}[config.repeats]
            if row and row not in before:
                rows.append(row)
        return rows[-config.max_history :]

    def embed(self, session: Sequence[str]) -> np.ndarray:
        """Returns the vector of a session, float64 [D]."""
        rows = self.read(session)
        clicks = tf.gather(self.inputs, [rows]) if rows else tf.zeros([1, 0, self.inputs.shape[1]])
        return self.model.session_vectors(clicks, tf.constant([len(rows)]))[0].numpy().astype(float)

    def scores(self, session: Sequence[str]) -> np.ndarray:
        """Returns the scores [V + 1] of all rows; -inf for row 0."""
        if self.read(session):
            scores = self.vectors @ self.embed(session) + self.offsets
        else:
            scores = self.counts / max(self.counts.sum(), 1)
        scores[0] = -np.inf
        return scores

    def answer(
        self,
        session: Sequence[str],
        k: int,
        excluded: Sequence[str] = (),
        included: Sequence[str] | None = None,
    ) -> tuple[list[str], np.ndarray]:
        """Returns the k best items and their scores, ties by row, padded by "" and -inf."""
        scores = self.scores(session)
        out = {*excluded, *(session if self.experiment.data.exclude_history else ())}
        for row, item in enumerate(self.ids):
            if item in out or (included is not None and item not in included):
                scores[row] = -np.inf
        best = np.lexsort((np.arange(len(scores)), -scores))[:k]
        best = best[scores[best] > -np.inf]
        missing = k - len(best)
        items = [self.ids[row] for row in best] + [""] * missing
        return items, np.append(scores[best], np.full(missing, -np.inf))
