"""Everything that a user of `tfrec-ssr` may get wrong: one sentence, and nothing is lost."""

import fcntl
import gzip
import re
import shutil

import pytest
import tiny_news_runs
import tiny_runs


@pytest.fixture
def fail(capsys):
    """Runs the trainer, which must refuse; returns its sentence."""

    def fail(*arguments, code=1):
        capsys.readouterr()
        assert tiny_news_runs.run_trainer(*arguments) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        # Beside what it says of the data, with the time in front, it says one thing.
        lines = captured.err.splitlines()
        (line, *more) = [x for x in lines if not re.match(r"\[\d\d:\d\d:\d\d\] ", x)]
        assert more == (["Try: tfrec-ssr --help"] if code == 2 else [])
        assert line.startswith("tfrec-ssr: error: ")
        return line.removeprefix("tfrec-ssr: error: ")

    return fail


@pytest.fixture
def fail_anew(fail, news, tmp_path):
    """Runs the trainer in a new folder, which must be refused and leave no folder behind.

    Flags of `list_flags` may be dropped by name, and files of `news` exchanged.
    """

    def fail_anew(*arguments, code=1, drop=(), **changes):
        flags = tiny_news_runs.list_flags({**news, **changes})
        flags = [flag for flag in flags if flag.removeprefix("--").partition("=")[0] not in drop]
        sentence = fail(*flags, f"--run_dir={tmp_path / 'new'}", *arguments, code=code)
        assert not (tmp_path / "new").exists()
        return sentence

    return fail_anew


@pytest.fixture
def lines(news):
    """The lines of the table of items."""
    return news["items"].read_text().splitlines()


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


TIMES = ("validation_time", "test_time")
TABLE = ("items", "item_columns")


def test_a_table_without_the_column_of_the_ids(fail_anew, lines, tmp_path):
    path = write(tmp_path / "items.tsv", [lines[0].replace("ItemId", "Article"), *lines[1:]])
    assert fail_anew(items=path).startswith(
        f"{path} has no column 'ItemId', the columns found are Article, Published, Title, Taste"
    )


def test_an_item_that_is_there_twice_with_different_content(fail_anew, lines, tmp_path):
    path = write(tmp_path / "items.tsv", [*lines, lines[4].replace("Word", "Other")])
    assert fail_anew(items=path) == (
        f"{path}, line 5, and {path}, line {len(lines) + 1}: item 'news-00003' is there twice with "
        "different content, keep the row that is right"
    )


def test_an_item_that_is_there_twice_with_the_same_content(news, lines, tmp_path, caplog):
    caplog.set_level("INFO")
    path = write(tmp_path / "items.tsv", [*lines, lines[4]])
    flags = tiny_news_runs.list_flags({**news, "items": path})
    assert tiny_news_runs.run_trainer(*flags, f"--run_dir={tmp_path / 'run'}", "--epochs=1") == 0
    assert "0 without content, 1 repeated" in caplog.text


@pytest.mark.parametrize(
    ("taste", "problem"),
    [
        ("0.5 0.5", "Taste has 2 numbers, expected a vector of 3"),
        ("0.5 0.5 0.5 0.5", "Taste has 4 numbers, expected a vector of 3"),
        ("0.5 x 0.5", "number 2 of Taste is 'x', expected a number"),
    ],
)
def test_a_vector_that_is_none(fail_anew, lines, tmp_path, taste, problem):
    lines[6] = f"{lines[6].rpartition(chr(9))[0]}\t{taste}"
    path = write(tmp_path / "items.tsv", lines)
    assert fail_anew(items=path).startswith(f"{path}, line 7: item 'news-00005': {problem}")


def test_a_text_that_is_not_utf_8(fail_anew, lines, tmp_path):
    path = tmp_path / "items.tsv"
    path.write_bytes("\n".join(lines).encode().replace(b"Word", b"W\xf6rd", 1))
    sentence = fail_anew(items=path)
    assert sentence.startswith(f"{path}, line 2: the text is not UTF-8, name its encoding")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: [], "is empty"),
        (lambda x: x[:1], "has columns but no rows"),
        (lambda x: [x[0].replace("Title", "Name"), *x[1:]], "has no column 'Title'"),
        (lambda x: [*x[:3], "news\tshort", *x[4:]], "line 4: expected 4 fields, found 2"),
        (lambda x: [*x[:3], x[3].replace("\t1", "\tsoon", 1), *x[4:]], "line 4: item 'news-00002'"),
        (lambda x: [*x[:3], x[3][10:], *x[4:]], "line 4: ItemId, the item's id, is missing"),
        (
            lambda x: [x[0], *(line.replace("news-", "other-") for line in x[1:])],
            "none of the 56 items of the log is in the table of items: the log has, for example, ",
        ),
    ],
)
def test_a_table_that_cannot_be_used(fail_anew, lines, tmp_path, change, message):
    assert message in fail_anew(items=write(tmp_path / "items.tsv", change(lines)))


def test_more_bad_items_than_may_be(fail_anew, lines, tmp_path):
    path = write(tmp_path / "items.tsv", [*lines[:3], "a", "b", "c", *lines[3:]])
    assert "expected 4 fields, found 1" in fail_anew("--max_bad_rows=2", items=path)
    assert "max_bad_rows must be at least 0, got -1" in fail_anew("--max_bad_rows=-1")


def test_a_packed_table_that_ends_too_early(fail_anew, news, tmp_path):
    path, packed = tmp_path / "items.tsv.gz", gzip.compress(news["items"].read_bytes())
    path.write_bytes(packed[: len(packed) // 2])
    assert re.search("items.tsv.gz.* is truncated", fail_anew(items=path))


def test_empty_titles_are_items_without_words(news, lines, tmp_path, caplog):
    caplog.set_level("INFO")
    fields = [line.split("\t") for line in lines]
    # Half of them have nothing at all, neither a title nor a vector.
    for number, row in enumerate(fields[1:21]):
        row[2] = ""
        row[3] = "" if number % 2 else row[3]
    path = write(tmp_path / "items.tsv", map("\t".join, fields))
    flags = tiny_news_runs.list_flags({**news, "items": path})
    assert tiny_news_runs.run_trainer(*flags, f"--run_dir={tmp_path / 'run'}", "--epochs=1") == 0
    assert "96 in the table, 56 of them clicked in training, 10 without content" in caplog.text


@pytest.mark.parametrize("missing_items", ["skip", "keep"])
def test_a_log_with_items_that_the_table_lacks(news, lines, tmp_path, caplog, missing_items):
    path = write(tmp_path / "items.tsv", [lines[0], *lines[9:]])
    flags = [*tiny_news_runs.list_flags({**news, "items": path}), "--epochs=1"]
    arguments = [*flags, f"--missing_items={missing_items}", f"--run_dir={tmp_path / 'run'}"]
    assert tiny_news_runs.run_trainer(*arguments) == 0
    (warning,) = [m for m in caplog.messages if "are not in the table" in m]
    fate = {"skip": "left out of the logs", "keep": "kept as ids alone"}[missing_items]
    assert re.fullmatch(rf"\d items of the logs are not in the table, such as .*: {fate}", warning)


@pytest.mark.parametrize("name", ["log", "items", "impressions", "columns"])
def test_missing_files(fail_anew, name):
    assert "/nowhere.tsv" in fail_anew(**{name: "/nowhere.tsv"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\tu\t5\tnews-00001", "line 1: expected the 5 fields ImpressionId, UserId"),
        ("1\tu\tnoon\tnews-00001\tnews-00002-1", "line 1: Time is 'noon'"),
        ("1\tu\t5\tnews-00001\tnews-00002", "line 1: Impressions has 'news-00002', expected an id"),
        ("1\tu\t5\tnews-00001\t", "line 1: Impressions is empty"),
        ("1\tu\t5\tnews-00001\tnews-00002-1", "the train impressions: none of 1 impressions has"),
    ],
)
def test_impressions_that_cannot_be_used(fail_anew, tmp_path, line, message):
    path = write(tmp_path / "impressions.tsv", [line])
    assert message in fail_anew(impressions=path, drop=TIMES)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_log_of_unknown_items_alone_is_named(fail_anew, tmp_path, part):
    path = write(tmp_path / "log.tsv", ["SessionId\tItemId\tTime", "1\tx\t1", "1\ty\t2"])
    assert fail_anew(f"--{part}={path}", drop=(f"{part}_time",)).startswith(
        f"the {part} sessions: all 2 clicks are on items that the catalogue lacks"
    )


@pytest.mark.parametrize(
    ("arguments", "drop", "message"),
    [
        ([], ["items"], "--items, the table of the items, and --item_columns, the specification"),
        ([], ["item_columns"], "pass both or none"),
        (["--test=x"], [], "pass either --test or --test_time"),
        (["--validation=x"], [], "pass either --validation or --validation_time"),
        (["--test_time=1"], [], "--validation_time must be before --test_time, got"),
        (["--test_impressions=x"], [], "leave --test_impressions out"),
        (["--candidates=shown"], ["impressions"], "--candidates=shown needs --impressions"),
        (["--k=0"], [], "--k needs positive integers"),
        (["--missing_items=drop"], [], "missing_items"),
        ([], ["train"], "--train"),
    ],
)
def test_flags_that_do_not_go_together(fail_anew, arguments, drop, message):
    assert message in fail_anew(*arguments, drop=drop, code=2)


@pytest.mark.parametrize(
    ("arguments", "drop", "message"),
    [
        (["--primary_metric=auc"], [], "primary_metric must be recall, mrr or ndcg with a cut-off"),
        (
            ["--primary_metric=impression_auc"],
            ["impressions"],
            "primary_metric=impression_auc cannot be measured, for the validation data have no "
            "impressions",
        ),
        (
            ["--primary_metric=unseen_recall@20"],
            TABLE,
            "the validation data have no targets that are unseen in training",
        ),
        (["--early_stopping_patience=2"], TIMES, "early_stopping_patience=2 needs validation data"),
        (["--age_buckets=3", "--time_column="], TIMES, "age_buckets needs times"),
        (["--time_column="], [], "a log without times cannot be split by time"),
        (["--test_time=9e9"], [], "sessions end before 9000000000.0"),
        (["--candidates=/nowhere"], [], "--candidates is all, shown or a file with an id a line"),
        (["--num_hard_negatives=2", "--noremove_accidental_hits"], [], "needs remove_accidental"),
        (["--num_negatives=0", "--noin_batch_negatives"], [], "there is nothing to rank against"),
        (["--logq_weight=1", "--noshared_negatives"], [], "logq_weight needs shared negatives"),
        (["--loss=hinge", "--logq_weight=1"], [], "needs loss=cross_entropy, got loss=hinge"),
        (["--temperature=0"], [], "temperature must be positive, got 0.0"),
        (["--min_count=0"], [], "min_count must be at least 1, got 0"),
        (["--unknown_rate=1"], [], "unknown_rate must be in [0, 1), got 1.0"),
        (["--config=rsc15_cross_entropy"], [], "a configuration of gru4rec, expected one of ssr"),
    ],
)
def test_options_without_a_meaning_are_refused_before_training(fail_anew, arguments, drop, message):
    assert message in fail_anew(*arguments, drop=drop)


def test_missing_validation_is_noticed_before_any_log_is_read(fail_anew):
    arguments = ("--train=/nowhere.tsv", "--early_stopping_patience=2")
    assert "needs validation data" in fail_anew(*arguments, drop=("train", *TIMES))


@pytest.fixture
def fail_there(fail, news, news_arguments, finished_news_run, tmp_path):
    """Runs the trainer on a copy of a finished run, which must stay as it is."""

    def fail_there(*arguments, **changes):
        run = shutil.copytree(finished_news_run, tmp_path / "run", dirs_exist_ok=True)
        before = tiny_runs.snapshot(run)
        flags = [*news_arguments, "--validate_every_steps=15", f"--run_dir={run}"]
        for name, path in changes.items():
            flags = [flag.replace(str(news[name]), str(path)) for flag in flags]
        sentence = fail(*flags, *arguments)
        assert tiny_runs.snapshot(run) == before
        return sentence

    return fail_there


def test_a_run_of_another_configuration(fail_there):
    sentence = fail_there("--hidden_dim=9", "--max_bad_rows=3")
    assert "model.hidden_dim 8 there, 9 now" in sentence
    assert "use that configuration or choose another folder" in sentence


def test_a_run_of_other_data(fail_there, news, lines, tmp_path):
    sentence = fail_there(log=news["other"])
    assert "was trained on other data (" in sentence
    # This program has no --init_from.
    assert sentence.endswith("give the same data, or choose another --run_dir")
    titles = write(tmp_path / "titles.tsv", [x.replace("word0001", "word0002") for x in lines])
    assert "was trained on other data (" in fail_there(items=titles)
    times = write(tmp_path / "times.tsv", [x.replace("\t17040", "\t17039") for x in lines])
    assert "was trained on other data (" in fail_there(items=times)


def test_a_run_of_another_program(fail, news_arguments, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = tiny_runs.snapshot(run)
    sentence = fail(*news_arguments, f"--run_dir={run}")
    assert "this is a configuration of gru4rec, expected one of ssr" in sentence
    assert tiny_runs.snapshot(run) == before


def test_a_second_process_on_the_run(fail, news_arguments, finished_news_run, tmp_path):
    run = shutil.copytree(finished_news_run, tmp_path / "run")
    with open(run / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        arguments = [*news_arguments, "--validate_every_steps=15", "--epochs=5"]
        assert f"is writing to the run folder {run}" in fail(*arguments, f"--run_dir={run}")


def test_a_damaged_checkpoint(fail, news_arguments, finished_news_run, tmp_path):
    run = shutil.copytree(finished_news_run, tmp_path / "run")
    (path,) = (run / "checkpoints/last").glob("ckpt-44.data*")
    path.write_bytes(path.read_bytes()[:100])
    arguments = [*news_arguments, "--validate_every_steps=15", "--epochs=3", f"--run_dir={run}"]
    assert "checkpoints/last/ckpt-44 is damaged" in fail(*arguments)


def test_a_training_that_diverges(fail, news_arguments, tmp_path):
    arguments = [*news_arguments, "--optimizer=sgd", "--learning_rate=1e30"]
    sentence = fail(*arguments, f"--run_dir={tmp_path / 'run'}")
    assert re.match(r"the loss became (nan|inf) at step \d+ \(summed loss of the step ", sentence)
