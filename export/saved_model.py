"""Trained models as SavedModel versions for TensorFlow Serving."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_zoo import __version__
from tfrec_zoo.export.gru4rec_module import GRU4RecModule
from tfrec_zoo.export.restore import PROGRAM, RestoredGRU4Rec
from tfrec_zoo.export.version_folder import write_models_config, write_version
from tfrec_zoo.export.warmup import Request, write_warmup_requests
from tfrec_zoo.run_folder import write_json
from tfrec_zoo.vocabulary import Vocabulary

_WARMUP_BATCH_SIZES = (1, 8)
_WARMUP_LENGTH = 5


def export_gru4rec(
    restored: RestoredGRU4Rec,
    export_dir: str | os.PathLike,
    k: int = 20,
    version: int | None = None,
) -> Path:
    """Writes a GRU4Rec as a SavedModel with the signatures of `GRU4RecModule`.

        <export_dir>/models.config
        <export_dir>/<version>/saved_model.pb  variables/
                               assets/vocabulary.tsv  assets/config.json
                               assets.extra/tf_serving_warmup_requests

    `config.json` is that of the run, and in `export` where the model comes from: the checkpoint,
    the run's final metrics, the versions of the zoo and of TensorFlow, and `k`.

    Args:
        restored: the model, not under a distribution strategy, and its vocabulary.
        export_dir: the folder of the versions, made where it is missing.
        k: number of items in an answer.
        version: a number from 1 on; None: the one after the last.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists, `k` is below 1, or the model does not fit the vocabulary.
        OSError, tf.errors.ResourceExhaustedError: the folder cannot be written. Nothing is left
            under the version's name.
    """

    def write(folder: Path) -> None:
        vocabulary_path = folder / "vocabulary.tsv"
        restored.vocabulary.save(vocabulary_path)
        module = GRU4RecModule(restored.model, restored.vocabulary, vocabulary_path, k)
        signatures = module.trace_signatures()
        tf.saved_model.save(module, str(folder), signatures=signatures)
        vocabulary_path.unlink()  # Saving has copied it to the assets.
        write_json(folder / "assets" / "config.json", _describe(restored, k))
        requests = _make_warmup_requests(
            restored.vocabulary, restored.model.network.state_dims, list(signatures)
        )
        write_warmup_requests(folder, PROGRAM, requests)

    target = write_version(export_dir, version, write)
    write_models_config(export_dir, PROGRAM)
    return target


def _describe(restored: RestoredGRU4Rec, k: int) -> dict:
    """Returns the content of an export's `config.json`."""
    checkpoint, metrics = restored.checkpoint, None
    if restored.run is not None:
        checkpoint = os.path.relpath(checkpoint, restored.run.path)
        if restored.run.metrics_path.exists():
            metrics = restored.run.load_metrics()
    return {
        "program": PROGRAM,
        **restored.experiment.to_dict(),
        "export": {
            "k": k,
            "checkpoint": checkpoint,
            "metrics": metrics,
            "tfrec_zoo": __version__,
            "tensorflow": tf.__version__,
        },
    }


def _make_warmup_requests(
    vocabulary: Vocabulary, state_dims: tuple[int, ...], signatures: list[str]
) -> list[Request]:
    """Returns requests for each signature, with sessions of popular items."""
    popular = np.argsort(-vocabulary.row_counts(), kind="stable")[:_WARMUP_LENGTH].astype(np.int32)
    requests = []
    for batch_size in _WARMUP_BATCH_SIZES:
        rows = np.tile(popular, (batch_size, 1))
        items = vocabulary.raw_ids(rows)
        inputs = {
            "session_items": items,
            "exclude_items": items,
            "session_rows": rows,
            "item": items[:, 0],
        }
        for layer, width in enumerate(state_dims):
            inputs[f"state_{layer}"] = np.zeros((batch_size, width), np.float32)
        names = {
            "recommend_excluding": ("session_items", "exclude_items"),
            "step": ("item", *(name for name in inputs if name.startswith("state_"))),
            "recommend_rows": ("session_rows",),
        }
        for signature in signatures:
            chosen = names.get(signature, ("session_items",))
            requests.append(Request(signature, {name: inputs[name] for name in chosen}))
    return requests
