"""What the SSR trainer makes of its flags: sessions, items and impressions, cut by time."""

import numpy as np
import pandas as pd
import pytest
import tiny_click_runs
import tiny_news_runs
from tiny_news_runs import TEST_TIME, VALIDATION_TIME, WORLD

from tfrec_zoo.experiments import SSRExperiment
from tfrec_zoo.program import resolve_config
from tfrec_zoo.trainers import ssr
from tfrec_zoo.trainers.news_data import check_data_flags, load_news

PARTS = {
    "train": (0, VALIDATION_TIME),
    "validation": (VALIDATION_TIME, TEST_TIME),
    "test": (TEST_TIME, np.inf),
}


@pytest.fixture
def load(news, tmp_path):
    """Loads what flags name: those of `list_flags` without the dropped ones, and some more."""

    def load(*arguments, drop=(), **changes):
        found = []

        def main():
            experiment = resolve_config(SSRExperiment, ssr.RECIPES)
            check_data_flags(experiment)
            found.append(load_news(experiment))

        flags = tiny_news_runs.list_flags({**news, **changes})
        flags = [flag for flag in flags if flag.removeprefix("--").partition("=")[0] not in drop]
        program = (main, ssr.define_flags, "tfrec-ssr", f"--run_dir={tmp_path}")
        assert tiny_click_runs.run(*program, *flags, *arguments) == 0
        return found[0]

    return load


TIMES = ("validation_time", "test_time")
TABLE = ("items", "item_columns")


@pytest.fixture
def clicks(news):
    """The clicks of the log."""
    return read_clicks(news["log"])


def read_clicks(path):
    """Returns session -> ids and times, the sessions in the order of the file."""
    frame = pd.read_csv(path, sep="\t")
    return {
        session: (group["ItemId"].tolist(), group["Time"].tolist())
        for session, group in frame.groupby("SessionId", sort=False)
    }


def impression_fields(news, part):
    """The impressions of a part: time, ids of the history, ids with their marks."""
    begin, end = PARTS[part]
    for line in news["impressions"].read_text().splitlines():
        _, _, time, history, shown = line.split("\t")
        if begin <= int(time) < end:
            yield int(time), history.split(), shown.split()


def spell(histories, catalogue):
    """Returns session -> (ids, times) of the clicks that histories hold."""
    ids = catalogue.ids[histories.rows - 1]
    return {
        session: (ids[a:b].tolist(), histories.times[a:b].tolist())
        for session, a, b in zip(
            histories.session_ids, histories.offsets, histories.offsets[1:], strict=False
        )
    }


def test_sessions_are_cut_by_the_time_of_their_ends(load, clicks):
    data = load()
    parts = {"train": data.examples.histories}
    parts |= {part: held_out.histories for part, held_out in data.held_out.items()}
    assert parts.keys() == PARTS.keys()
    for part, (begin, end) in PARTS.items():
        expected = {s: c for s, c in clicks.items() if begin <= c[1][-1] < end}
        assert spell(parts[part], data.catalogue) == expected
        assert parts[part].num_examples == sum(len(ids) - 1 for ids, _ in expected.values())
        assert parts[part].max_history == 50


def test_impressions_are_cut_by_their_times(load, news):
    data = load()
    parts = {"train": data.examples.impressions}
    parts |= {part: held_out.impressions for part, held_out in data.held_out.items()}
    for part, found in parts.items():
        expected = list(impression_fields(news, part))
        assert found.num_impressions == len(expected) > 0
        assert found.times.tolist() == [time for time, _, _ in expected]
        for number, (_, history, shown) in enumerate(expected):
            rows, is_clicked = found.shown(number)
            marks = zip(data.catalogue.ids[rows - 1], is_clicked, strict=True)
            assert [f"{item}-{int(mark)}" for item, mark in marks] == shown
            places = slice(*found.history_offsets[number:][:2])
            assert data.catalogue.ids[found.history_rows[places] - 1].tolist() == history


def test_the_training_part_alone_says_what_is_popular_known_and_seen(load, clicks):
    data = load()
    training = [i for ids, times in clicks.values() if times[-1] < VALIDATION_TIME for i in ids]
    counts = pd.Series(training).value_counts()
    assert data.catalogue.ids.tolist() == WORLD.item_ids.tolist()
    expected = [counts.get(item, 0) for item in data.catalogue.ids]
    assert data.catalogue.vocabulary.counts.tolist() == expected
    for held_out in data.held_out.values():
        assert held_out.seen_rows.tolist() == [False, *(count > 0 for count in expected)]
        assert held_out.max_history == 50
    # Words of items that nobody has clicked have no row of their own.
    known = {*data.catalogue.vocabularies["title"].ids.tolist()}
    seen = np.isin(WORLD.item_ids, training)
    words = pd.Series(WORLD.titles[seen].ravel()).value_counts()
    assert known == {f"word{word:04d}" for word, count in words.items() if count >= 2}


def test_options_of_the_experiment_arrive(load):
    data = load(
        "--max_history=3",
        "--targets=last",
        "--test_targets=last",
        "--num_shown_negatives=0",
        "--min_count=1",
        "--learn_from_all",
    )
    assert data.examples.impressions is None
    for histories in (data.examples.histories, data.held_out["test"].histories):
        assert histories.max_history == 3
        assert histories.num_examples == histories.num_sessions
    every_word = {f"word{word:04d}" for word in np.unique(WORLD.titles)}
    assert {*data.catalogue.vocabularies["title"].ids.tolist()} == every_word
    data = load("--test_targets=last")
    training, test = data.examples.histories, data.held_out["test"].histories
    assert test.num_examples == test.num_sessions
    assert training.num_examples > training.num_sessions


def test_logs_of_their_own_are_not_cut(load, news):
    data = load(
        f"--validation={news['other']}",
        f"--test={news['other']}",
        f"--test_impressions={news['impressions']}",
        drop=TIMES,
    )
    assert data.examples.histories.num_sessions == 6 * 40
    assert data.examples.impressions.num_impressions == 90
    assert data.held_out["validation"].histories.num_sessions == 6 * 41
    assert data.held_out["validation"].impressions is None
    assert data.held_out["test"].impressions.num_impressions == 90
    assert load(drop=TIMES).held_out == {}


def test_candidates_are_all_those_shown_or_those_of_a_file(load, news, tmp_path):
    assert load().held_out["test"].candidate_rows is None
    data = load("--candidates=shown")
    shown = {
        mark.rpartition("-")[0]
        for part in PARTS
        for _, _, marks in impression_fields(news, part)
        for mark in marks
    }
    assert {*data.catalogue.ids[data.held_out["test"].candidate_rows - 1]} == shown
    assert len(shown) < data.catalogue.num_items
    path = tmp_path / "candidates.txt"
    path.write_text("news-00007\nnowhere\nnews-00003\n")
    rows = load(f"--candidates={path}").held_out["test"].candidate_rows
    assert sorted(data.catalogue.ids[rows - 1]) == ["news-00003", "news-00007"]


def write_table(path, news, change):
    lines = change(news["items"].read_text().splitlines(keepends=True))
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("missing_items", ["skip", "keep"])
def test_items_that_the_table_lacks(load, news, clicks, tmp_path, caplog, missing_items):
    caplog.set_level("INFO")
    # The first 30 items: some of them are clicked, some are only shown.
    table = write_table(tmp_path / "few.tsv", news, lambda lines: [lines[0], *lines[31:]])
    data = load(f"--missing_items={missing_items}", items=table)
    training = [c[0] for c in clicks.values() if c[1][-1] < VALIDATION_TIME]
    lacking = {*WORLD.item_ids[:30]}
    in_logs = {i for ids, _ in clicks.values() for i in ids}
    for part in PARTS:
        for _, history, shown in impression_fields(news, part):
            in_logs |= {*history, *(mark.rpartition("-")[0] for mark in shown)}
    num_missing = len(lacking & in_logs)
    text = caplog.text
    assert f"{num_missing} items of the logs are not in the table, such as news-000" in text
    num_clicks = sum(len(ids) for ids in training)
    num_lost = sum(i in lacking for ids in training for i in ids)
    assert 0 < num_lost < num_clicks
    if missing_items == "keep":
        assert "kept as ids alone" in text
        assert data.catalogue.num_items == WORLD.num_items - 30 + num_missing
        assert len(data.examples.histories.rows) == num_clicks
        assert data.examples.histories.num_unknown_clicks == 0
        assert f"{num_missing} without content" in text
        rows = data.catalogue.rows(np.array(sorted(lacking & in_logs), dtype=object))
        content = data.catalogue.take(rows)
        assert not content.dense.any() and not content.row_weights.any()
        assert np.isnan(data.catalogue.times[rows]).all()
        return
    assert "left out of the logs" in text
    assert data.catalogue.num_items == WORLD.num_items - 30
    assert data.examples.histories.num_unknown_clicks == num_lost


def test_without_a_table_an_item_is_its_id(load, clicks):
    data = load(drop=TABLE)
    training = {i for ids, times in clicks.values() if times[-1] < VALIDATION_TIME for i in ids}
    assert {*data.catalogue.ids.tolist()} == training
    assert data.catalogue.schema.num_slots == 1
    assert data.catalogue.schema.num_dense == 0
    test = data.held_out["test"].histories
    assert test.num_unknown_clicks > 0
    assert not test.is_unseen(data.held_out["test"].seen_rows).any()
    assert data.catalogue.times is None


def list_pairs(clicks):
    return [pair for ids, times in clicks.values() for pair in zip(ids, times, strict=True)]


def first_of(pairs):
    found = {}
    for item, time in pairs:
        found[item] = min(time, found.get(item, np.inf))
    return found


def test_items_come_up_when_they_are_published_or_shown_or_clicked(load, news, clicks):
    published = load("--age_buckets=3").catalogue
    expected = [WORLD.period_time(int(birth)) for birth in WORLD.births]
    assert published.times[1:].tolist() == expected

    clicked = first_of(list_pairs(clicks))
    shown = first_of(
        (mark.rpartition("-")[0], time)
        for part in PARTS
        for time, _, marks in impression_fields(news, part)
        for mark in marks
    )
    of_other = list_pairs(read_clicks(news["other"]))
    either = first_of([*list_pairs(clicks), *of_other, *shown.items()])
    without = ("impressions",)
    of_test = (f"--test_impressions={news['impressions']}",)
    for expected, arguments, drop in (
        (shown, (), TABLE),
        (clicked, (), (*TABLE, *without)),
        # Impressions of the test alone say nothing of what could be trained on.
        (either, (*of_test, f"--test={news['other']}"), (*TABLE, *without, *TIMES)),
    ):
        catalogue = load("--age_buckets=3", *arguments, drop=drop).catalogue
        assert np.isnan(catalogue.times[0])
        wanted = [expected.get(item, np.nan) for item in catalogue.ids]
        np.testing.assert_array_equal(catalogue.times[1:], wanted)


def test_it_is_said_what_was_found(load, caplog):
    caplog.set_level("INFO")
    data = load()
    test = data.held_out["test"]
    num_unseen = np.count_nonzero(test.histories.is_unseen(test.seen_rows))
    num_targets = test.histories.num_examples
    messages = caplog.messages
    assert any(m.startswith("items: 96 in the table, ") for m in messages)
    assert (
        f"test: {num_targets} targets, {num_unseen} of them "
        f"({100 * num_unseen / num_targets:.1f} %) on items that never occur in training"
    ) in messages
    assert "train: 60 impressions with a history, a click and something not clicked, of 60" in (
        messages
    )
    assert 0 < num_unseen < num_targets


def test_bad_items_are_named_and_passed_over_on_request(load, news, tmp_path, caplog):
    def spoil(lines):
        return [
            *lines[:5],
            "short\tline\n",
            *lines[5:9],
            lines[9].replace("\t17", "\tx"),
            *lines[10:],
        ]

    data = load("--max_bad_rows=2", items=write_table(tmp_path / "bad.tsv", news, spoil))
    assert data.catalogue.num_items == WORLD.num_items - 1
    assert data.catalogue.summary["num_bad_rows"] == 2
    named = [message for message in caplog.messages if message.startswith("passed over: ")]
    assert len(named) == 2 and "bad.tsv, line 6: expected 4 fields" in named[0]
