"""The preparation of click data as an Apache Beam pipeline, for logs that outgrow one machine.

    prepare_clicks_with_beam(
        ["gs://logs/day_*"], load_table_spec("criteo"), ClickPreparationConfig(test_fraction=0.1),
        "gs://prepared/criteo", options=PipelineOptions(["--runner=DataflowRunner", ...]))

It writes what `prepare_clicks` writes: on the same files, the same vocabularies, features and
examples, shard by shard. Needs the extra `tfrec-zoo[beam]`; TensorFlow is not imported, so that
workers need not have it.

What runs where: a file is read by one worker (cut large ones to read them on many); its blocks then
go to all. Memory is bounded by a block, by the distinct values of a sixteenth of a feature, by the
vocabularies (when blocks are encoded), and by a shard (when it is written: choose `num_shards` so
that one fits). All workers must see the files: on a shared disk, or in a file system that Beam
knows. Side tables must be on a disk.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsIter, AsSingleton

from tfrec_zoo.data.beam.beam_blocks import (
    BAD_ROWS,
    BlockSize,
    Layout,
    ReadBlocks,
    list_inputs,
    make_layout,
    place_block,
)
from tfrec_zoo.data.beam.beam_cuts import FindCuts
from tfrec_zoo.data.beam.beam_features import LearnFeatures
from tfrec_zoo.data.beam.beam_files import is_remote, join_path, list_files, open_local, write_local
from tfrec_zoo.data.beam.beam_writing import (
    EncodeBlocks,
    PartLayout,
    WrittenShard,
    count_parts,
    join_counts,
    write_shard,
)
from tfrec_zoo.data.clicks.click_features import LearnedFeatures
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_schema import FEATURES_NAME
from tfrec_zoo.data.clicks.click_split import DROPPED, PARTS
from tfrec_zoo.data.clicks.click_summary import describe_features, find_warnings
from tfrec_zoo.data.clicks.prepared_clicks import SPEC_NAME, SUMMARY_NAME, VOCABULARIES_NAME
from tfrec_zoo.data.tables.table_spec import TableSpec

Paths = Sequence[str | os.PathLike]

_FAULT = re.compile(r"(ValueError|FileNotFoundError): ([^\n]+) \[while running '")


def prepare_clicks_with_beam(
    inputs: Paths,
    spec: TableSpec,
    config: ClickPreparationConfig,
    output_folder: str | os.PathLike,
    *,
    validation_inputs: Paths = (),
    test_inputs: Paths = (),
    options: PipelineOptions | None = None,
) -> dict[str, Any]:
    """Encodes raw click data and splits them; see `prepare_clicks`, whose arguments these are.

    `preparation.json` is written last: without it, the folder is no prepared one.

    Args:
        inputs: the files of the log, wildcards allowed.
        spec: what their columns are.
        config: how values become rows, and the split.
        output_folder: where to write; made if it is not there.
        validation_inputs: files that are the validation part, instead of a share of the log.
        test_inputs: files that are the test part, instead of a share of the log.
        options: Beam's: the runner and what it needs; by default all runs in this process.

    Returns:
        The summary that is also `preparation.json`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not as specified, or the split leaves nothing to train on.
    """
    named = {"train": inputs, "validation": validation_inputs, "test": test_inputs}
    files = {part: [os.fspath(path) for path in paths] for part, paths in named.items()}
    config.refuse_two_splits(files)
    found = {part: list_files(paths) if paths else [] for part, paths in files.items()}
    if not is_remote(log := found["train"][0]):
        spec = spec.pin_side_tables(log)
    folder = os.fspath(output_folder)
    head = {"input": {"files": files}, "config": config.to_dict()}
    try:
        with beam.Pipeline(options=options or PipelineOptions([])) as pipeline:
            _build(pipeline, found, spec, config, folder, head)
    except Exception as error:
        if (fault := _find_fault(error)) is None:
            raise
        raise fault from error
    with open_local(join_path(folder, SUMMARY_NAME)) as path:
        return json.loads(path.read_text(encoding="utf-8"))


def _find_fault(error: Exception) -> Exception | None:
    """Returns the error of a step that a runner has wrapped up, None where it is another's."""
    kinds = {kind.__name__: kind for kind in (ValueError, FileNotFoundError)}
    match = _FAULT.search(f"{type(error).__name__}: {error}")
    return kinds[match[1]](match[2]) if match else None


def _build(
    pipeline: beam.Pipeline,
    files: Mapping[str, Iterable[str]],
    spec: TableSpec,
    config: ClickPreparationConfig,
    folder: str,
    head: Mapping[str, Any],
) -> None:
    """Adds all steps to a pipeline."""
    read = (
        pipeline
        | "Files" >> beam.Create(list_inputs(files))
        | "OneFileAWorker" >> beam.Reshuffle()
        | "Read"
        >> beam.ParDo(ReadBlocks(spec, config.max_bad_rows)).with_outputs(BAD_ROWS, main="blocks")
    )
    blocks = read.blocks | "BlocksToAll" >> beam.Reshuffle()
    layout = (
        pipeline
        | "Layout" >> beam.Create([None])
        | "MakeLayout"
        >> beam.Map(
            lambda _, sizes, bad_rows: make_layout(sizes, bad_rows, config.max_bad_rows),
            AsIter(blocks | "Sizes" >> beam.Map(BlockSize.of)),
            AsIter(read[BAD_ROWS]),
        )
    )
    cuts = blocks | "Cuts" >> FindCuts(layout, config)
    placed = blocks | "Parts" >> beam.Map(
        place_block, AsSingleton(layout), AsSingleton(cuts), config
    )
    learned = placed | "Learn" >> LearnFeatures(spec, config, folder)
    part_layout = placed | "CountParts" >> beam.Map(count_parts) | beam.combiners.ToList()
    part_layout = part_layout | "PartLayout" >> beam.Map(PartLayout.of)
    shards = (
        placed
        | "Encode"
        >> beam.ParDo(EncodeBlocks(config, folder), AsSingleton(learned), AsSingleton(part_layout))
        | "OfOneShard" >> beam.GroupByKey()
        | "Write"
        >> beam.Map(
            write_shard,
            AsSingleton(learned),
            AsSingleton(part_layout),
            config.num_shards,
            folder,
        )
        | "Shards" >> beam.combiners.ToList()
    )
    shards | "Summary" >> beam.Map(
        _write_summary,
        AsSingleton(learned),
        AsSingleton(layout),
        AsSingleton(part_layout),
        spec,
        head,
        time.time(),
        folder,
    )


def _write_summary(
    shards: Sequence[WrittenShard],
    learned: LearnedFeatures,
    layout: Layout,
    part_layout: PartLayout,
    spec: TableSpec,
    head: Mapping[str, Any],
    start: float,
    folder: str,
) -> None:
    """Writes what a preparation has beside shards and vocabularies."""
    parts, counts = {}, {}
    for number, part in enumerate(PARTS):
        found = [shard for shard in shards if shard.number == number]
        if found:
            counts[part] = join_counts([shard.counts for shard in found], learned.schema)
            names = sorted(shard.name for shard in found)
            parts[part] = {"files": names, **counts[part].to_dict()}
    features = describe_features(learned, layout.num_cut, counts)
    vocabularies = [f"{VOCABULARIES_NAME}/{n}.tsv" for n, f in features.items() if "num_kept" in f]
    seconds = time.time() - start
    read = {
        "num_rows": layout.num_rows,
        "num_bad_rows": layout.num_bad_rows,
        "num_dropped_negatives": int(part_layout.num_rows[DROPPED]),
    }
    summary = {
        "input": head["input"] | read,
        "config": head["config"],
        "parts": parts,
        "features": features,
        "warnings": find_warnings(features, counts),
        "files": [SPEC_NAME, FEATURES_NAME, *vocabularies],
        "seconds": seconds,
        "rows_per_second": layout.num_rows / seconds,
    }
    with write_local(join_path(folder, FEATURES_NAME)) as path:
        learned.schema.save(path)
    _write_json(join_path(folder, SPEC_NAME), spec.to_dict())
    _write_json(join_path(folder, SUMMARY_NAME), summary)


def _write_json(path: str, values: Mapping[str, Any]) -> None:
    with write_local(path) as local:
        local.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
