"""Raw click data to encoded shards: two passes, memory bounded by the vocabularies.

The first pass reads the files, once, and puts numbers and codes of values on the disk
(`click_spill`). Then the parts are cut (`click_split`), and of the training part alone come the
counts and vocabularies (`value_codes`), means and buckets (`number_statistics`). The second pass
encodes the blocks and writes the parts (`prepared_clicks`).
"""

import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfrec_zoo.atomic_file import replace_file
from tfrec_zoo.data.clicks.click_features import learn_features
from tfrec_zoo.data.clicks.click_preparation_config import ClickPreparationConfig
from tfrec_zoo.data.clicks.click_reading import Watch, spill_files
from tfrec_zoo.data.clicks.click_schema import FEATURES_NAME
from tfrec_zoo.data.clicks.click_split import assign_parts
from tfrec_zoo.data.clicks.click_summary import describe_features, find_warnings
from tfrec_zoo.data.clicks.click_writing import write_parts
from tfrec_zoo.data.clicks.prepared_clicks import SPEC_NAME, SUMMARY_NAME, VOCABULARIES_NAME
from tfrec_zoo.data.tables.table_spec import TableSpec

Paths = str | os.PathLike | Iterable[str | os.PathLike]


def prepare_clicks(
    inputs: Paths,
    spec: TableSpec,
    config: ClickPreparationConfig,
    output_folder: str | os.PathLike,
    *,
    validation_inputs: Paths = (),
    test_inputs: Paths = (),
    watch: Watch = lambda step, num_done, num_all: None,
) -> dict[str, Any]:
    """Encodes raw click data and splits them.

    The folder is filled file by file: whoever needs it whole or not at all passes one that is
    renamed afterwards. What lies in it only meanwhile is about as large as the output.

    Args:
        inputs: the log: a file or several, wildcards allowed.
        spec: what its columns are.
        config: how values become rows, and the split.
        output_folder: where to write; made if it is not there.
        validation_inputs: files that are the validation part, instead of a share of the log.
        test_inputs: files that are the test part, instead of a share of the log.
        watch: is told how far the work is.

    Returns:
        The summary that is also `preparation.json`: files, counts, click rates, features, warnings.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not as specified, or the split leaves nothing to train on.
    """
    start = time.monotonic()
    files = {"train": inputs, "validation": validation_inputs, "test": test_inputs}
    files = {part: _as_list(paths) for part, paths in files.items()}
    config.refuse_two_splits(files)
    folder = Path(output_folder)
    (folder / VOCABULARIES_NAME).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".spill-", dir=folder) as name:
        scratch = Path(name)
        source = spill_files(files, spec, config.max_bad_rows, scratch, watch)
        parts = assign_parts(source.spill, source.blocks, config, scratch / "parts")
        learned = learn_features(source.spill, parts, spec, config, scratch, folder, watch)
        written = write_parts(source.spill, parts, learned, config, folder, watch)
    learned.schema.save(folder / FEATURES_NAME)
    _write_json(folder / SPEC_NAME, spec.pin_side_tables(files["train"]).to_dict())
    features = describe_features(learned, source.num_cut, written.counts)
    vocabularies = [f"{VOCABULARIES_NAME}/{n}.tsv" for n, f in features.items() if "num_kept" in f]
    seconds = time.monotonic() - start
    summary = {
        "input": {
            "files": files,
            "num_rows": source.spill.num_rows,
            "num_bad_rows": source.num_bad_rows,
            "num_dropped_negatives": written.num_dropped,
        },
        "config": config.to_dict(),
        "parts": {
            part: {"files": written.files[part], **counts.to_dict()}
            for part, counts in written.counts.items()
        },
        "features": features,
        "warnings": find_warnings(features, written.counts),
        "files": [SPEC_NAME, FEATURES_NAME, *vocabularies],
        "seconds": seconds,
        "rows_per_second": source.spill.num_rows / seconds,
    }
    _write_json(folder / SUMMARY_NAME, summary)
    return summary


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _as_list(paths: Paths) -> list[str]:
    paths = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [os.fspath(path) for path in paths]
