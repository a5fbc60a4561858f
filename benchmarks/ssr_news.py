"""SSR on news beside simpler rules and GRU4Rec: targets, and the order of impressions.

    python benchmarks/ssr_news.py --folder=news --config=mind_sample --peer_python=peer/bin/python

The folder holds mind_sessions.tsv.gz, mind_items.tsv.gz and mind_impressions.tsv.gz. Sessions that
end before --test_time are trained on, and the last clicks of the others are the targets; candidates
are the articles that any impression shows, without those of the history. An article that GRU4Rec
did not see in training has no score there and stands behind all others. "Exposure" is what SSR adds
of impressions, how much an article is being shown and how often it is clicked then, without its
towers: alone, and added to TF-IDF's cosines. SSR and GRU4Rec are trained
with each of the seeds; their numbers are means with 95 % intervals.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import flags

from tfrec_zoo.config import parse_json_object
from tfrec_zoo.data.news.held_out import HeldOut
from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.metrics.impressions import impression_metrics
from tfrec_zoo.metrics.ranking import ranking_metrics
from tfrec_zoo.models.ssr_config import SSRConfig
from tfrec_zoo.program import run_program
from tfrec_zoo.run_folder import open_run_folder
from tfrec_zoo.trainers import news_data
from tfrec_zoo.trainers.gru4rec import RECIPES
from tfrec_zoo.trainers.text_table import format_lines

FLAGS = flags.FLAGS
FOLDER = Path(__file__).resolve().parent
K = 20
# Clicks of a history that GRU4Rec plays.
MAX_HISTORY = 50
# Two-sided 95 % of Student's t, by the number of runs.
_STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
COLUMNS = (
    "recall@20",
    "mrr@20",
    "seen_recall@20",
    "unseen_recall@20",
    "unseen_mrr@20",
    "impression_auc",
    "impression_mrr",
    "impression_ndcg@5",
    "impression_ndcg@10",
)


def define_flags() -> None:
    """Defines the benchmark's flags, those of the trainer's data with other defaults."""
    news_data.define_data_flags()
    flags.DEFINE_string("folder", None, "Folder of the logs and the articles.", required=True)
    flags.DEFINE_string("config", "mind_sample", "Recipe or configuration file of SSR.")
    flags.DEFINE_multi_integer("seed", [1, 2, 3], "Of SSR and GRU4Rec.")
    flags.DEFINE_integer("gru4rec_epochs", 2, "Epochs of GRU4Rec; more overfit.", lower_bound=1)
    flags.DEFINE_string("peer_python", sys.executable, "Python with scikit-learn.")
    flags.FLAGS["train"].required = False
    FLAGS.set_default("train", [])
    FLAGS.set_default("candidates", news_data.SHOWN_ITEMS)
    FLAGS.set_default("test_targets", "last")
    FLAGS.set_default("test_time", 1573516800.0)


class Scoreboard:
    """Turns scores of candidates into metrics, all sides by the same rule."""

    def __init__(self, data: news_data.NewsData) -> None:
        """Takes the test part."""
        self._held_out: HeldOut = data.held_out["test"]
        histories = self._held_out.histories
        self.examples = histories.take(np.arange(histories.num_examples))
        self.candidates = self._held_out.candidate_rows
        self.column_of = np.zeros(data.catalogue.num_rows, np.int64)
        self.column_of[self.candidates] = np.arange(len(self.candidates))
        is_candidate = np.isin(self.examples["target"], self.candidates)
        if not is_candidate.all():
            raise ValueError(f"{(~is_candidate).sum()} targets are not among the candidates")

    def rate(self, scores: np.ndarray, shown_scores: np.ndarray) -> dict[str, float]:
        """Returns the metrics of scores, float [E, C], and of those of what was shown, [K]."""
        scores = scores.astype(np.float64)
        is_read = np.zeros(scores.shape, bool)
        histories = self.examples["history"]
        is_candidate = np.isin(histories, self.candidates)
        examples = np.nonzero(is_candidate)[0]
        is_read[examples, self.column_of[histories[is_candidate]]] = True
        scores[is_read] = -np.inf
        columns = self.column_of[self.examples["target"]]
        own = scores[np.arange(len(scores)), columns][:, None]
        # Pessimistic: the others that score the same stand before the target.
        ranks = (scores >= own).sum(axis=1)
        is_unseen = self._held_out.histories.is_unseen(self._held_out.seen_rows)
        metrics = ranking_metrics(ranks, (K,))
        for name, chosen in (("seen_", ~is_unseen), ("unseen_", is_unseen)):
            of_group = ranking_metrics(ranks[chosen], (K,))
            metrics |= {name + metric: value for metric, value in of_group.items()}
        impressions = self._held_out.impressions
        return metrics | impression_metrics(
            shown_scores, impressions.is_clicked, impressions.shown_offsets
        )


def run() -> None:
    """Runs all sides and prints a table."""
    folder = Path(FLAGS.folder)
    for name, file in (("train", "sessions"), ("items", "items"), ("impressions", "impressions")):
        FLAGS[name].value = [str(folder / f"mind_{file}.tsv.gz")]
    experiment = SSRExperiment.from_dict(read_config(FLAGS.config))
    data = news_data.load_news(experiment)
    board = Scoreboard(data)
    lines = dict(rate_baselines(data, board, experiment.model))
    gru4rec = [run_gru4rec(seed, data, board) for seed in FLAGS.seed]
    lines["GRU4Rec"] = summarize(gru4rec)
    runs = [run_ssr(seed, experiment, data) for seed in FLAGS.seed]
    lines[f"SSR, {Path(FLAGS.config).stem}"] = summarize(runs)
    print_table(lines, data)


def read_config(name: str) -> dict:
    """Returns the content of a recipe or a configuration file."""
    recipe = RECIPES / f"{name}.json"
    path = recipe if recipe.is_file() else Path(name)
    return parse_json_object(path.read_text(encoding="utf-8"))


def rate_baselines(
    data: news_data.NewsData, board: Scoreboard, config: SSRConfig
) -> Iterator[tuple[str, list[str]]]:
    """Yields the names and metrics of what is not trained."""
    impressions = data.held_out["test"].impressions
    rng = np.random.default_rng(0)
    num_examples, num_shown = len(board.examples["target"]), len(impressions.shown_rows)
    shape = (num_examples, len(board.candidates))
    yield "chance", summarize([board.rate(rng.random(shape), rng.random(num_shown))])
    counts = data.catalogue.vocabulary.row_counts()
    popularity = np.broadcast_to(counts[board.candidates], shape)
    shown = counts[impressions.shown_rows]
    yield "popularity", summarize([board.rate(popularity, shown)])
    tfidf = run_tfidf(data, board)
    yield "TF-IDF", summarize([board.rate(*tfidf)])
    if data.exposures is not None:
        exposure = score_exposures(data, board, config)
        yield "exposure", summarize([board.rate(*exposure)])
        both = [one + other for one, other in zip(tfidf, exposure, strict=True)]
        yield "TF-IDF and exposure", summarize([board.rate(*both)])


def score_exposures(
    data: news_data.NewsData, board: Scoreboard, config: SSRConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what impressions add to the scores of the candidates, [E, C], and of shows, [K]."""
    impressions, exposures = data.held_out["test"].impressions, data.exposures
    asked = board.candidates[None], board.examples["time"][:, None]
    levels = np.log1p(exposures.levels(*asked) / config.exposure_prior)
    numbers = np.repeat(np.arange(impressions.num_impressions), np.diff(impressions.shown_offsets))
    targets, shown = (
        config.click_rate_weight * np.log(exposures.click_lifts(*pairs, config.click_rate_prior))
        for pairs in (asked, (impressions.shown_rows, impressions.times[numbers]))
    )
    return config.exposure_weight * levels + targets, shown


def run_tfidf(data: news_data.NewsData, board: Scoreboard) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores of TF-IDF, computed by scikit-learn in a process of its own."""
    impressions = data.held_out["test"].impressions
    lengths = np.concatenate([[0], np.cumsum(board.examples["lengths"])])
    targets = score_by_tfidf(
        read_texts(data),
        board.examples["history"][board.examples["history"] > 0],
        lengths,
        board.candidates,
    )
    shown_rows = np.unique(impressions.shown_rows)
    of_impressions = score_by_tfidf(
        read_texts(data), impressions.history_rows, impressions.history_offsets, shown_rows
    )
    numbers = np.repeat(np.arange(impressions.num_impressions), np.diff(impressions.shown_offsets))
    columns = np.searchsorted(shown_rows, impressions.shown_rows)
    return targets, of_impressions[numbers, columns]


def read_texts(data: news_data.NewsData) -> np.ndarray:
    """Returns category and title of each row, object [V + 1]."""
    import pandas as pd

    table = pd.read_csv(FLAGS["items"].value[0], sep="\t", quoting=3, dtype=str).fillna("")
    texts = np.full(data.catalogue.num_rows, "", object)
    texts[data.catalogue.rows(table["NewsId"].to_numpy())] = (
        table["Category"] + " " + table["Title"]
    )
    return texts


def score_by_tfidf(
    texts: np.ndarray, history_rows: np.ndarray, offsets: np.ndarray, candidate_rows: np.ndarray
) -> np.ndarray:
    """Returns float32 [E, C], see the worker."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "data.npz", Path(folder) / "scores.npz"
        np.savez(
            source,
            texts=texts,
            history_rows=history_rows,
            history_offsets=offsets,
            candidate_rows=candidate_rows,
        )
        command = [FLAGS.peer_python, str(FOLDER / "news_tfidf.py"), str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
        if done.returncode:
            raise ValueError(f"news_tfidf.py failed: {done.stderr.strip().splitlines()[-1:]}")
        return np.load(target)["scores"]


def run_gru4rec(seed: int, data: news_data.NewsData, board: Scoreboard) -> dict[str, float]:
    """Trains GRU4Rec on the same sessions, and rates it on the same targets and impressions."""
    import pandas as pd

    from tfrec_zoo.estimator import SessionRecommender

    histories = data.examples.histories
    ids = data.catalogue.vocabulary.raw_ids
    log = pd.DataFrame(
        {
            "SessionId": np.repeat(histories.session_ids, np.diff(histories.offsets)),
            "ItemId": ids(histories.rows),
            "Time": histories.times,
        }
    )
    recommender = SessionRecommender(seed=seed, epochs=FLAGS.gru4rec_epochs).fit(log)
    impressions = data.held_out["test"].impressions

    def score(history: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> np.ndarray:
        sessions = [ids(row[:length]) for row, length in zip(history, lengths, strict=True)]
        scores = recommender.score_items(sessions, ids(rows))
        return np.where(np.isnan(scores), -np.inf, scores)

    targets = score(board.examples["history"], board.examples["lengths"], board.candidates)
    read = impressions.histories(np.arange(impressions.num_impressions), MAX_HISTORY)
    shown_rows = np.unique(impressions.shown_rows)
    shown = score(read["history"], read["lengths"], shown_rows)
    numbers = np.repeat(np.arange(impressions.num_impressions), np.diff(impressions.shown_offsets))
    columns = np.searchsorted(shown_rows, impressions.shown_rows)
    return board.rate(targets, shown[numbers, columns])


def run_ssr(seed: int, experiment: SSRExperiment, data: news_data.NewsData) -> dict[str, float]:
    """Trains SSR and returns its metrics on the test part."""
    from tfrec_zoo.trainers.history_evaluation import evaluate_held_out
    from tfrec_zoo.trainers.ssr_task import SSRTask, train_in_folder

    experiment = replace(experiment, training=replace(experiment.training, seed=seed))
    with tempfile.TemporaryDirectory() as parent:
        with open_run_folder(Path(parent) / "run", experiment) as folder:
            task = SSRTask(experiment, data.catalogue, data.examples, exposures=data.exposures)
            train_in_folder(task, folder, data.catalogue, experiment)
    return evaluate_held_out(task.ranker, data.held_out["test"], (K,))


def summarize(runs: list[dict[str, float]]) -> list[str]:
    """Returns the cells of a side: the mean of its runs and half the width of the interval."""
    cells = []
    for name in COLUMNS:
        values = np.array([run[name] for run in runs])
        cell = f"{values.mean():.4f}"
        if len(values) > 1:
            half = _STUDENT[len(values)] * values.std(ddof=1) / np.sqrt(len(values))
            cell += f" +- {half:.4f}"
        cells.append(cell)
    return cells


def print_table(lines: dict[str, list[str]], data: news_data.NewsData) -> None:
    """Prints the metrics of all sides."""
    held_out = data.held_out["test"]
    num_unseen = int(held_out.histories.is_unseen(held_out.seen_rows).sum())
    print(
        f"{held_out.histories.num_examples} targets, {num_unseen} of them never seen, among "
        f"{len(held_out.candidate_rows)} candidates; {held_out.impressions.num_impressions} "
        "impressions"
    )
    cells = [["", *COLUMNS], *([name, *cells] for name, cells in lines.items())]
    print(format_lines(cells, 1))


if __name__ == "__main__":
    run_program(run, define_flags)
