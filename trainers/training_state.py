"""Where a run is: everything beside weights and lane states that a continued run needs."""

import dataclasses
import json
import math
from dataclasses import dataclass

import tensorflow as tf

from tfrec_zoo.experiments import TrainingConfig

# Where `CheckpointedState.text` lies in a checkpoint that has it as `state`.
_STATE_KEY = "state/text/.ATTRIBUTES/VARIABLE_VALUE"


@dataclass
class TrainingState:
    """A run's position and what it has seen; counts are of what is done."""

    epoch: int = 0
    block: int = 0
    step: int = 0
    epoch_events: int = 0
    epoch_loss_sum: float = 0.0
    train_seconds: float = 0.0
    best_value: float | None = None
    best_step: int = 0
    bad_validations: int = 0
    is_stopped_early: bool = False
    data_fingerprint: str = ""

    @property
    def epoch_loss(self) -> float:
        """Mean loss of the epoch's events so far."""
        return self.epoch_loss_sum / self.epoch_events if self.epoch_events else math.nan

    def is_done(self, config: TrainingConfig) -> bool:
        """Returns whether the epochs are done, a limit is reached or nothing improves any more."""
        has_steps_left = not config.max_steps or self.step < config.max_steps
        return self.epoch >= config.epochs or not has_steps_left or self.is_stopped_early

    def begin_epoch(self, epoch: int) -> None:
        """Moves to the start of an epoch."""
        self.epoch, self.block, self.epoch_events, self.epoch_loss_sum = epoch, 0, 0, 0.0

    def note_validation(self, value: float, min_improvement: float) -> bool:
        """Takes in a value of the primary metric; returns whether it is the best so far."""
        is_best = self.best_value is None or value > self.best_value + min_improvement
        if is_best:
            self.best_value, self.best_step, self.bad_validations = value, self.step, 0
        else:
            self.bad_validations += 1
        return is_best


def read_state(checkpoint: str) -> TrainingState:
    """Returns the state in a checkpoint, without its weights.

    Raises:
        ValueError: it has none, as the checkpoints of saved estimators, or it is damaged.
    """
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        has_state = reader.has_tensor(_STATE_KEY)
        text = reader.get_tensor(_STATE_KEY) if has_state else b""
    # Where a file is too short, the reader knows no better error.
    except (tf.errors.OpError, IndexError) as error:
        raise ValueError(
            f"the checkpoint {checkpoint} is damaged ({error}): choose another --run_dir"
        ) from None
    if not has_state:
        raise ValueError(
            f"{checkpoint} holds weights alone, so that run cannot be continued: choose another "
            "--run_dir, with --init_from to start from these weights"
        )
    return TrainingState(**json.loads(text))


def read_lane_shape(checkpoint: str, layer: int) -> tuple[int, ...]:
    """Returns the shape of the lanes' states of a layer in a checkpoint, [lanes, H]."""
    name = f"state/lane_states/{layer}/.ATTRIBUTES/VARIABLE_VALUE"
    return tuple(tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()[name])


class CheckpointedState(tf.Module):
    """A `TrainingState` and the lanes' states as variables, for `tf.train.Checkpoint`."""

    def __init__(self, lane_states: tuple[tf.Tensor, ...]) -> None:
        """Makes variables for states of these shapes."""
        super().__init__(name="state")
        self.text = tf.Variable("", trainable=False, dtype=tf.string, name="text")
        self.lane_states = [
            tf.Variable(tf.zeros_like(state), trainable=False) for state in lane_states
        ]

    def store(self, state: TrainingState, lane_states: tuple[tf.Tensor, ...]) -> None:
        """Sets the variables, before a checkpoint is saved."""
        self.text.assign(json.dumps(dataclasses.asdict(state)))
        for variable, value in zip(self.lane_states, lane_states, strict=True):
            variable.assign(value)

    def load(self) -> tuple[TrainingState, tuple[tf.Tensor, ...]]:
        """Returns what `store` was given, after a checkpoint was restored."""
        state = TrainingState(**json.loads(self.text.numpy().decode()))
        return state, tuple(tf.identity(variable) for variable in self.lane_states)
