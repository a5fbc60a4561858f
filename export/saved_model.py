"""Trained models as SavedModel versions for TensorFlow Serving."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfrec_zoo.data.clicks.click_schema import FEATURES_NAME
from tfrec_zoo.data.clicks.prepared_clicks import SPEC_NAME
from tfrec_zoo.data.tables.table_spec import TableSpec
from tfrec_zoo.export.click_inputs import list_number_columns, list_text_features
from tfrec_zoo.export.dlrm_module import DLRMModule, list_inputs
from tfrec_zoo.export.gru4rec_module import GRU4RecModule
from tfrec_zoo.export.item_vectors import find_now
from tfrec_zoo.export.quantized_weights import FORMAT_KEY, PLAIN, find_format
from tfrec_zoo.export.restored import (
    EXPORT_KEY,
    AnyRestored,
    RestoredDLRM,
    RestoredGRU4Rec,
    RestoredSSR,
)
from tfrec_zoo.export.ssr_module import SSRModule
from tfrec_zoo.export.ssr_module import list_inputs as list_ssr_inputs
from tfrec_zoo.export.table_loss import LOSS_KEY, describe_loss
from tfrec_zoo.export.table_places import TABLES_NAME, describe_tables
from tfrec_zoo.export.version_content import (
    CONFIG_NAME,
    Content,
    describe_source,
    describe_versions,
    write_export,
)
from tfrec_zoo.export.warmup_values import (
    make_click_requests,
    make_news_requests,
    make_session_requests,
)

DEFAULT_K = 20
# What a refreshed export says of the run that its model is of.
_OF_THE_RUN = ("checkpoint", "metrics", LOSS_KEY)


def export_run(
    restored: AnyRestored,
    export_dir: str | os.PathLike,
    version: int | None = None,
    k: int | None = None,
    now: float | None = None,
    tables: str = PLAIN,
    test: Sequence[str] = (),
) -> Path:
    """Writes a model, whichever it is, as a SavedModel; returns the version's folder.

    Args:
        restored: the model and what belongs to it.
        export_dir: the folder of the versions, made where it is missing.
        version: a number from 1 on; None: the one after the last.
        k: number of items in an answer of GRU4Rec or SSR; None: 20.
        now: the time that the items of an SSR with `age_buckets` have their ages at; see
            `export_ssr`.
        tables: `float32`, or `float16` or `int8` for smaller ones, see
            `tfrec_zoo.layers.row_quantization`. What is lost by them is logged, and stands in
            `table_loss` of what `config.json` says in `export`.
        test: raw logs that show the loss as one of recall or AUC; none: random requests, or of a
            DLRM what its run has prepared.

    Raises:
        ValueError: see the export of each model, or an option is given for another model.
    """
    require_options(restored, k, now)
    if isinstance(restored, RestoredSSR):
        return export_ssr(restored, export_dir, k, version, now, tables, test)
    if isinstance(restored, RestoredGRU4Rec):
        k = DEFAULT_K if k is None else k
        return export_gru4rec(restored, export_dir, k, version, tables, test)
    return export_dlrm(restored, export_dir, version, tables, test)


def require_options(restored: AnyRestored, k: int | None, now: float | None) -> None:
    """Raises a ValueError where an option of `export_run` is given that is another model's."""
    if now is not None and not isinstance(restored, RestoredSSR):
        raise ValueError(f"now={now} belongs to an SSR with age_buckets: leave it out")
    if k is not None and isinstance(restored, RestoredDLRM):
        raise ValueError(
            f"k={k} belongs to GRU4Rec and SSR, a DLRM answers a probability: leave it out"
        )


def export_gru4rec(
    restored: RestoredGRU4Rec,
    export_dir: str | os.PathLike,
    k: int = DEFAULT_K,
    version: int | None = None,
    tables: str = PLAIN,
    test: Sequence[str] = (),
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
        tables: how they are stored, see `export_run`.
        test: session logs, see `export_run`.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists, `k` is below 1, the model does not fit the vocabulary, the
            tables cannot be stored so, or a log cannot be read.
        OSError, tf.errors.ResourceExhaustedError: the folder cannot be written. Nothing is left
            under the version's name.
    """

    def make(sources: Path) -> Content:
        path = sources / "vocabulary.tsv"
        restored.vocabulary.save(path)

        def make_module(tables: str) -> GRU4RecModule:
            return GRU4RecModule(restored.model, restored.vocabulary, path, k, tables)

        module = make_module(tables)
        signatures = module.trace_signatures()
        state_dims = restored.model.network.state_dims
        requests = make_session_requests(restored.vocabulary, state_dims, list(signatures))
        about = {"k": k, FORMAT_KEY: tables}
        if tables != PLAIN:
            plain = make_module(PLAIN).recommend_rows
            about[LOSS_KEY] = describe_loss(restored, plain, signatures, tables, test)
        return Content(module, signatures, requests, about=about)

    return _export(restored, export_dir, version, make)


def export_ssr(
    restored: RestoredSSR,
    export_dir: str | os.PathLike,
    k: int | None = None,
    version: int | None = None,
    now: float | None = None,
    tables: str | None = None,
    test: Sequence[str] = (),
) -> Path:
    """Writes an SSR and its items as a SavedModel with the signatures of `SSRModule`.

        <export_dir>/models.config
        <export_dir>/<version>/saved_model.pb  variables/
                               assets/vocabulary.tsv  assets/feature.<feature>.tsv
                               assets/config.json
                               assets.extra/catalogue/  assets.extra/tf_serving_warmup_requests

    `vocabulary.tsv` are the items and their clicks in training, `catalogue` is the whole of them
    for `ItemCatalogue.load`. `config.json` is that of the run, and in `export` where the model
    comes from, as for GRU4Rec, `k`, `now`, `num_items`, and what the columns of the inputs of
    `embed_items` are: `dense`, `sparse`, and in `vectors` the size of each.

    Args:
        restored: the model, not under a distribution strategy, and its items.
        export_dir: the folder of the versions, made where it is missing.
        k: number of items in an answer; None: that of the export that `restored` is of, else 20.
        version: a number from 1 on; None: the one after the last.
        now: with `age_buckets`, the time that the items have their ages at, in the unit of the
            log's times; None: the newest time of an item, or that of the export that `restored`
            is of where it is later.
        tables: how they are stored, the items' vectors among them, see `export_run`; None: as in
            the export that `restored` is of, else `float32`.
        test: session logs, see `export_run`.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists, `k` is below 1, the model does not fit the items, `now` is
            given for a model without ages, the tables cannot be stored so, or a log cannot be
            read.
        OSError, tf.errors.ResourceExhaustedError: the folder cannot be written. Nothing is left
            under the version's name.
    """
    catalogue, schema = restored.catalogue, restored.catalogue.schema
    before = restored.exported or {}
    k = before.get("k", DEFAULT_K) if k is None else k
    tables = find_format(before) if tables is None else tables
    now = find_now(restored, now)

    def make(sources: Path) -> Content:
        model, experiment = restored.model, restored.experiment
        module = SSRModule(model, catalogue, experiment, sources, k, now, tables)
        signatures = module.trace_signatures()
        names = list_ssr_inputs(schema, restored.model.config)
        names["serving_default"] = names["recommend"]
        about = {
            "k": k,
            FORMAT_KEY: tables,
            "now": now,
            "num_items": catalogue.num_items,
            "inputs": {
                "dense": list_number_columns(schema),
                "sparse": [feature.name for feature in list_text_features(schema)],
                "vectors": {feature.name: feature.size for feature in schema.vectors},
            },
            # A refreshed export is still of the run that its model is of.
            **{name: before[name] for name in _OF_THE_RUN if name in before},
        }
        if tables != find_format(before):
            plain = SSRModule(model, catalogue, experiment, _make_folder(sources), k, now)
            loss = describe_loss(restored, plain.recommend_rows, signatures, tables, test)
            about[LOSS_KEY] = loss
        return Content(
            module,
            signatures,
            make_news_requests(catalogue, names),
            about=about,
            write_extras=lambda assets: catalogue.save(assets.catalogue_path),
        )

    return _export(restored, export_dir, version, make)


def export_dlrm(
    restored: RestoredDLRM,
    export_dir: str | os.PathLike,
    version: int | None = None,
    tables: str = PLAIN,
    test: Sequence[str] = (),
) -> Path:
    """Writes a DLRM as a SavedModel with the signatures of `DLRMModule`.

        <export_dir>/models.config
        <export_dir>/<version>/saved_model.pb  variables/
                               assets/features.json  assets/spec.json  assets/<feature>.tsv
                               assets/tables.json  assets/config.json
                               assets.extra/tf_serving_warmup_requests

    `features.json`, `spec.json` and the vocabularies are those of the run, but for the folders of
    side tables: with a version on another machine they lie beside the log. `tables.json` says where
    each feature's table lies (see `describe_tables`). `config.json` is that of the run, and in
    `export` where the model comes from, as for GRU4Rec, and what the columns of the inputs are:
    `dense` (or `dense_text`) and `sparse`.

    Args:
        restored: the model, not under a distribution strategy, and its vocabularies.
        export_dir: the folder of the versions, made where it is missing.
        version: a number from 1 on; None: the one after the last.
        tables: how they are stored, see `export_run`.
        test: raw logs, see `export_run`.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists, the tables cannot be stored so, or a log cannot be read.
        OSError, tf.errors.ResourceExhaustedError: the folder cannot be written. Nothing is left
            under the version's name.
    """
    schema = restored.schema

    def make(sources: Path) -> Content:
        module = DLRMModule(restored.model, restored.vocabularies, sources, tables)
        signatures = module.trace_signatures()
        places = describe_tables(restored.model, tables)
        assets = {FEATURES_NAME: schema.to_dict(), TABLES_NAME: places}
        if restored.spec is not None:
            spec = TableSpec.from_dict(restored.spec)
            assets[SPEC_NAME] = spec.unpin_side_tables().to_dict()
        inputs = {
            "dense": list_number_columns(schema),
            "sparse": [feature.name for feature in list_text_features(schema)],
        }
        names = list_inputs(schema)
        names["serving_default"] = names["predict"]
        requests = make_click_requests(schema, restored.vocabularies, names)
        about: dict[str, Any] = {"inputs": inputs, FORMAT_KEY: tables}
        if tables != PLAIN:
            plain = DLRMModule(restored.model, restored.vocabularies, _make_folder(sources))
            loss = describe_loss(restored, plain.predict_rows, signatures, tables, test)
            about[LOSS_KEY] = loss
        return Content(module, signatures, requests, assets, about)

    return _export(restored, export_dir, version, make)


def _make_folder(sources: Path) -> Path:
    """Makes a folder for what a module brings along that is not exported."""
    path = sources / "plain"
    path.mkdir()
    return path


def _export(
    restored: AnyRestored,
    export_dir: str | os.PathLike,
    version: int | None,
    make: Callable[[Path], Content],
) -> Path:
    """Writes a version of one model, see `write_export`."""

    def make_described(sources: Path) -> Content:
        content = make(sources)
        config = {
            **restored.experiment.to_dict(),
            EXPORT_KEY: {**describe_source(restored), **content.about, **describe_versions()},
        }
        return replace(content, assets={**content.assets, CONFIG_NAME: config})

    return write_export(restored.experiment.PROGRAM, export_dir, version, make_described)
