"""Blocks of training steps on histories: what `tfrec_zoo.trainers.ssr_step` consumes."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tfrec_zoo.data.clicks.click_batches import drop_values
from tfrec_zoo.data.news.history_batch_config import HistoryBatchConfig
from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.data.news.training_examples import TrainingExamples
from tfrec_zoo.data.sessions.negatives import NegativeSampler
from tfrec_zoo.data.step_columns import count_columns, find_columns

Block = dict[str, np.ndarray]
# From rows int32 [n, S] and their weights float [n, S] or None to rows of a store, int32 [n, L].
Locate = Callable[[np.ndarray, np.ndarray | None], np.ndarray]

# The axis of the examples, of each array of a block that has one.
EXAMPLE_AXES = {
    **dict.fromkeys(
        ("is_valid", "weights", "lengths", "history", "target_column", "times", "noise"), 1
    ),
    **dict.fromkeys(("negative_column", "shown_column"), 2),
}
# Keys that keep the random numbers of one seed apart.
_ORDER, _BLOCK = 1, 2
# Histories are padded to one of few widths, each four times the one before.
_FIRST_WIDTH, _WIDTH_FACTOR = 4, 4
# Clicks of a block, unless one step has more.
_BLOCK_CLICKS = 400_000


class HistoryBatches:
    """Cuts examples into batches of histories of similar length, and these into blocks of K steps.

    A step reads each distinct item once. A block is a dictionary of arrays, of K steps with B
    examples; the last ones of a width are filled up with examples that are not valid.

        num_steps         int32 [], steps that hold examples
        is_valid          bool [K, B]
        weights           float32 [K, B], what an example counts, 0 where it is not valid
        history           int32 [K, B, T], places in the step's items, 0 for padding
        lengths           int32 [K, B], clicks of each history
        candidates        int32 [K, C], places in the step's items of targets and negatives
        target_column     int32 [K, B], place in the candidates
        in_batch_counts, negative_counts  float32 [K, C], targets and draws that a candidate is
        negative_column   int32 [K, N, B], instead of both, where negatives are not shared
        log_counts        float32 [K, C], logarithm of the candidates' training clicks
        shown_column      int32 [K, M, B], what was shown in vain; 0: nothing (only with M > 0)
        times, candidate_times  float32 [K, B], [K, C], of targets, and when items came up, inf
                          where that is not known; from the block's first time on (only with ages)
        noise             uint16 [K, B, T, W], random numbers for dropout (only with W > 0)

    and of the I items of a step, the first of which is padding,

        dense             float32 [K, I, Dn]
        row_weights       float32 [K, I, S], only where the schema needs them
        columns_i         int32 [K, C_i], the distinct rows of store i that the items touch
        column_of_i       int32 [K, I, L_i], the column of each lookup

    A block is a function of (seed, epoch, number of the block), so a run goes on at any block.
    """

    def __init__(
        self,
        examples: TrainingExamples,
        catalogue: ItemCatalogue,
        config: HistoryBatchConfig,
        locates: Sequence[Locate],
        *,
        has_ages: bool = False,
        noise_width: int = 0,
        steps_per_block: int = 100,
        seed: int = 0,
    ) -> None:
        """Takes the examples.

        Args:
            examples: of the rows of `catalogue`.
            catalogue: the items, with their content, training clicks and times.
            config: sizes and negatives.
            locates: of each store of the model's tables, where its lookups lie.
            has_ages: whether the model looks at the items' ages.
            noise_width: W, random numbers that the model's dropout takes for a click.
            steps_per_block: K, at most.
            seed: of the order, the negatives, the unknown values and the noise.

        Raises:
            ValueError: ages without times.
        """
        if has_ages and (catalogue.times is None or not examples.has_times):
            raise ValueError(
                "age_buckets needs times of the clicks and of the items: name the time column of "
                "the log, or set age_buckets to 0"
            )
        self.config = config
        self._examples, self._catalogue, self._locates = examples, catalogue, list(locates)
        self._has_ages, self._noise_width, self._seed = has_ages, noise_width, seed
        self._steps_per_block = steps_per_block
        counts = catalogue.vocabulary.row_counts()
        self._log_counts = np.log(np.maximum(counts, 1)).astype(np.float32)
        self._sampler = None
        if config.num_negatives:
            self._sampler = NegativeSampler(counts, config.popularity_exponent)
        self._has_shown = examples.impressions is not None and config.num_shown_negatives > 0

    @property
    def num_examples(self) -> int:
        """Examples of an epoch."""
        return self._examples.num_examples

    def blocks(self, epoch: int, first_block: int = 0, stride: int = 1) -> Iterator[Block]:
        """Yields each `stride`-th block of an epoch, counted from 0, from `first_block` on."""
        for index, piece in enumerate(self._cut(epoch)):
            if index >= first_block and (index - first_block) % stride == 0:
                rng = np.random.default_rng((self._seed, _BLOCK, epoch, index))
                yield self._make_block(*piece, rng)

    def _cut(self, epoch: int) -> list[tuple[int, int, np.ndarray]]:
        """Returns T, K and the examples of each block, in random order."""
        rng = np.random.default_rng((self._seed, _ORDER, epoch))
        order = rng.permutation(self.num_examples)
        lengths = self._examples.lengths[order]
        pieces, shorter = [], 0
        for width in list_widths(self._examples.histories.max_history):
            chosen = order[(lengths > shorter) & (lengths <= width)]
            num_steps = self._num_steps(width, len(chosen))
            size = num_steps * self.config.batch_size
            for start in range(0, len(chosen), size):
                pieces.append((width, num_steps, chosen[start : start + size]))
            shorter = width
        return [pieces[place] for place in rng.permutation(len(pieces))]

    def _num_steps(self, width: int, num_examples: int) -> int:
        """Returns K of the blocks of a width."""
        step_clicks = self.config.batch_size * width
        most = min(self._steps_per_block, max(1, _BLOCK_CLICKS // step_clicks))
        return max(1, min(most, -(-num_examples // self.config.batch_size)))

    def _make_block(
        self, width: int, num_steps: int, indices: np.ndarray, rng: np.random.Generator
    ) -> Block:
        batch_size = self.config.batch_size
        shape = (num_steps, batch_size)
        num_real_steps = -(-len(indices) // batch_size)
        is_valid = np.arange(num_steps * batch_size) < len(indices)
        # What fills up is the first example again: of these no loss is taken.
        indices = np.where(is_valid, np.resize(indices, len(is_valid)), indices[0])
        examples = self._examples.take(indices, width)
        targets = np.where(is_valid, examples["target"], 0).reshape(shape)
        block = {
            "num_steps": np.array(num_real_steps, np.int32),
            "is_valid": is_valid.reshape(shape),
            "weights": self._weigh(indices, is_valid).reshape(shape),
            "lengths": examples["lengths"].reshape(shape),
        }
        shown = None
        if self._has_shown:
            shown = self._examples.draw_shown(rng, indices, self.config.num_shown_negatives)
            shown = np.where(is_valid[:, None], shown, 0).reshape(num_steps, -1)
        block |= self._make_candidates(targets, shown, rng)
        history = examples["history"].reshape(num_steps, -1)
        candidate_rows = block.pop("candidate_rows")
        items, column_of = find_columns(np.concatenate([candidate_rows, history], axis=1))
        block["candidates"] = column_of[:, : candidate_rows.shape[1]]
        block["history"] = column_of[:, candidate_rows.shape[1] :].reshape(*shape, width)
        block["log_counts"] = self._log_counts[candidate_rows]
        if self._has_ages:
            block |= self._make_times(examples["time"].reshape(shape), candidate_rows)
        if self._noise_width:
            noise_shape = (*shape, width, self._noise_width)
            block["noise"] = rng.integers(0, 2**16, noise_shape, np.uint16)
        return block | self._read_items(items, rng)

    def _weigh(self, indices: np.ndarray, is_valid: np.ndarray) -> np.ndarray:
        is_shown = self._examples.is_shown(indices)
        weights = np.where(is_shown, self.config.impression_weight, 1.0) * is_valid
        return weights.astype(np.float32)

    def _make_candidates(
        self, targets: np.ndarray, shown: np.ndarray | None, rng: np.random.Generator
    ) -> Block:
        """Returns the distinct targets and negatives of each step, and who is whose.

        Args:
            targets: int32 [K, B], rows; 0 where an example is not valid.
            shown: int32 [K, B * M], rows, or None.
            rng: of the draws.
        """
        config, (num_steps, batch_size) = self.config, targets.shape
        per_step = config.num_negatives * (1 if config.shared_negatives else batch_size)
        negatives = np.zeros((num_steps, 0), np.int32)
        if self._sampler is not None:
            negatives = self._sampler.draw(rng, (num_steps, per_step))
        groups = [targets, negatives] if shown is None else [targets, negatives, shown]
        rows, column_of = find_columns(np.concatenate(groups, axis=1))
        target_column, drawn, shown_column = np.split(
            column_of, np.cumsum([batch_size, negatives.shape[1]]), axis=1
        )
        found = {"candidate_rows": rows, "target_column": target_column}
        if config.shared_negatives:
            found["in_batch_counts"] = count_columns(target_column, rows.shape[1])
            found["negative_counts"] = count_columns(drawn, rows.shape[1])
        else:
            found["negative_column"] = drawn.reshape(num_steps, -1, batch_size)
        if shown is not None:
            of_examples = shown_column.reshape(num_steps, batch_size, -1)
            found["shown_column"] = np.ascontiguousarray(of_examples.transpose(0, 2, 1))
        return found

    def _make_times(self, times: np.ndarray, candidate_rows: np.ndarray) -> Block:
        first = times.min()
        came_up = self._catalogue.times[candidate_rows] - first
        return {
            "times": (times - first).astype(np.float32),
            "candidate_times": np.where(np.isnan(came_up), np.inf, came_up).astype(np.float32),
        }

    def _read_items(self, items: np.ndarray, rng: np.random.Generator) -> Block:
        """Returns the content of the items, rows int32 [K, I]."""
        shape = items.shape
        content = self._catalogue.take(items.ravel())
        rows = content.rows
        if self.config.unknown_rate:
            rows = drop_values(rows, self._catalogue.schema, self.config.unknown_rate, rng)
        found = {"dense": content.dense.reshape(*shape, -1)}
        if content.row_weights is not None:
            found["row_weights"] = content.row_weights.reshape(*shape, -1)
        for number, locate in enumerate(self._locates):
            located = locate(rows, content.row_weights)
            columns, column_of = find_columns(located.reshape(shape[0], -1))
            found[f"columns_{number}"] = columns
            found[f"column_of_{number}"] = column_of.reshape(*shape, -1)
        return found


def list_widths(max_history: int) -> list[int]:
    """Returns the widths that histories are padded to, rising up to `max_history`."""
    widths, width = [], _FIRST_WIDTH
    while width < max_history:
        widths.append(width)
        width *= _WIDTH_FACTOR
    return [*widths, max_history]
