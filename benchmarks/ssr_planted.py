"""SSR on planted news beside GRU4Rec and the best possible: what a closed catalogue loses.

    python benchmarks/ssr_planted.py

Items appear and vanish, and what they are about is in their titles (`tfrec_zoo.data.news.
planted_news`, its default world). All periods but the last are trained on; the targets are every
click but the first of the sessions of the last period; candidates are the items that are there
then, without those of the history. An item that GRU4Rec did not see in training has no score there
and stands behind all others. With several seeds the numbers are means; the world stays the same.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from absl import flags

from tfrec_zoo.data.news.held_out import HeldOut
from tfrec_zoo.data.news.histories import Histories
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.news.planted_news import PlantedNewsWorld
from tfrec_zoo.data.news.planted_news_config import PlantedNewsConfig
from tfrec_zoo.data.news.planted_news_table import planted_item_spec, write_planted_items
from tfrec_zoo.data.news.time_split import TimeSplit, split_by_time
from tfrec_zoo.data.news.training_examples import TrainingExamples
from tfrec_zoo.data.sessions.session_log import SessionLog
from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.metrics.ranking import ranking_metrics
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import open_run_folder
from tfrec_zoo.trainers.text_table import format_lines

FLAGS = flags.FLAGS
K = 20
COLUMNS = ("recall@20", "mrr@20", "unseen_recall@20", "unseen_mrr@20", "seen_recall@20")


def define_flags() -> None:
    """Defines the benchmark's flags."""
    flags.DEFINE_integer("sessions", 2000, "Sessions of each period.", lower_bound=1)
    flags.DEFINE_multi_integer("seed", [1], "Of SSR and GRU4Rec.")
    flags.DEFINE_integer("epochs", 5, "Epochs of SSR.", lower_bound=1)
    flags.DEFINE_integer("gru4rec_epochs", 5, "Epochs of GRU4Rec.", lower_bound=1)


def run() -> None:
    """Trains both and prints a table."""
    world = PlantedNewsWorld(PlantedNewsConfig())
    split = split_by_time(world.sample_log(FLAGS.sessions, seed=1), world.last_period_time)
    best = world.best_possible(split.test, (K,), seen_ids=split.train.item_ids)
    print(
        f"{best['num_targets']} targets, {best['num_unseen_targets']} of them on items never seen, "
        f"among {len(world.candidate_ids(world.config.num_periods - 1))} candidates; "
        f"{split.train.num_sessions} sessions to train on"
    )
    catalogue = read_items(world, split)
    training, test = (read_histories(log, catalogue) for log in (split.train, split.test))
    seen_rows = training.clicked_rows(catalogue.num_rows)
    candidates = catalogue.rows(world.candidate_ids(world.config.num_periods - 1))
    held_out = HeldOut(test.max_history, test, seen_rows, candidates)
    sides = {
        "GRU4Rec": [run_gru4rec(seed, split.train, held_out, catalogue) for seed in FLAGS.seed],
        "SSR": [run_ssr(seed, training, held_out, catalogue) for seed in FLAGS.seed],
    }
    lines = [["", *COLUMNS], ["best possible", *(f"{best.get(c, np.nan):.4f}" for c in COLUMNS)]]
    for name, runs in sides.items():
        means = [np.mean([metrics[column] for metrics in runs]) for column in COLUMNS]
        shares = [m / best.get(c, np.nan) for m, c in zip(means, COLUMNS, strict=True)]
        lines.append([name, *(f"{mean:.4f}" for mean in means)])
        lines.append(["  of the best", *(f"{share:.1%}" for share in shares)])
    print(format_lines(lines, 1).replace("nan%", "").replace("nan", ""))


def read_items(world: PlantedNewsWorld, split: TimeSplit) -> ItemCatalogue:
    """Returns all items of the world, with what can be learned of those of the training log."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.tsv"
        write_planted_items(world, path)
        training = split.training_vocabulary()
        return ItemCatalogue.build(path, planted_item_spec(world), training=training)


def read_histories(log: SessionLog, catalogue: ItemCatalogue) -> Histories:
    """Returns an example of each click but a session's first."""
    return Histories.from_log(log, catalogue.vocabulary, max_history=int(log.lengths.max()))


def run_ssr(
    seed: int, training: Histories, held_out: HeldOut, catalogue: ItemCatalogue
) -> dict[str, float]:
    """Trains SSR and returns its metrics."""
    from tfrec_zoo.trainers.history_evaluation import evaluate_held_out
    from tfrec_zoo.trainers.ssr_task import SSRTask, train_in_folder

    experiment = make_experiment(training.num_examples)
    experiment = replace(experiment, training=replace(experiment.training, seed=seed))
    with tempfile.TemporaryDirectory() as parent:
        with open_run_folder(Path(parent) / "run", experiment) as folder:
            task = SSRTask(experiment, catalogue, TrainingExamples(training))
            train_in_folder(task, folder, catalogue, experiment)
    return evaluate_held_out(task.ranker, held_out, (K,))


def make_experiment(num_examples: int) -> SSRExperiment:
    """Returns how SSR is trained: towers on content alone, ages, popularity taken out."""
    batch_size = 512
    return SSRExperiment.from_dict(
        {
            "model": {
                "embedding_dim": 16,
                "hidden_dim": 64,
                "vector_dim": 16,
                "session_pooling": "last",
                "age_buckets": 14,
            },
            "loss": {"logq_weight": 1.0, "temperature": 0.125},
            "batches": {"batch_size": batch_size, "num_negatives": 512},
            "optimizer": {
                "optimizer": "adam",
                "learning_rate": 0.01,
                "decay": "linear",
                "decay_steps": FLAGS.epochs * -(-num_examples // batch_size),
            },
            "training": {"epochs": FLAGS.epochs},
        }
    )


def run_gru4rec(
    seed: int, log: SessionLog, held_out: HeldOut, catalogue: ItemCatalogue
) -> dict[str, float]:
    """Trains GRU4Rec on the same sessions and returns its metrics on the same targets."""
    from tfrec_zoo.estimator import SessionRecommender

    frame = pd.DataFrame(
        {
            "SessionId": np.repeat(log.session_ids, log.lengths),
            "ItemId": log.item_ids[log.item_codes],
            "Time": log.times,
        }
    )
    recommender = SessionRecommender(
        seed=seed, epochs=FLAGS.gru4rec_epochs, num_lanes=128, learning_rate=0.1, logq_weight=1.0
    ).fit(frame)
    histories, rows = held_out.histories, held_out.candidate_rows
    examples = histories.take(np.arange(histories.num_examples))
    ids = catalogue.vocabulary.raw_ids
    pairs = zip(examples["history"], examples["lengths"], strict=True)
    sessions = [ids(history[:length]) for history, length in pairs]
    scores = recommender.score_items(sessions, ids(rows)).astype(np.float64)
    scores[np.isnan(scores) | (examples["history"][:, :, None] == rows).any(axis=1)] = -np.inf
    own = scores[examples["target"][:, None] == rows][:, None]
    # Pessimistic: the others that score the same stand before the target.
    ranks = (scores >= own).sum(axis=1)
    is_unseen = histories.is_unseen(held_out.seen_rows)
    metrics = ranking_metrics(ranks, (K,))
    for name, chosen in (("seen_", ~is_unseen), ("unseen_", is_unseen)):
        of_group = ranking_metrics(ranks[chosen], (K,))
        metrics |= {name + metric: value for metric, value in of_group.items()}
    return metrics


if __name__ == "__main__":
    run_program(run, define_flags)
