"""Session logs as blocks of training steps: the schedule, the negatives and the distinct columns.

A block is a dictionary of arrays with a leading axis of K steps, so that one call of a compiled
function runs K steps. All of it is a function of (seed, epoch, block index): a run that was
interrupted goes on at any block exactly as it would have.
"""

from collections.abc import Iterator

import numpy as np

from tfrec_zoo.data.sessions.batch_config import SessionBatchConfig
from tfrec_zoo.data.sessions.lanes import SILENT, schedule_lanes
from tfrec_zoo.data.sessions.negatives import NegativeSampler
from tfrec_zoo.data.sessions.session_log import Sessions
from tfrec_zoo.data.sessions.whole_sessions import BATCHES_PER_RUN, schedule_whole_sessions
from tfrec_zoo.data.step_columns import count_columns, find_columns, take_rows

Block = dict[str, np.ndarray]

# The axis of the lanes, of each array of a block that has one.
EXAMPLE_AXES = dict.fromkeys(
    ("is_first", "is_valid", "item_column", "target_column", "negative_column", "noise"), 2
)
# What a random number is for: keeps the streams of one seed apart.
_ORDER, _NEGATIVES, _NOISE = 0, 1, 2


class SessionBatches:
    """Training blocks of session logs.

    A block holds, for K steps of T clicks in B lanes,

    - `num_steps` int32 []: how many of the K steps are real (the others are not run);
    - `is_first`, `is_valid` bool [K, T, B]: a session, or a piece of one, begins here; the lane is
      not silent;
    - `columns` int32 [K, C]: the distinct rows of the step's candidates, row 0 as padding;
    - `target_column` int32 [K, T, B] and, with tied embeddings, `item_column`: where the target and
      the input stand in `columns`; untied, `item_column` points into `input_rows` int32 [K, C'];
    - `in_batch_counts`, `negative_counts` float32 [K, C]: targets and draws that are this column;
    - `negative_column` int32 [K, T, B, N] where negatives are not shared;
    - `noise` uint16 [K, T, B, W], where the model drops out.

    With the full catalogue there are no columns: `target_column` and, with tied embeddings,
    `item_column` are rows.
    """

    def __init__(
        self,
        sessions: Sessions,
        row_counts: np.ndarray,
        config: SessionBatchConfig,
        *,
        has_tied_inputs: bool,
        noise_width: int = 0,
        steps_per_block: int,
        seed: int,
    ) -> None:
        """Takes the sessions apart.

        Args:
            sessions: the training sessions as rows.
            row_counts: int64 [V + 1], the popularity that negatives follow.
            config: the schedule and the negatives.
            has_tied_inputs: whether inputs are rows of the candidates' table.
            noise_width: W, random numbers that the model's dropout takes for an event.
            steps_per_block: K.
            seed: of session order and negatives.

        Raises:
            ValueError: more lanes than sessions.
        """
        self.config = config
        self._rows = sessions.rows
        self._has_tied_inputs = has_tied_inputs
        self._noise_width = noise_width
        self._starts, self._lengths = cut_sessions(sessions.offsets, config.max_session_length)
        self._is_start = np.zeros(len(sessions.rows), bool)
        self._is_start[self._starts] = True
        owner = np.searchsorted(sessions.offsets, self._starts, side="right") - 1
        self._start_times = np.asarray(sessions.start_times)[owner]
        self._seed = seed
        self._sampler = None
        if config.num_negatives:
            self._sampler = NegativeSampler(row_counts, config.popularity_exponent)
        if config.schedule == "lanes" and config.num_lanes > len(self._starts):
            raise ValueError(
                f"num_lanes={config.num_lanes} needs as many sessions, got {len(self._starts)}"
            )
        self.steps_per_block = steps_per_block if config.schedule == "lanes" else BATCHES_PER_RUN

    @property
    def num_events(self) -> int:
        """Targets of an epoch (without extra negatives, a last lone lane's are left out)."""
        return int((self._lengths - 1).sum())

    def blocks(self, epoch: int, first_block: int = 0) -> Iterator[Block]:
        """Yields the blocks of an epoch, counted from 0, from `first_block` on."""
        for index, positions in enumerate(self._position_blocks(epoch)):
            if index >= first_block:
                yield self._make_block(positions, epoch, index)

    def _position_blocks(self, epoch: int) -> Iterator[np.ndarray]:
        """Yields int [n, T, B], n <= K: the click positions of each block."""
        rng = np.random.default_rng((self._seed, _ORDER, epoch))
        order = self._play_order(rng)
        starts, lengths = self._starts[order], self._lengths[order]
        config = self.config
        if config.schedule == "sessions":
            yield from schedule_whole_sessions(starts, lengths, config.num_lanes, rng)
            return
        has_partners = config.num_negatives == 0
        steps = schedule_lanes(starts, lengths, config.num_lanes, 2 if has_partners else 1)
        size = self.steps_per_block * config.unroll_steps
        for first in range(0, len(steps), size):
            part = steps[first : first + size]
            missing = -len(part) % config.unroll_steps
            part = np.pad(part, ((0, missing), (0, 0)), constant_values=SILENT)
            yield part.reshape(-1, config.unroll_steps, config.num_lanes)

    def _play_order(self, rng: np.random.Generator) -> np.ndarray:
        if self.config.session_order == "random":
            return rng.permutation(len(self._starts))
        if self.config.session_order == "file":
            return np.arange(len(self._starts))
        return np.argsort(self._start_times, kind="stable")

    def _make_block(self, positions: np.ndarray, epoch: int, index: int) -> Block:
        num_steps = len(positions)
        missing = self.steps_per_block - num_steps
        positions = np.pad(positions, ((0, missing), (0, 0), (0, 0)), constant_values=SILENT)
        is_valid = positions != SILENT
        items = take_rows(self._rows, positions)
        targets = take_rows(self._rows, np.where(is_valid, positions + 1, SILENT))
        block = {
            "num_steps": np.array(num_steps, np.int32),
            "is_first": self._is_start[np.maximum(positions, 0)] & is_valid,
            "is_valid": is_valid,
        }
        if self._noise_width:
            rng = np.random.default_rng((self._seed, _NOISE, epoch, index))
            shape = (*positions.shape, self._noise_width)
            block["noise"] = rng.integers(0, 2**16, shape, np.uint16)
        if self._has_tied_inputs:
            block["item_column"] = items
        else:
            block["input_rows"], column_of = find_columns(items.reshape(len(items), -1))
            block["item_column"] = column_of.reshape(items.shape)
        if self.config.is_full_catalogue:
            return block | {"target_column": targets}
        rng = np.random.default_rng((self._seed, _NEGATIVES, epoch, index))
        return block | self._make_columns(items, targets, rng)

    def _make_columns(
        self, items: np.ndarray, targets: np.ndarray, rng: np.random.Generator
    ) -> Block:
        """Returns the part of a block that is about its candidates' distinct rows."""
        negatives = self._draw_negatives(rng, targets.shape)
        groups = {"target_column": targets, "negatives": negatives}
        result = {}
        if self._has_tied_inputs:
            groups["item_column"] = items
        sizes = [group[0].size for group in groups.values()]
        flat = [group.reshape(len(group), -1) for group in groups.values()]
        result["columns"], column_of = find_columns(np.concatenate(flat, axis=1))
        parts = np.split(column_of, np.cumsum(sizes)[:-1], axis=1)
        for (name, group), part in zip(groups.items(), parts, strict=True):
            result[name] = part.reshape(group.shape)
        drawn = result.pop("negatives")
        num_columns = result["columns"].shape[1]
        if self.config.shared_negatives:
            result["in_batch_counts"] = count_columns(result["target_column"], num_columns)
            result["negative_counts"] = count_columns(drawn, num_columns)
        else:
            result["negative_column"] = drawn
        return result

    def _draw_negatives(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        count = self.config.num_negatives
        lead = (shape[0],) if self.config.shared_negatives else shape
        if self._sampler is None:
            return np.zeros((*lead, 0), np.int32)
        return self._sampler.draw(rng, (*lead, count))


def cut_sessions(offsets: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns starts and lengths of the sessions, long ones cut into pieces of `max_length` clicks.

    A piece begins with the click that the one before it ends with, so that no target is lost.

    Args:
        offsets: int64 [S + 1], session s is clicks `offsets[s]:offsets[s + 1]`.
        max_length: at least 2; 0: nothing is cut.
    """
    starts, lengths = offsets[:-1], np.diff(offsets)
    if not max_length:
        return starts, lengths
    stride = max_length - 1
    pieces = -(-(lengths - 1) // stride)
    owner = np.repeat(np.arange(len(starts)), pieces)
    first = (np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * stride
    return starts[owner] + first, np.minimum(lengths[owner] - first, max_length)
