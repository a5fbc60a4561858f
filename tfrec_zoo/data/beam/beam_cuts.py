"""Where the newer parts begin, found in a Beam pipeline.

The n-th newest row is found in four looks at the blocks, with memory for some distinct times: which
time it has to the precision of float32 (casting keeps the order), which time exactly, which block
it is in, and where in the block.
"""

from collections.abc import Sequence

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsSingleton, PCollection

from tfrec_zoo.data.beam.beam_blocks import BlockTimes, Key, Layout
from tfrec_zoo.data.beam.beam_counts import Counts, SumCounts, add_number_counts, count_numbers
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_split import PARTS, TEST, TRAIN, VALIDATION, Cut


class FindCuts(beam.PTransform):
    """Blocks -> one dictionary: the place in `PARTS` of a newer part -> the cut where it begins."""

    def __init__(self, layout: PCollection, config: ClickPreparationConfig) -> None:
        """Takes the one `Layout` of all blocks."""
        super().__init__()
        self._layout = layout
        self._config = config

    def expand(self, blocks: PCollection) -> PCollection:
        """Builds the steps."""
        config, layout = self._config, AsSingleton(self._layout)
        log = (
            blocks
            | "Log" >> beam.Filter(lambda block: block.part == PARTS[TRAIN])
            | "Times" >> beam.Map(lambda block: block.times)
            # Kept apart, so that the looks at them do not read whole blocks.
            | "KeepTimes" >> beam.Reshuffle()
        )
        cuts = self._layout | "NoCut" >> beam.Map(lambda _: {})
        num_newer = self._layout | "NoneNewer" >> beam.Map(lambda _: 0)
        if config.test_time is not None:
            newest = log | "Newest" >> beam.Map(_newest_time) | beam.CombineGlobally(max)
            test = newest | "TestTime" >> beam.Map(_cut_by_time, layout, config.test_time)
            newer = log | "IsTest" >> beam.Map(_count_newer, layout, AsSingleton(test))
            num_newer = newer | "NumTest" >> beam.CombineGlobally(sum)
        elif config.test_fraction is not None:
            num_newer = self._layout | "TestRows" >> beam.Map(
                lambda layout: max(1, round(config.test_fraction * layout.num_log_rows))
            )
            test = log | "TestCut" >> _CutByCount(self._layout, num_newer)
        if config.test_time is not None or config.test_fraction is not None:
            cuts = test | "AsTest" >> beam.Map(lambda cut: {TEST: cut})
        if config.validation_fraction is not None:
            num_newer = num_newer | "ValidationRows" >> beam.Map(
                _count_with_validation, layout, config.validation_fraction
            )
            validation = log | "ValidationCut" >> _CutByCount(self._layout, num_newer)
            # The newer part comes last, where it takes its rows from the older one's.
            cuts = validation | "AsValidation" >> beam.Map(
                lambda cut, cuts: {VALIDATION: cut, **cuts}, AsSingleton(cuts)
            )
        return cuts | "Check" >> beam.Map(_check, AsSingleton(num_newer), layout)


class _CutByCount(beam.PTransform):
    """Blocks that are split -> the cut that has a given number of rows on its newer side."""

    def __init__(self, layout: PCollection, count: PCollection) -> None:
        super().__init__()
        self._layout, self._count = layout, count

    def expand(self, log: PCollection) -> PCollection:
        layout = AsSingleton(self._layout)
        coarse = log | "CountCoarse" >> beam.Map(
            lambda b: count_numbers(b.values.astype(np.float32))
        )
        coarse = coarse | "SumCoarse" >> beam.CombineGlobally(SumCounts(add_number_counts))
        coarse = coarse | "PickCoarse" >> beam.Map(_pick_newest, AsSingleton(self._count))
        fine = log | "CountFine" >> beam.Map(_count_within, AsSingleton(coarse))
        fine = fine | "SumFine" >> beam.CombineGlobally(SumCounts(add_number_counts))
        left = coarse | "Left" >> beam.Map(lambda found: found[1])
        fine = fine | "PickFine" >> beam.Map(_pick_newest, AsSingleton(left))
        equal = log | "CountEqual" >> beam.Map(_count_equal, AsSingleton(fine))
        block = equal | "ListEqual" >> beam.combiners.ToList()
        block = block | "PickBlock" >> beam.Map(_pick_block, AsSingleton(fine))
        return log | "PickRow" >> beam.FlatMap(
            _pick_row, layout, AsSingleton(fine), AsSingleton(block)
        )


def _newest_time(block: BlockTimes) -> float:
    if block.column is None:
        raise ValueError(
            "test_time needs the column of times, and the specification names none: set its time, "
            "or test_fraction for the order of the rows"
        )
    return float(block.values.max())


def _cut_by_time(newest: float, layout: Layout, span: float) -> Cut:
    return Cut(newest - span, layout.num_rows)


def _count_newer(block: BlockTimes, layout: Layout, cut: Cut) -> int:
    return int(cut.is_newer(block.values, layout.places(block)).sum())


def _count_with_validation(num_newer: int, layout: Layout, fraction: float) -> int:
    """The rows of test and validation; all of them where test alone leaves nothing."""
    num_left = layout.num_log_rows - num_newer
    return num_newer + max(1, round(fraction * num_left)) if num_left > 0 else layout.num_log_rows


def _pick_newest(counts: Counts, count: int) -> tuple[float, int]:
    """Returns the number that the `count`-th largest is, and how many of it are to be taken."""
    values, counts = counts
    num_from = np.cumsum(counts[::-1])[::-1]
    place = np.flatnonzero(num_from >= count)[-1]
    return values[place], int(count - (num_from[place] - counts[place]))


def _count_within(block: BlockTimes, coarse: tuple[float, int]) -> Counts:
    times = block.values
    return count_numbers(times[times.astype(np.float32) == coarse[0]])


def _count_equal(block: BlockTimes, fine: tuple[float, int]) -> tuple[Key, int]:
    return block.key, int((block.values == fine[0]).sum())


def _pick_block(counts: Sequence[tuple[Key, int]], fine: tuple[float, int]) -> tuple[Key, int]:
    """Returns the block of the oldest row to be taken, and how many are to be taken from it."""
    left = fine[1]
    for key, count in sorted(counts, reverse=True):
        if count >= left:
            return key, left
        left -= count
    raise AssertionError("counted more rows than there are")


def _pick_row(
    block: BlockTimes, layout: Layout, fine: tuple[float, int], chosen: tuple[Key, int]
) -> list[Cut]:
    key, left = chosen
    if block.key != key:
        return []
    places = layout.places(block)[block.values == fine[0]]
    return [Cut(float(fine[0]), int(places[len(places) - left]))]


def _check(cuts: dict[int, Cut], num_newer: int, layout: Layout) -> dict[int, Cut]:
    if num_newer >= layout.num_log_rows:
        raise ValueError(
            f"the split of {layout.num_log_rows} rows into "
            f"{' and '.join(PARTS[number] for number in reversed(cuts))} leaves none to train on: "
            "lower test_time, test_fraction or validation_fraction"
        )
    return cuts
