"""The engine on a task whose losses and validations are given: what it does when."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_zoo.experiments import GRU4RecExperiment, SessionTrainingConfig
from tfrec_zoo.run_folder import open_run_folder
from tfrec_zoo.trainers.drivers.local import LocalDriver
from tfrec_zoo.trainers.engine import Trainer

STEPS_PER_BLOCK = 2


class CountingStep(tf.Module):
    """Counts its steps in a weight; the losses stand in the batch."""

    def __init__(self):
        super().__init__()
        self.model, self.optimizer = tf.Module(), tf.Module()
        self.model.weight = tf.Variable(0.0)

    def __call__(self, batch, states):
        self.model.weight.assign_add(1.0)
        return tf.reduce_sum(batch["losses"]), states


class GivenTask:
    """Epochs of given losses, one event a step, and given values of the validation."""

    fingerprint, has_perplexity, unit = "given", True, "events"
    has_init_from = prefers_xla = True

    def __init__(self, losses=(3.0, 2.0, 1.0), validations=None):
        self.step, self.driver = CountingStep(), LocalDriver()
        self.losses, self.num_events = losses, len(losses)
        self.has_validation = validations is not None
        self._validations = iter(validations or ())
        self.validated_steps = []

    def blocks(self, epoch, first_block, stream=0):
        blocks = []
        for first in range(0, len(self.losses), STEPS_PER_BLOCK):
            losses = self.losses[first : first + STEPS_PER_BLOCK]
            padding = (0, STEPS_PER_BLOCK - len(losses))
            is_valid = np.pad(np.ones((len(losses), 1), bool), (padding, (0, 0)))
            blocks.append(
                {
                    "num_steps": np.array(len(losses), np.int32),
                    "losses": np.pad(np.array(losses, np.float32), padding)[:, None],
                    "is_valid": is_valid,
                }
            )
        return iter(blocks[first_block:])

    def initial_states(self):
        return ()

    def begin_epoch(self, epoch):
        pass

    def refresh(self):
        pass

    def check(self):
        pass

    def validate(self):
        self.validated_steps.append(int(self.step.model.weight.numpy()))
        return {"recall@20": next(self._validations)}


@pytest.fixture
def folder(tmp_path):
    with open_run_folder(tmp_path / "run", GRU4RecExperiment()) as folder:
        yield folder


def make_trainer(folder, task, **options) -> Trainer:
    config = SessionTrainingConfig(**{"jit_compile": False, **options})
    return Trainer(task, config, folder)


def list_checkpoints(folder, which="last") -> list[str]:
    return sorted(path.stem for path in (folder.checkpoints_path / which).glob("*.index"))


def test_epochs_are_trained_and_logged(folder):
    task = GivenTask()
    trainer = make_trainer(folder, task, epochs=2)
    assert not trainer.restore()
    trainer.run()
    assert task.step.model.weight.numpy() == 6
    found = [(x["epoch"], x["step"], x["loss"], x["perplexity"]) for x in folder.load_metrics_log()]
    assert found == [(1, 3, 2.0, math.exp(2)), (2, 6, 2.0, math.exp(2))]
    numbers = trainer.summarize()
    assert (numbers["loss"], numbers["epochs"], numbers["steps"]) == (2.0, 2, 6)
    assert numbers["best_value"] is None


@pytest.mark.parametrize(
    ("asked", "is_preferred", "is_expected"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_steps_are_compiled_as_asked_or_else_as_the_task_prefers(
    asked, is_preferred, is_expected, folder, monkeypatch
):
    taken = []
    monkeypatch.setattr(
        LocalDriver, "take", lambda driver, task, compiled, _: taken.append(compiled)
    )
    task = GivenTask()
    task.prefers_xla = is_preferred
    make_trainer(folder, task, jit_compile=asked)
    assert taken == [is_expected]


def test_training_stops_early_and_the_best_weights_come_back(folder):
    task = GivenTask(validations=[0.1, 0.5, 0.4, 0.5, 0.9])
    trainer = make_trainer(folder, task, epochs=9, early_stopping_patience=2)
    state = trainer.run()
    assert (state.epoch, state.is_stopped_early) == (4, True)
    assert (state.best_value, state.best_step) == (0.5, 6)
    assert task.step.model.weight.numpy() == 12
    trainer.restore_best()
    assert task.step.model.weight.numpy() == 6
    assert (list_checkpoints(folder, "best"), list_checkpoints(folder)[-1]) == (
        ["ckpt-6"],
        "ckpt-9",
    )


def test_a_run_that_stopped_early_stays_so(folder):
    options = {"epochs": 9, "early_stopping_patience": 1}
    make_trainer(folder, GivenTask(validations=[0.5, 0.4]), **options).run()
    task = GivenTask(validations=[])
    trainer = make_trainer(folder, task, **options)
    assert trainer.restore() and trainer.is_done
    trainer.run()
    assert task.step.model.weight.numpy() == 6 and task.validated_steps == []


def test_validation_every_some_steps_rounds_up_to_blocks_and_runs_once_a_step(folder):
    task = GivenTask(losses=[1.0] * 6, validations=[0.1, 0.2, 0.3, 0.4])
    trainer = make_trainer(folder, task, epochs=2, validate_every_steps=3)
    trainer.run()
    # 3 falls into the block that ends at 4; 6 and 12 end an epoch, too.
    assert task.validated_steps == [4, 6, 10, 12]
    lines = folder.load_metrics_log()
    assert [(x["epoch"], x["step"], "loss" in x) for x in lines] == [
        *((1, 4, False), (1, 6, False), (1, 6, True)),
        *((2, 10, False), (2, 12, False), (2, 12, True)),
    ]
    assert [x["validation/recall@20"] for x in lines] == [0.1, 0.2, 0.2, 0.3, 0.4, 0.4]
    assert trainer.state.bad_validations == 0


def test_validation_every_second_epoch(folder):
    task = GivenTask(validations=[0.1, 0.2])
    make_trainer(folder, task, epochs=5, validate_every_epochs=2).run()
    assert task.validated_steps == [6, 12]


def test_checkpoints_within_an_epoch_have_numbers_of_their_own(folder, monkeypatch):
    saved = []
    task = GivenTask(losses=[1.0] * 8)
    trainer = make_trainer(folder, task, epochs=2, checkpoint_every_steps=2, keep_checkpoints=3)
    checkpoints = trainer._checkpoints
    save = checkpoints.save_last
    monkeypatch.setattr(
        checkpoints,
        "save_last",
        lambda state, *rest: (saved.append(state.step), save(state, *rest)),
    )
    trainer.run()
    # Written twice under one number, a checkpoint could be lost in the middle of the second time.
    assert saved == [2, 4, 6, 8, 10, 12, 14, 16]
    assert list_checkpoints(folder) == ["ckpt-12", "ckpt-14", "ckpt-16"]


def test_a_limit_of_steps_ends_a_run_that_can_go_on(folder):
    first = make_trainer(folder, GivenTask(), epochs=3, max_steps=4)
    assert first.run().step == 5
    task = GivenTask()
    second = make_trainer(folder, task, epochs=3)
    assert second.restore()
    second.run()
    assert task.step.model.weight.numpy() == 9
    assert [line["loss"] for line in folder.load_metrics_log()] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("place", "before"), [(2, "7.5"), (3, "2.5")])
def test_a_loss_that_is_no_number_stops_the_run(folder, bad, place, before):
    losses = [1.0, 7.5, 2.5, 1.0]
    losses[place] = bad
    trainer = make_trainer(folder, GivenTask(losses))
    with pytest.raises(ValueError) as caught:
        trainer.run()
    text = str(caught.value)
    assert f"the loss became {bad} at step {place + 1} " in text
    assert f"(summed loss of the step before: {before}, mean of the epoch so far: 4.25)" in text
    assert list_checkpoints(folder) == []


def test_a_profile_is_written_and_ended_by_an_error(folder):
    losses = [1.0] * 6
    make_trainer(folder, GivenTask(losses), epochs=1, profile_steps=(3, 4)).run()
    profiles = folder.tensorboard_path.rglob("*.xplane.pb")
    assert len(list(profiles)) == 1
    broken = make_trainer(folder, GivenTask([1.0, 1.0, math.nan]), profile_steps=(1, 9))
    with pytest.raises(ValueError, match="loss became nan"):
        broken.run()
    tf.profiler.experimental.start(str(folder.path / "free"))
    tf.profiler.experimental.stop(save=False)


def test_options_without_validation_data_are_refused(folder):
    for name in ("early_stopping_patience", "validate_every_steps", "validation_sessions"):
        with pytest.raises(ValueError, match=f"{name}=3 needs validation data"):
            make_trainer(folder, GivenTask(), **{name: 3})


def test_other_data_is_refused_before_anything_is_read(folder):
    make_trainer(folder, GivenTask(), epochs=1).run()
    task = GivenTask()
    task.fingerprint = "other"
    task.step.model.weight = tf.Variable([0.0, 0.0])  # Would not fit.
    with pytest.raises(ValueError, match="was trained on other data \\(given; now: other\\)"):
        make_trainer(folder, task).restore()


@pytest.mark.parametrize("value", [[1.0, 2.0], 1, None])
def test_a_checkpoint_of_other_variables_is_refused(value, folder):
    make_trainer(folder, GivenTask(), epochs=1).run()
    before = list_checkpoints(folder)
    task = GivenTask()
    # Of another shape or type than in the checkpoint, or not there at all.
    if value:
        task.step.model.weight = tf.Variable(value)
    else:
        del task.step.model.weight
    with pytest.raises(ValueError, match="has other variables than this version of the zoo"):
        make_trainer(folder, task, epochs=2).restore()
    assert list_checkpoints(folder) == before


def test_what_an_attempt_without_a_checkpoint_left_is_dropped(folder):
    lost = make_trainer(folder, GivenTask(validations=[0.9]), epochs=1)
    lost._save = lambda: None
    lost.run()
    assert len(folder.load_metrics_log()) == 1 and list_checkpoints(folder, "best") == ["ckpt-3"]

    task = GivenTask()
    trainer = make_trainer(folder, task, epochs=2)
    assert not trainer.restore()
    trainer.run()
    trainer.restore_best()
    assert task.step.model.weight.numpy() == 6
    assert [line["step"] for line in folder.load_metrics_log()] == [3, 6]
