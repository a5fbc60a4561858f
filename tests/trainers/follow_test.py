"""`tfrec-evaluate --follow` beside runs whose checkpoints appear one after the other."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import tiny_runs

from tfrec_zoo.export.restore import read_experiment
from tfrec_zoo.run_folder import RunFolder, open_run_folder
from tfrec_zoo.trainers import evaluate, follow

KEEP_ALL = ("--keep_checkpoints=9",)


class Trainer:
    """Lets the files of a finished run appear in another folder, a change with each look."""

    def __init__(self, run: Path, target: Path):
        self.run, self.target = run, target
        index = (run / "checkpoints/last/checkpoint").read_text()
        self.steps = sorted(
            int(path.stem.removeprefix("ckpt-"))
            for path in (run / "checkpoints/last").glob("ckpt-*.index")
        )
        assert f'model_checkpoint_path: "ckpt-{self.steps[-1]}"' in index
        self.changes, self.looks = [], 0

    def begin(self) -> None:
        """Writes all that stands beside the checkpoints, but for the final metrics."""
        ignore = shutil.ignore_patterns("checkpoints", "metrics.json", "tensorboard")
        shutil.copytree(self.run, self.target, ignore=ignore, dirs_exist_ok=True)

    def save(self, number: int, kept: int = 9, is_named: bool = True) -> None:
        """Writes a checkpoint and the file that names it; before that it is half written."""
        folder = self.target / "checkpoints/last"
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self.run / "checkpoints/last").glob(f"ckpt-{self.steps[number]}.*"):
            shutil.copy(path, folder)
        if not is_named:
            path = folder / f"ckpt-{self.steps[number]}.data-00000-of-00001"
            path.write_bytes(path.read_bytes()[:1000])
        names = [f"ckpt-{step}" for step in self.steps[: number + 1]][-kept:]
        if is_named:
            lines = [f'model_checkpoint_path: "{names[-1]}"']
            lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
            (folder / "checkpoint").write_text("\n".join(lines) + "\n")
        for path in folder.glob("ckpt-*"):
            if is_named and path.name.partition(".")[0] not in names:
                path.unlink()

    def end(self) -> None:
        """Writes the final metrics."""
        shutil.copy(self.run / "metrics.json", self.target)

    def sleep(self, _seconds: float) -> None:
        """Does what comes next; time passes by itself after that."""
        self.looks += 1
        if self.changes:
            self.changes.pop(0)()

    def clock(self) -> float:
        """Tells 10 seconds more after each look."""
        return 10.0 * self.looks

    @property
    def lines(self) -> list[dict]:
        """The evaluations so far."""
        return RunFolder(self.target).load_evaluations()


@pytest.fixture(scope="session")
def session_run(run_arguments, tmp_path_factory) -> Path:
    """A run of GRU4Rec that has kept its six checkpoints; not to be changed."""
    run = tmp_path_factory.mktemp("followed") / "run"
    flags = [*run_arguments, "--checkpoint_every_steps=40", *KEEP_ALL, f"--run_dir={run}"]
    assert tiny_runs.run_trainer(*flags) == 0
    return run


@pytest.fixture
def make_trainer(monkeypatch, tmp_path):
    """Makes a trainer whose changes come between the looks of a follower in this process."""

    def make(run: Path) -> Trainer:
        trainer = Trainer(run, tmp_path / "run")

        def patience(seconds: float) -> follow.Patience:
            return follow_patience(seconds, sleep=trainer.sleep, clock=trainer.clock)

        follow_patience = follow.Patience
        for module in (follow, evaluate):
            monkeypatch.setattr(module, "Patience", patience)
        return trainer

    return make


@pytest.fixture
def trainer(make_trainer, session_run):
    return make_trainer(session_run)


@pytest.fixture
def run_evaluate(monkeypatch):
    """Runs `tfrec-evaluate` in this process and returns its exit code."""

    def run(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["tfrec-evaluate", *map(str, arguments)])
        try:
            evaluate.main()
        except SystemExit as end:
            return end.code
        return 0

    return run


@pytest.fixture
def run_follower(run_evaluate, trainer, logs):
    """Follows the trainer, by default on the test log and for three looks without anything new."""

    def run(*arguments: str) -> int:
        flags = [f"--run_dir={trainer.target}", "--follow", "--follow_timeout=30", "--k=5,20"]
        return run_evaluate(f"--test={logs['test']}", *flags, *arguments)

    return run


def evaluate_alone(run_evaluate, run: Path, name: str, folder: Path, *flags: str) -> dict:
    """Returns the metrics that `tfrec-evaluate` finds for a checkpoint without --follow."""
    path = folder / "alone.json"
    checkpoint = f"--checkpoint={run / 'checkpoints' / name}"
    assert run_evaluate(f"--run_dir={run}", checkpoint, f"--metrics_to={path}", *flags) == 0
    (result,) = json.loads(path.read_text())["results"]
    return {key: value for key, value in result.items() if key not in ("test", "checkpoint")}


def assert_as_alone(run_evaluate, trainer: Trainer, folder: Path, *flags: str) -> None:
    """Asserts that lines, from the last on, have the metrics of their checkpoints alone."""
    for line in trainer.lines[::-2]:
        expected = evaluate_alone(run_evaluate, trainer.run, line["checkpoint"], folder, *flags)
        found = {name: line[name] for name in line if name not in POSITION}
        assert found == expected
        assert line["checkpoint"] == f"last/ckpt-{line['step']}"


POSITION = ("step", "epoch", "checkpoint", "flags")


def test_each_checkpoint_is_evaluated_as_it_appears_until_the_end(
    trainer, run_follower, run_evaluate, logs, tmp_path, capsys, caplog
):
    trainer.changes = [
        trainer.begin,
        lambda: trainer.save(0, is_named=False),
        lambda: trainer.save(0),
        lambda: None,
        lambda: [trainer.save(1), trainer.save(2)],
        lambda: trainer.save(3, kept=2),
        lambda: trainer.save(4, kept=2),
        lambda: trainer.save(5, is_named=False),
        lambda: trainer.save(5, kept=1),
        trainer.end,
        lambda: pytest.fail("the training had ended"),
    ]
    assert run_follower() == 0
    assert [record for record in caplog.records if record.levelname != "INFO"] == []
    assert trainer.steps == [40, 80, 92, 122, 162, 184]
    found = [(line["epoch"], line["step"]) for line in trainer.lines]
    assert found == [(1, 40), (1, 92), (2, 122), (2, 162), (2, 184)]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    last = trainer.lines[-1]
    assert printed[-1] == "step 184, epoch 2: " + ", ".join(
        f"{name}@{k} {last[f'{name}@{k}']:.4f}"
        for k in (5, 20)
        for name in ("recall", "mrr", "ndcg")
    )
    assert last["flags"] == {"test": [str(logs["test"])], "k": ["5", "20"]}
    assert len({line["mrr@20"] for line in trainer.lines}) == 5
    assert_as_alone(run_evaluate, trainer, tmp_path, f"--test={logs['test']}", "--k=5,20")


def test_a_follower_started_again_does_the_rest(trainer, run_follower, logs, capsys):
    trainer.begin()
    trainer.save(0)
    experiment = read_experiment(RunFolder(trainer.target))
    with open_run_folder(trainer.target, experiment):
        before = tiny_runs.snapshot(trainer.target)
        assert run_follower() == 0
        after = tiny_runs.snapshot(trainer.target)
        assert after.pop("evaluations.jsonl") and after == before
    with open(trainer.target / "evaluations.jsonl", "ab") as file:
        file.write(b'{"step": 80, "torn')
    assert run_follower() == 0
    assert [line["step"] for line in trainer.lines] == [40]
    trainer.changes = [lambda: trainer.save(5), trainer.end]
    assert run_follower() == 0
    assert [line["step"] for line in trainer.lines] == [40, 184]
    assert run_follower() == 0
    assert [line["step"] for line in trainer.lines] == [40, 184]
    assert len(capsys.readouterr().out.splitlines()) == 2
    # Other questions have not been answered yet.
    assert run_follower(f"--test={logs['validation']}", "--by_position") == 0
    (line,) = trainer.lines[2:]
    (printed,) = capsys.readouterr().out.splitlines()
    other = f"{logs['validation']}/recall@5"
    assert f"recall@5 {line['recall@5']:.4f}, " in printed
    assert f"{other} {line[other]:.4f}, " in printed
    assert line["position/1/recall@5"] >= 0 and "position" not in printed


def test_nothing_new_ends_it_after_a_time(trainer, run_follower, run_evaluate, logs, caplog):
    # Without a folder, without a checkpoint, without another one: three looks each.
    assert run_follower() == 0 and trainer.looks == 3
    trainer.begin()
    assert run_follower() == 0 and trainer.looks == 6
    assert not (trainer.target / "evaluations.jsonl").exists()
    trainer.changes = [lambda: None, lambda: None, lambda: trainer.save(0)]
    assert run_follower("--follow_timeout=31") == 0
    assert trainer.looks == 6 + 3 + 4
    assert [line["step"] for line in trainer.lines] == [40]
    trainer.save(1)
    assert run_follower("--follow_timeout=0") == 0 and trainer.looks == 13
    assert [line["step"] for line in trainer.lines] == [40, 80]
    assert "nothing new for 30 s" in caplog.text


def test_final_metrics_of_an_earlier_end_are_not_the_end(trainer, run_follower):
    trainer.begin()
    trainer.end()
    config = json.loads((trainer.run / "config.json").read_text())
    config["training"]["epochs"] = 3
    (trainer.target / "config.json").write_text(json.dumps(config))
    trainer.save(5)
    assert run_follower() == 0
    assert trainer.looks == 3 and trainer.lines[-1]["step"] == 184


def test_damaged_and_deleted_checkpoints(trainer, run_follower, caplog, capsys, monkeypatch):
    last = trainer.target / "checkpoints/last"

    def cut() -> None:
        trainer.save(1)
        path = last / "ckpt-80.data-00000-of-00001"
        path.write_bytes(path.read_bytes()[:1000])

    def delete() -> None:
        trainer.save(2)
        (last / "ckpt-92.index").unlink()

    trainer.begin()
    trainer.save(0)
    trainer.changes = [cut, lambda: None, delete, lambda: trainer.save(4)]
    assert run_follower("--follow_timeout=60") == 0
    # In place of the checkpoint without an index stood the one before it, damaged still.
    assert [line["step"] for line in trainer.lines] == [40, 162]
    warnings = [r for r in caplog.records if "trying again, or the next one" in r.message]
    assert len(warnings) == 1 and "ckpt-80" in warnings[0].message

    # The trainer writes the next one, and removes this one just before it is read.
    trainer.changes = [trainer.end]
    read = follow.Follower._restore

    def read_late(follower, path):
        if path.endswith("ckpt-162"):
            trainer.save(5, kept=1)
        return read(follower, path)

    (trainer.target / "evaluations.jsonl").unlink()
    monkeypatch.setattr(follow.Follower, "_restore", read_late)
    assert run_follower() == 0
    assert [line["step"] for line in trainer.lines] == [184]
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == len(warnings)


def test_a_damaged_last_checkpoint_is_an_error_in_the_end(trainer, run_follower, capsys):
    trainer.begin()
    trainer.save(5)
    path = trainer.target / "checkpoints/last/ckpt-184.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-500])
    trainer.end()
    assert run_follower() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("tfrec-evaluate: error: the check")
    assert trainer.lines == []


def test_what_is_wrong_with_the_test_data_ends_it(trainer, run_follower, tmp_path, capsys):
    trainer.begin()
    trainer.save(0)
    assert run_follower(f"--test={tmp_path / 'none.tsv'}") == 1
    assert "none.tsv" in capsys.readouterr().err and trainer.looks == 0


def test_clicks_are_followed(
    make_trainer, run_evaluate, finished_click_run, click_logs, tmp_path, capsys
):
    trainer = make_trainer(finished_click_run)
    trainer.changes = [trainer.begin, lambda: trainer.save(0), lambda: trainer.save(1), trainer.end]
    flags = [f"--test={click_logs['test']}", "--slice_by=c1", "--slices=2"]
    capsys.readouterr()
    assert run_evaluate("--follow", "--run_dir", trainer.target, *flags) == 0
    assert [(line["epoch"], line["step"]) for line in trainer.lines] == [(1, 38), (2, 76)]
    first, second = trainer.lines
    assert first["auc"] != second["auc"] and len(second["slices"]) == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith(f"step 76, epoch 2: auc {second['auc']:.4f}, log_loss ")
    assert_as_alone(run_evaluate, trainer, tmp_path, *flags)


def test_news_are_followed(make_trainer, run_evaluate, finished_news_run, news, tmp_path, capsys):
    trainer = make_trainer(finished_news_run)
    trainer.changes = [trainer.begin, lambda: trainer.save(0), lambda: trainer.save(1), trainer.end]
    flags = [f"--test={news['log']}", f"--test_impressions={news['impressions']}", "--k=5"]
    capsys.readouterr()
    assert run_evaluate("--follow", f"--run_dir={trainer.target}", *flags) == 0
    assert [line["step"] for line in trainer.lines] == trainer.steps
    first, second = trainer.lines
    assert first["impression_auc"] != second["impression_auc"]
    printed = capsys.readouterr().out.splitlines()
    assert f"impression_auc {second['impression_auc']:.4f}" in printed[1]
    assert_as_alone(run_evaluate, trainer, tmp_path, *flags)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--follow", "--export=x"], "--follow needs --run_dir: an export"),
        (["--follow"], "pass either --run_dir or --export"),
        (["--follow", "--run_dir=RUN", "--checkpoint=last"], "leave --checkpoint out"),
        (["--follow", "--run_dir=RUN", "--metrics_to=m.json"], "--metrics_to is a file of one"),
        (["--follow", "--run_dir=RUN", "--predict_to=p.tsv"], "--predict_to is a file of one"),
        (["--follow", "--run_dir=RUN", "--follow_timeout=-1"], "follow_timeout"),
        (["--run_dir=RUN", "--follow_timeout=9"], "--follow_timeout belongs to --follow"),
    ],
)
def test_flags_that_do_not_go_together(run_evaluate, session_run, arguments, sentence, capsys):
    arguments = [argument.replace("RUN", str(session_run)) for argument in arguments]
    assert run_evaluate("--test=x.tsv", *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not (session_run / "evaluations.jsonl").exists()


def test_help_does_not_wait(run_evaluate, capsys):
    assert run_evaluate("--follow", "--run_dir=/nowhere", "--help") == 0
    assert "--follow_timeout" in capsys.readouterr().out
