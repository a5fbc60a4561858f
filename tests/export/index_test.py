"""`tfrec-index`: new versions of a served model with other items, and the same weights."""

import fcntl
import json
import signal
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf
from news_models import COLUMNS, NewsOracle, draw_items, write_items
from waiting import wait_until

from tfrec_zoo.export import version_content
from tfrec_zoo.export.restore import load_export
from tfrec_zoo.export.version_folder import list_versions

K = 40
SESSION = ["N3", "N4", "N5"]
NEW = {**dict.fromkeys(COLUMNS, ""), "NewsId": "new", "Published": "95000", "Title": "Red fox"}


def ask(model, session=SESSION):
    answer = model.signatures["recommend"](session_items=tf.constant([session]))
    return [item.decode() for item in answer["items"][0].numpy()]


def list_weights(version):
    """Returns the bits of the Python model's weights in a version, by name."""
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("weights/")]
    return {name: reader.get_tensor(name).tobytes() for name in names}


def read_about(version):
    return json.loads((version / "assets" / "config.json").read_text())["export"]


def test_a_run_becomes_the_first_version(news_run, first_versions, tmp_path, run_index):
    path = tmp_path / "new" / "served"
    flags = [f"--run_dir={news_run.path}", f"--export_dir={path}", f"--k={K}", "--now=96000"]
    code, printed, _ = run_index(*flags)
    assert (code, printed.out) == (0, f"{path / '1'}\n")
    assert read_about(path / "1") == read_about(first_versions / "1")
    assert list_weights(path / "1") == list_weights(first_versions / "1")
    assert 'name: "ssr"' in (path / "models.config").read_text()


def test_new_items_come_and_old_ones_go(served, tmp_path, run_index):
    first = tf.saved_model.load(str(served / "1"))
    before = ask(first)
    new = write_items(tmp_path / "new.tsv", [NEW])
    (tmp_path / "gone.txt").write_text("N7\nnobody\n\n")
    start = time.monotonic()
    code, printed, logged = run_index(
        *(f"--export_dir={served}", f"--add={new}", "--now=97000"),
        *(f"--remove={tmp_path / 'gone.txt'}", "--remove_id=N8"),
    )
    assert (code, printed.out) == (0, f"{served / '2'}\n")
    assert time.monotonic() - start < 30
    assert "39 items: 1 new, 0 read anew, 2 removed" in logged
    assert "--remove: 3 items, 1 of them not there before" in logged

    weights = list_weights(served / "1")
    assert len(weights) == 11 and list_weights(served / "2") == weights
    second = tf.saved_model.load(str(served / "2"))
    oracle = NewsOracle(load_export(served / "2"), 97_000.0)
    assert ask(second) == oracle.answer(SESSION, K)[0]
    assert "new" in ask(second) and not {"N7", "N8"} & set(ask(second))
    # A new article counts in a history, and its vector is that of its content.
    assert ask(second, [*SESSION, "new"]) == oracle.answer([*SESSION, "new"], K)[0]
    assert ask(second, [*SESSION, "new"]) != ask(second)
    # The version before goes on, here and for who loads it now.
    assert before == ask(first) == ask(tf.saved_model.load(str(served / "1")))
    assert "N7" in before and "new" not in before
    about = read_about(served / "2")
    assert (about["k"], about["now"], about["num_items"]) == (K, 97_000.0, 39)
    assert about["checkpoint"] == "checkpoints/last/ckpt-3"
    assert about["metrics"] == {"recall@20": 0.25}

    # Not in the next version, either.
    code, _, _ = run_index(f"--export_dir={served}", "--now=98000")
    assert code == 0 and not {"N7", "N8"} & set(ask(tf.saved_model.load(str(served / "3"))))


def test_a_table_of_all_items_takes_the_place_of_the_old_ones(
    news_run, served, tmp_path, run_index
):
    items = [*draw_items()[5:25], *draw_items(10, seed=7, first=100), NEW]
    path = write_items(tmp_path / "all.tsv", items)
    flags = [f"--items={path}", f"--export_dir={served}", f"--k={K}"]
    code, printed, logged = run_index(f"--run_dir={news_run.path}", *flags)
    assert code == 0 and "31 items: 11 new, 20 read anew, 20 removed" in logged
    restored = load_export(served / "2")
    # The newest time is that of the new item.
    assert read_about(served / "2")["now"] == 95_000.0
    oracle = NewsOracle(restored, 95_000.0)
    model = tf.saved_model.load(str(served / "2"))
    expected = [oracle.answer(session, K)[0] for session in (SESSION, [])]
    assert [ask(model), ask(model, [""])] == expected
    assert sorted(filter(None, expected[0] + SESSION[2:])) == sorted(i["NewsId"] for i in items)
    assert (restored.catalogue.vocabulary.counts > 0).sum() == 20

    # From an export it is the same.
    code, _, _ = run_index(f"--export={served / '1'}", *flags, "--now=95000")
    assert code == 0 and ask(tf.saved_model.load(str(served / "3"))) == expected[0]


def test_bad_items_are_named_and_passed_over(served, tmp_path, run_index):
    short = {**NEW, "NewsId": "short", "vec": "1 2 3"}
    text = {**NEW, "NewsId": "text", "length": "long"}
    path = write_items(tmp_path / "new.tsv", [short, NEW, text, {**NEW, "NewsId": ""}])
    path.write_bytes(path.read_bytes() + b"few\t1\n")
    code, printed, logged = run_index(f"--export_dir={served}", f"--add={path}")
    assert code == 0, printed.err
    problems = [line for line in logged if line.startswith("passed over: ")]
    assert len(problems) == 4
    for problem, words in zip(
        problems,
        ["line 2: item 'short'", "line 4: item 'text'", "line 5: ", "line 6: "],
        strict=True,
    ):
        assert words in problem
    assert "--add: 1 items, 0 repeated, 0 without content; 4 rows passed over" in logged
    catalogue = load_export(served / "2").catalogue
    assert catalogue.num_items == 41 and catalogue.rows("new") == 41

    code, printed, logged = run_index(f"--export_dir={served}", f"--add={path}", "--max_bad_rows=3")
    assert (code, list_versions(served)) == (1, [1, 2])
    assert "max_bad_rows=3" in printed.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"twice": [NEW, {**NEW, "Title": "other"}]}, "item 'new' is there twice with different"),
        ({"columns": COLUMNS[1:]}, "no column 'NewsId'"),
        ({"twice": [{**NEW, "length": "long"}]}, "has no good row, only 1 bad ones"),
        ({"twice": [{**NEW, "Title": "\udcff"}]}, "the text is not UTF-8"),
        ({"flags": ["--add=missing.tsv"]}, "missing.tsv"),
        ({"flags": ["--remove=missing.txt"]}, "missing.txt"),
        ({"flags": ["--now=5", "--export=EXPORT/7"]}, "there is no exported version at EXPORT/7"),
        ({"flags": ["--vectors_to=EXPORT", "--now=5"]}, "is not of an index"),
        ({"flags": [f"--remove_id=N{n}" for n in range(40)]}, "no item would be left of 40"),
    ],
)
def test_refusals_are_one_sentence_and_leave_the_versions(
    served, changes, problem, tmp_path, run_index
):
    flags = [flag.replace("EXPORT", str(served)) for flag in changes.get("flags", ())]
    if not flags:
        columns = changes.get("columns", COLUMNS)
        path = write_items(tmp_path / "items.tsv", changes.get("twice", [NEW]), columns)
        flags = [f"--items={path}"]
    code, printed, logged = run_index(f"--export_dir={served}", *flags)
    assert (code, printed.out) == (1, "")
    assert problem.replace("EXPORT", str(served)) in printed.err.splitlines()[-1]
    assert list_versions(served) == [1]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ([], "nothing is to be written"),
        (["--vectors_to=v"], "where is the model?"),
        (["--export_dir=s"], "there is nothing to change"),
        (["--export_dir=s", "--run_dir=r", "--export=e"], "pass one of them"),
        (["--export=e", "--vectors_to=v", "--keep_versions=3"], "are of the versions"),
        (["--export_dir=s", "--now=5", "--keep_versions=1"], "keep_versions"),
    ],
)
def test_flags_that_do_not_go_together(flags, problem, run_index):
    code, printed, logged = run_index(*flags)
    assert code == 2 and problem in printed.err


def test_a_folder_without_a_version_and_other_models(exported, tmp_path, run_index):
    code, printed, logged = run_index(f"--export_dir={tmp_path / 'empty'}", "--now=5")
    assert code == 1 and "empty has no version yet: pass --run_dir" in printed.err
    code, printed, logged = run_index(
        f"--export={exported}", f"--export_dir={tmp_path}", "--remove_id=x"
    )
    assert code == 1 and "is of a model 'gru4rec'" in printed.err


def test_an_interrupted_refresh_leaves_the_versions_whole(served, monkeypatch, run_index):
    before = ask(tf.saved_model.load(str(served / "1")))

    def fail(*_):
        raise OSError(28, "No space left on device", "file")

    monkeypatch.setattr(version_content, "write_warmup_requests", fail)
    code, printed, logged = run_index(f"--export_dir={served}", "--remove_id=N7")
    assert code == 1 and "the disk is full" in printed.err
    assert sorted(p.name for p in served.iterdir()) == [".lock", "1", "models.config"]
    monkeypatch.undo()
    assert run_index(f"--export_dir={served}", "--remove_id=N7")[0] == 0
    assert ask(tf.saved_model.load(str(served / "1"))) == before
    assert "N7" not in ask(tf.saved_model.load(str(served / "2")))


def test_a_killed_refresh_leaves_the_versions_whole(served, tmp_path):
    code = (
        "import os, sys\n"
        "from tfrec_zoo.export import index, version_content\n"
        f"kill = lambda *_: os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "version_content.write_warmup_requests = kill\n"
        "index.main()\n"
    )
    arguments = [f"--export_dir={served}", "--remove_id=N7"]
    process = subprocess.run([sys.executable, "-c", code, *arguments], timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert list_versions(served) == [1]
    hidden = [p for p in served.iterdir() if p.is_dir() and p.name.startswith(".")]
    assert len(hidden) == 1 and (hidden[0] / "saved_model.pb").exists()
    # The lock has gone with the process, and what it has left is in nobody's way.
    process = subprocess.run(
        [sys.executable, "-m", "tfrec_zoo.export.index", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (process.returncode, process.stdout) == (0, f"{served / '2'}\n")


def test_old_versions_are_deleted(served, run_index):
    for number in range(3):
        flags = [f"--export_dir={served}", f"--remove_id=N{number}", "--keep_versions=2"]
        assert run_index(*flags)[0] == 0
    assert list_versions(served) == [3, 4]
    assert sorted(p.name for p in served.iterdir()) == [".lock", "3", "4", "models.config"]
    assert load_export(served / "4").catalogue.num_items == 37


def test_refreshes_take_turns(served, run_index, caplog):
    with open(served / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = threading.Event()

        def let_go():
            wait_until(lambda: any("waiting" in text for text in caplog.messages), seconds=60)
            done.set()
            fcntl.flock(file, fcntl.LOCK_UN)

        threading.Thread(target=let_go).start()
        code, printed, logged = run_index(f"--export_dir={served}", "--remove_id=N1")
        assert code == 0 and done.is_set() and "waiting for another process" in logged[0]
