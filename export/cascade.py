"""Two trained models as one SavedModel version: a retriever, and the DLRM that ranks for it."""

import os
from pathlib import Path
from typing import Any

from tfrec_zoo.config import PROGRAM_KEY
from tfrec_zoo.data.clicks.click_schema import ClickSchema
from tfrec_zoo.export.cascade_items import ItemFeatures
from tfrec_zoo.export.cascade_module import CandidateRanker, CascadeModule, list_inputs
from tfrec_zoo.export.click_inputs import list_number_columns, list_text_features
from tfrec_zoo.export.gru4rec_module import GRU4RecModule
from tfrec_zoo.export.item_vectors import find_now
from tfrec_zoo.export.restore import find_part
from tfrec_zoo.export.restored import (
    EXPORT_KEY,
    RestoredDLRM,
    RestoredGRU4Rec,
    RestoredSSR,
)
from tfrec_zoo.export.saved_model import DEFAULT_K
from tfrec_zoo.export.ssr_module import SSRModule
from tfrec_zoo.export.version_content import (
    CONFIG_NAME,
    Content,
    describe_source,
    describe_versions,
    write_export,
)
from tfrec_zoo.export.warmup_values import make_cascade_requests
from tfrec_zoo.run_folder import RunFolder, write_json
from tfrec_zoo.vocabulary import Vocabulary

PROGRAM = "cascade"
RETRIEVER, RANKER = "retriever", "ranker"
DEFAULT_CANDIDATES = 100

Retriever = RestoredGRU4Rec | RestoredSSR


def export_cascade(
    retriever: Retriever,
    ranker: RestoredDLRM,
    items: ItemFeatures,
    export_dir: str | os.PathLike,
    k: int = DEFAULT_K,
    num_candidates: int = DEFAULT_CANDIDATES,
    version: int | None = None,
    now: float | None = None,
) -> Path:
    """Writes a retriever and a ranker as one SavedModel with the signatures of `CascadeModule`.

        <export_dir>/models.config
        <export_dir>/<version>/saved_model.pb  variables/
                               assets/vocabulary.tsv  assets/ranker.<feature>.tsv
                               assets/config.json
                               assets.extra/retriever/  assets.extra/ranker/
                               assets.extra/tf_serving_warmup_requests

    `vocabulary.tsv` are the retriever's items; an SSR has `feature.<feature>.tsv`, too. The folders
    in `assets.extra`, of which a server takes no notice, are the run folders of the two without
    their checkpoints. `config.json` has their configurations in `retriever` and `ranker`, and in
    `export` where each comes from, `k`, `num_candidates`, the column of the item's ids and the
    item's features, and what the columns of the inputs are: `dense` and `sparse`.

    Args:
        retriever: the model that names candidates, not under a distribution strategy.
        ranker: the model that ranks them.
        items: the ranker's features of the retriever's items, of `read_item_features`.
        export_dir: the folder of the versions, made where it is missing.
        k: number of items in an answer.
        num_candidates: number of items that are ranked for it.
        version: a number from 1 on; None: the one after the last.
        now: of an SSR with `age_buckets`, the time that its items have their ages at; None: see
            `export_ssr`.

    Returns:
        The version's folder.

    Raises:
        ValueError: the version exists, `k` is below 1 or above `num_candidates`, the retriever is
            none, or the features are of other items than the retriever's.
        OSError, tf.errors.ResourceExhaustedError: the folder cannot be written. Nothing is left
            under the version's name.
    """
    _check_stages(retriever, ranker)
    if not 1 <= k <= num_candidates:
        raise ValueError(
            f"k={k} items are answered of num_candidates={num_candidates}: k must be from 1 to that"
        )
    if isinstance(retriever, RestoredSSR):
        now = find_now(retriever, now)
    elif now is not None:
        raise ValueError(f"now={now} belongs to an SSR with age_buckets: leave it out")
    vocabulary = find_vocabulary(retriever)
    if items.rows.num_rows != vocabulary.num_rows:
        raise ValueError(
            f"got features of {items.rows.num_rows - 1} items for a retriever of "
            f"{vocabulary.num_items}: read them for its items"
        )

    def make(sources: Path) -> Content:
        module = CascadeModule(
            _make_retriever(retriever, sources, num_candidates, now),
            CandidateRanker(ranker, items, sources),
            k,
        )
        signatures = module.trace_signatures(items.request_schema)
        names = list_inputs(items.request_schema)
        names["serving_default"] = names["recommend"]
        config = {
            PROGRAM_KEY: PROGRAM,
            RETRIEVER: retriever.experiment.to_dict(),
            RANKER: ranker.experiment.to_dict(),
            EXPORT_KEY: {
                RETRIEVER: _describe_retriever(retriever),
                RANKER: describe_source(ranker),
                "k": k,
                "num_candidates": num_candidates,
                "now": now,
                "num_items": vocabulary.num_items,
                "item_column": items.item_column,
                "item_features": _list_features(items.schema),
                "inputs": _describe_inputs(items.request_schema),
                **describe_versions(),
            },
        }
        return Content(
            module,
            signatures,
            make_cascade_requests(vocabulary, items.request_schema, ranker.vocabularies, names),
            assets={CONFIG_NAME: config},
            write_extras=lambda assets: _write_parts(assets.path.parent, retriever, ranker),
        )

    return write_export(PROGRAM, export_dir, version, make)


def find_vocabulary(retriever: Retriever) -> Vocabulary:
    """Returns the items of a retriever.

    Raises:
        ValueError: the model is none.
    """
    if isinstance(retriever, RestoredSSR):
        return retriever.catalogue.vocabulary
    if isinstance(retriever, RestoredGRU4Rec):
        return retriever.vocabulary
    raise ValueError(
        f"the candidates come from a 'gru4rec' or an 'ssr', got a {retriever.experiment.PROGRAM!r}"
    )


def _check_stages(retriever: Retriever, ranker: RestoredDLRM) -> None:
    find_vocabulary(retriever)
    if not isinstance(ranker, RestoredDLRM):
        raise ValueError(f"candidates are ranked by a 'dlrm', got a {ranker.experiment.PROGRAM!r}")


def _make_retriever(
    retriever: Retriever, sources: Path, num_candidates: int, now: float | None
) -> GRU4RecModule | SSRModule:
    """Returns the module that answers with the candidates; its files are written to `sources`."""
    if isinstance(retriever, RestoredSSR):
        experiment = retriever.experiment
        return SSRModule(
            retriever.model, retriever.catalogue, experiment, sources, num_candidates, now
        )
    path = sources / "vocabulary.tsv"
    retriever.vocabulary.save(path)
    return GRU4RecModule(retriever.model, retriever.vocabulary, path, num_candidates)


def _describe_retriever(retriever: Retriever) -> dict[str, Any]:
    before = getattr(retriever, "exported", None) or {}
    # An SSR with other items is still of the run that its model is of.
    kept = {name: before[name] for name in ("checkpoint", "metrics") if name in before}
    return {**describe_source(retriever), **kept}


def _describe_inputs(request_schema: ClickSchema | None) -> dict[str, list[str]]:
    if request_schema is None:
        return {"dense": [], "sparse": []}
    return {
        "dense": list_number_columns(request_schema),
        "sparse": [feature.name for feature in list_text_features(request_schema)],
    }


def _list_features(schema: ClickSchema) -> list[str]:
    return [feature.name for feature in (*schema.dense, *schema.categorical)]


def _write_parts(version: Path, retriever: Retriever, ranker: RestoredDLRM) -> None:
    """Writes what the two Python models are rebuilt from, but for the weights."""
    folder = find_part(version, RETRIEVER)
    _start_part(folder, retriever)
    if isinstance(retriever, RestoredSSR):
        retriever.catalogue.save(folder.catalogue_path)
    else:
        retriever.vocabulary.save(folder.vocabulary_path)
    folder = find_part(version, RANKER)
    _start_part(folder, ranker)
    ranker.schema.save(folder.features_path)
    write_json(folder.spec_path, ranker.spec)
    folder.vocabularies_path.mkdir()
    for name, vocabulary in ranker.vocabularies.items():
        vocabulary.save(folder.vocabularies_path / f"{name}.tsv")


def _start_part(folder: RunFolder, restored: Retriever | RestoredDLRM) -> None:
    folder.path.mkdir(parents=True)
    folder.write_config(restored.experiment)
