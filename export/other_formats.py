"""Trained models as files of ONNX, LiteRT or OpenVINO, for services without TensorFlow.

    <export_dir>/<version>/interface.json  config.json
                           recommend_rows.onnx  step_rows.onnx            (GRU4Rec)
                           recommend_rows.onnx  embed_session_rows.onnx   (SSR)
                           vocabulary.tsv                                 (both)
                           predict_rows.onnx  features.json  vocabularies/<feature>.tsv  (DLRM)

These runtimes have no texts, or hardly any, so the functions take and answer rows of tables: line n
of a vocabulary's file, from 0, is the id of row n and its count, and `features.json` says how a
DLRM's raw values become rows and numbers. `interface.json` says what there is:

    {"model": "gru4rec", "format": "onnx", "signatures": {"recommend_rows": {
        "file": "recommend_rows.onnx",
        "inputs": {"session_rows": {"dtype": "int32", "shape": [null, null]}},
        "outputs": {"rows": {"dtype": "int32", "shape": [null, 20]}, "scores": ...}}}}

where null is any size. `config.json` is that of a SavedModel.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_zoo.export import dlrm_module
from tfrec_zoo.export.formats.litert_format import TFLITE
from tfrec_zoo.export.formats.numeric_signature import NumericSignature
from tfrec_zoo.export.formats.onnx_format import ONNX
from tfrec_zoo.export.formats.openvino_format import OPENVINO
from tfrec_zoo.export.formats.runtime_format import RuntimeFormat
from tfrec_zoo.export.gru4rec_module import GRU4RecModule
from tfrec_zoo.export.item_vectors import find_now
from tfrec_zoo.export.restored import EXPORT_KEY, AnyRestored, RestoredDLRM, RestoredSSR
from tfrec_zoo.export.saved_model import DEFAULT_K, require_options
from tfrec_zoo.export.ssr_module import SSRModule
from tfrec_zoo.export.version_content import describe_source, describe_versions
from tfrec_zoo.export.version_folder import INTERFACE_NAME, require_format, write_version
from tfrec_zoo.run_folder import RunFolder, write_json

FORMATS: Mapping[str, RuntimeFormat] = {each.name: each for each in (ONNX, TFLITE, OPENVINO)}
DEFAULT_BATCH_SIZE = 1
DEFAULT_SESSION_LENGTH = 50


def export_format(
    restored: AnyRestored,
    export_dir: str | os.PathLike,
    format_name: str,
    version: int | None = None,
    k: int | None = None,
    now: float | None = None,
    batch_size: int | None = None,
    session_length: int | None = None,
) -> Path:
    """Writes a model, whichever it is, in a format of `FORMATS`, and tries what it has written.

    Args:
        restored: the model, not under a distribution strategy, and what belongs to it.
        export_dir: the folder of the versions, made where it is missing; all of one format.
        format_name: which one.
        version: a number from 1 on; None: the one after the last.
        k: number of items in an answer of GRU4Rec or SSR; None: 20.
        now: see `export_ssr`.
        batch_size: requests that are answered at once, where shapes are fixed; None: 1.
        session_length: clicks of a session there; None: 50.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists, a package is missing, the format lacks what the model
            needs, or an option is given that is another format's or another model's.
        OSError: the folder cannot be written. Nothing is left under the version's name.
    """
    if format_name not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format_name!r}")
    chosen = FORMATS[format_name]
    require_options(restored, k, now)
    _require_sizes(restored, chosen, batch_size, session_length)
    chosen.require_packages()
    require_format(export_dir, format_name)
    now = find_now(restored, now) if isinstance(restored, RestoredSSR) else None
    about: dict[str, Any] = {}
    if not isinstance(restored, RestoredDLRM):
        about["k"] = DEFAULT_K if k is None else k
    if isinstance(restored, RestoredSSR):
        about |= {"now": now, "num_items": restored.catalogue.num_items}

    def write(folder: Path) -> None:
        scratch = folder / "scratch"
        scratch.mkdir()
        signatures = _make_signatures(restored, scratch, about.get("k"), now)
        if chosen.has_fixed_shapes:
            sizes = (batch_size or DEFAULT_BATCH_SIZE, session_length or DEFAULT_SESSION_LENGTH)
            signatures = [signature.fix_shapes(*sizes) for signature in signatures]
        described = {}
        for signature in signatures:
            path, own = folder / f"{signature.name}{chosen.suffix}", scratch / signature.name
            own.mkdir()
            chosen.convert(signature, path, own)
            described[signature.name] = {"file": path.name, **_describe(signature)}
        shutil.rmtree(scratch)
        _write_tables(restored, RunFolder(folder))
        write_json(folder / "config.json", _describe_export(restored, about))
        interface = {"model": restored.experiment.PROGRAM, "format": chosen.name}
        write_json(folder / INTERFACE_NAME, {**interface, "signatures": described})

    return write_version(export_dir, version, write)


def _require_sizes(
    restored: AnyRestored, chosen: RuntimeFormat, batch_size: int | None, session_length: int | None
) -> None:
    for name, size in (("batch_size", batch_size), ("session_length", session_length)):
        if size is None:
            continue
        if not chosen.has_fixed_shapes:
            raise ValueError(
                f"{name}={size} belongs to tflite, whose shapes are fixed, and {chosen.name} takes "
                "any: leave it out"
            )
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if session_length is not None and isinstance(restored, RestoredDLRM):
        raise ValueError(
            f"session_length={session_length} belongs to GRU4Rec and SSR: leave it out for a DLRM"
        )


def _make_signatures(
    restored: AnyRestored, scratch: Path, k: int | None, now: float | None
) -> list[NumericSignature]:
    """Returns the functions of a model; its module may leave files in `scratch`."""
    sessions = {"session_rows": tf.TensorSpec([None, None], tf.int32, "session_rows")}
    model = restored.model
    if isinstance(restored, RestoredDLRM):
        module = dlrm_module.DLRMModule(model, restored.vocabularies, scratch)
        inputs = {"predict_rows": dlrm_module.list_inputs(restored.schema)["predict_rows"]}
    elif isinstance(restored, RestoredSSR):
        module = SSRModule(model, restored.catalogue, restored.experiment, scratch, k, now)
        inputs = {"recommend_rows": sessions, "embed_session_rows": sessions}
    else:
        path = scratch / "vocabulary.tsv"
        restored.vocabulary.save(path)
        module = GRU4RecModule(model, restored.vocabulary, path, k)
        click = {"row": tf.TensorSpec([None], tf.int32, "row")}
        for layer, width in enumerate(model.network.state_dims):
            name = f"state_{layer}"
            click[name] = tf.TensorSpec([None, width], tf.float32, name)
        inputs = {"recommend_rows": sessions, "step_rows": click}
    return [NumericSignature(module, name, specs) for name, specs in inputs.items()]


def _describe(signature: NumericSignature) -> dict[str, Any]:
    """Returns the inputs and outputs of a function with their types and shapes."""
    outputs = signature.traced.structured_outputs
    return {
        side: {
            name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
            for name, spec in specs.items()
        }
        for side, specs in (("inputs", signature.inputs), ("outputs", outputs))
    }


def _write_tables(restored: AnyRestored, folder: RunFolder) -> None:
    """Writes how raw ids and values become rows."""
    if isinstance(restored, RestoredDLRM):
        restored.schema.save(folder.features_path)
        folder.vocabularies_path.mkdir()
        for name, vocabulary in restored.vocabularies.items():
            vocabulary.save(folder.vocabularies_path / f"{name}.tsv")
        return
    has_catalogue = isinstance(restored, RestoredSSR)
    vocabulary = restored.catalogue.vocabulary if has_catalogue else restored.vocabulary
    vocabulary.save(folder.vocabulary_path)


def _describe_export(restored: AnyRestored, about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of `config.json`."""
    source = {**describe_source(restored), **about, **describe_versions()}
    return {**restored.experiment.to_dict(), EXPORT_KEY: source}
