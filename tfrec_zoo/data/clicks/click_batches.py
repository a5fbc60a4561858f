"""Blocks of training steps on clicks: what `tfrec_zoo.trainers.dlrm_step` consumes."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tfrec_zoo.data.clicks.click_batch_config import ClickBatchConfig
from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.data.clicks.click_shards import ClickRows, ClickTable
from tfrec_zoo.data.clicks.epoch_order import EpochOrder
from tfrec_zoo.data.step_columns import find_columns

Block = dict[str, np.ndarray]
# From rows int32 [n, S] and their weights float [n, S] or None to rows of a store, int32 [n, L].
Locate = Callable[[np.ndarray, np.ndarray | None], np.ndarray]

# Keys that keep the random numbers of one seed apart.
_ORDER, _UNKNOWN, _NOISE = 1, 2, 3
# Examples of a block, unless one step has more: enough to hide the cost of a call, and few enough
# to be made while the block before is trained on.
_BLOCK_EXAMPLES = 16_384


class ClickBatches:
    """Cuts examples into batches and batches into blocks of K steps.

    A block is a dictionary of arrays, K steps of n = `accumulate_steps` batches of B examples; the
    last ones of an epoch are filled up with examples that are not valid.

        num_steps         int32 [], steps that hold examples
        is_valid          bool [K, n, B]
        labels            float32 [K, n, B]
        weights           float32 [K, n, B], 0 where an example is not valid
        dense             float32 [K, n, B, Dn]
        row_weights       float32 [K, n, B, S], only where the schema needs them
        columns_i         int32 [K, C_i], the distinct rows of store i that a step touches
        column_of_i       int32 [K, n, B, L_i], the column of each lookup
        noise             uint16 [K, n, B, W], random numbers for dropout, only where W > 0

    A block is a function of (seed, epoch, number of the block), so a run goes on at any block.
    """

    def __init__(
        self,
        table: ClickTable,
        schema: ClickSchema,
        config: ClickBatchConfig,
        locates: Sequence[Locate],
        *,
        noise_width: int = 0,
        steps_per_block: int = 100,
        seed: int = 0,
    ) -> None:
        """Takes the examples; nothing is read yet.

        Args:
            table: the training examples.
            schema: what they hold.
            config: sizes and order.
            locates: of each store, where its lookups lie.
            noise_width: W, random numbers that the model's dropout takes for an example.
            steps_per_block: K, at most; no more than an epoch has, nor than make 16,384 examples.
            seed: of the order, the unknown values and the noise.

        Raises:
            ValueError: there are no examples.
        """
        if not table.num_rows:
            raise ValueError("the training data have no examples")
        self.config = config
        self._table, self._schema, self._locates = table, schema, list(locates)
        self._noise_width, self._seed = noise_width, seed
        self._step_rows = config.batch_size * config.accumulate_steps
        self.steps_per_block = min(
            steps_per_block,
            -(-table.num_rows // self._step_rows),
            max(1, _BLOCK_EXAMPLES // self._step_rows),
        )

    @property
    def num_examples(self) -> int:
        """Examples of an epoch."""
        return self._table.num_rows

    @property
    def example_axes(self) -> dict[str, int]:
        """The axis of the examples, of each array of a block that has one."""
        names = ["is_valid", "labels", "weights", "dense", "row_weights", "noise"]
        return dict.fromkeys([*names, *map("column_of_{}".format, range(len(self._locates)))], 2)

    def blocks(self, epoch: int, first_block: int = 0, stride: int = 1) -> Iterator[Block]:
        """Yields each `stride`-th block of an epoch, counted from 0, from `first_block` on."""
        size = self.steps_per_block * self._step_rows
        order = EpochOrder(
            self.num_examples, self.config.shuffle_window, (self._seed, _ORDER, epoch)
        )
        for index in range(first_block, -(-self.num_examples // size), stride):
            start, stop = index * size, min((index + 1) * size, self.num_examples)
            if self.config.shuffle:
                examples = self._table.take(order.piece(start, stop))
            else:
                examples = self._table.slice(start, stop)
            yield self._make_block(examples, epoch, index)

    def _make_block(self, examples: ClickRows, epoch: int, index: int) -> Block:
        shape = (self.steps_per_block, self.config.accumulate_steps, self.config.batch_size)
        num_missing = self.steps_per_block * self._step_rows - examples.num_rows
        is_valid = np.arange(self.steps_per_block * self._step_rows) < examples.num_rows
        weights = np.ones(examples.num_rows, np.float32)
        if examples.weights is not None:
            weights = examples.weights
        given = {"labels": examples.labels, "weights": weights, "dense": examples.dense}
        if examples.row_weights is not None:
            given["row_weights"] = examples.row_weights
        block = {
            name: _fill_up(array, num_missing).reshape(*shape, *array.shape[1:])
            for name, array in given.items()
        }
        block["is_valid"] = is_valid.reshape(shape)
        block["num_steps"] = np.array(-(-examples.num_rows // self._step_rows), np.int32)
        if self._noise_width:
            rng = np.random.default_rng((self._seed, _NOISE, epoch, index))
            block["noise"] = rng.integers(0, 2**16, (*shape, self._noise_width), np.uint16)
        rows = self._drop_values(examples.rows, epoch, index)
        for number, locate in enumerate(self._locates):
            # What fills up looks up the padding row.
            located = _fill_up(locate(rows, examples.row_weights), num_missing)
            columns, column_of = find_columns(located.reshape(self.steps_per_block, -1))
            block[f"columns_{number}"] = columns
            block[f"column_of_{number}"] = column_of.reshape(*shape, -1)
        return block

    def _drop_values(self, rows: np.ndarray, epoch: int, index: int) -> np.ndarray:
        """Returns `rows` with some values of vocabularies as unknown, row 0."""
        if not self.config.unknown_rate:
            return rows
        rng = np.random.default_rng((self._seed, _UNKNOWN, epoch, index))
        return drop_values(rows, self._schema, self.config.unknown_rate, rng)


def drop_values(
    rows: np.ndarray, schema: ClickSchema, rate: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns rows int32 [n, S] with a share of the values of vocabularies as unknown, row 0."""
    is_dropped = rng.random(rows.shape, np.float32) < rate
    return np.where(is_dropped & schema.has_vocabulary, 0, rows)


def _fill_up(array: np.ndarray, num_missing: int) -> np.ndarray:
    """Returns `array` with zeros behind its last row."""
    if not num_missing:
        return array
    return np.concatenate([array, np.zeros((num_missing, *array.shape[1:]), array.dtype)])
