"""SSR on planted news, whose best possible recall is known, also of items that are new."""

from tfrec_zoo.data.news.held_out import HeldOut
from tfrec_zoo.data.news.histories import Histories
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.news.planted_news import PlantedNewsWorld
from tfrec_zoo.data.news.planted_news_config import PlantedNewsConfig
from tfrec_zoo.data.news.planted_news_table import planted_item_spec, write_planted_items
from tfrec_zoo.data.news.time_split import split_by_time
from tfrec_zoo.data.news.training_examples import TrainingExamples
from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.run_folder import open_run_folder
from tfrec_zoo.trainers.engine import Trainer
from tfrec_zoo.trainers.history_evaluation import evaluate_held_out
from tfrec_zoo.trainers.ssr_task import SSRTask

WORLD = PlantedNewsConfig(
    num_periods=12, items_per_period=40, lifetime=4, num_readers=10, num_words=80, min_length=4
)
SESSIONS_PER_PERIOD = 1200
EXPERIMENT = SSRExperiment.from_dict(
    {
        "model": {
            "embedding_dim": 16,
            "hidden_dim": 64,
            "vector_dim": 16,
            "session_pooling": "last",
            # What is there is known from the ages, and need not be learned word by word.
            "age_buckets": 14,
        },
        # The choice has the sharpness 8.
        "loss": {"logq_weight": 1.0, "temperature": 0.125},
        "batches": {"batch_size": 512, "num_negatives": 256, "max_history": 10},
        "optimizer": {
            "optimizer": "adam",
            "learning_rate": 0.02,
            "decay": "linear",
            "decay_steps": 480,
        },
        "training": {"epochs": 3},
    }
)


def test_recall_of_new_items_comes_within_ten_percent_of_the_best_possible(tmp_path):
    world = PlantedNewsWorld(WORLD)
    log = world.sample_log(SESSIONS_PER_PERIOD, seed=1)
    split = split_by_time(log, world.last_period_time)
    write_planted_items(world, tmp_path / "items.tsv")
    catalogue = ItemCatalogue.build(
        tmp_path / "items.tsv", planted_item_spec(world), training=split.training_vocabulary()
    )
    training, test = (
        Histories.from_log(part, catalogue.vocabulary, max_history=10)
        for part in (split.train, split.test)
    )
    task = SSRTask(EXPERIMENT, catalogue, TrainingExamples(training))
    with open_run_folder(tmp_path / "run", EXPERIMENT) as folder:
        Trainer(task, EXPERIMENT.training, folder).run()
    alive = world.candidate_ids(WORLD.num_periods - 1)
    seen = training.clicked_rows(catalogue.num_rows)
    held_out = HeldOut(10, test, seen, catalogue.rows(alive))
    reached = evaluate_held_out(task.ranker, held_out)
    best = world.best_possible(split.test, [20], seen_ids=split.train.item_ids)
    assert reached["num_unseen_events"] == best["num_unseen_targets"] > 1000
    for name in ("unseen_recall@20", "recall@20"):
        assert reached[name] > 0.9 * max(best[name], best[f"realised_{name}"]), (reached, best)
    # What is best is far from what is had for nothing.
    assert best["unseen_recall@20"] > 5 * 20 / len(alive)
