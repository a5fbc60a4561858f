"""Small exports of the zoo's models, and a model of another maker, as a server holds them."""

from pathlib import Path

import cascade_models
import click_models
import news_models
import numpy as np
import tensorflow as tf

from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.export.cascade import export_cascade
from tfrec_zoo.export.cascade_items import read_item_features
from tfrec_zoo.export.restored import RestoredGRU4Rec
from tfrec_zoo.export.saved_model import export_dlrm, export_gru4rec, export_ssr
from tfrec_zoo.losses.ranking_config import RankingLossConfig
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig
from tfrec_zoo.vocabulary import Vocabulary

K = 5
IDS = ["é/ü 1", *(f"item-{number}" for number in range(29))]


def make_gru4rec(seed: int = 5, hidden_dims: tuple[int, ...] = (6, 4)) -> RestoredGRU4Rec:
    """Returns a model with random weights."""
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary(IDS, np.arange(1, len(IDS) + 1))
    loss = RankingLossConfig(loss="cross_entropy")
    experiment = GRU4RecExperiment(model=GRU4RecConfig(hidden_dims=hidden_dims), loss=loss)
    model = GRU4Rec(experiment.model, vocabulary.num_rows)
    model.set_weights([rng.normal(0, 0.7, weight.shape) for weight in model.get_weights()])
    return RestoredGRU4Rec(model, vocabulary, experiment)


def export_sessions(folder: Path) -> list[Path]:
    """Exports two versions of a GRU4Rec, whose answers differ."""
    return [export_gru4rec(make_gru4rec(seed), folder, k=K) for seed in (5, 6)]


def export_news(folder: Path) -> Path:
    """Exports an SSR with ages."""
    catalogue = news_models.make_catalogue(folder)
    restored = news_models.make_restored(catalogue, age_buckets=5, age_unit=500.0)
    return export_ssr(restored, folder / "served", k=K)


def export_clicks(folder: Path) -> Path:
    """Exports a DLRM over every kind of feature."""
    return export_dlrm(click_models.make_restored(), folder)


def export_stages(folder: Path) -> Path:
    """Exports a GRU4Rec whose candidates a DLRM ranks."""
    retriever, ranker = make_gru4rec(), cascade_models.make_ranker()
    values = cascade_models.draw_items(IDS, ranker)
    table = cascade_models.write_items(folder / "items.csv", values)
    ids = retriever.vocabulary.ids
    items = read_item_features(ranker, ids, cascade_models.ITEM_COLUMN, table)
    return export_cascade(retriever, ranker, items, folder / "served", K, 15)


class _Echo(tf.Module):
    """Answers of every type, from inputs of every type."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, "numbers"),
            tf.TensorSpec([None], tf.int32, "counts"),
            tf.TensorSpec([None, None], tf.string, "texts"),
        ]
    )
    def every_type(self, numbers, counts, texts):
        joined = tf.strings.reduce_join(texts, axis=1, separator="|")
        return {
            "doubled": 2 * numbers,
            "next_counts": counts + 1,
            "are_zero": tf.equal(counts, 0),
            "joined": joined,
            "joined_bytes": joined,
        }

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, "texts")])
    def only_texts(self, texts):
        return {"kept": tf.identity(texts)}


def export_echo(folder: Path) -> Path:
    """Exports a model that is none of the zoo's."""
    model, path = _Echo(), folder / "1"
    signatures = {"serving_default": model.every_type, "only_texts": model.only_texts}
    tf.saved_model.save(model, str(path), signatures=signatures)
    return path
