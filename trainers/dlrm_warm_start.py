"""DLRM started from another run: what both know keeps its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from absl import logging

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.distributed_variables import write_rows
from tfrec_zoo.export.restore import RestoredDLRM, restore_run
from tfrec_zoo.trainers.dlrm_step import DLRMStep
from tfrec_zoo.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tfrec_zoo.trainers.dlrm_task import DLRMTask

_SHAPING = (
    "embedding_dim",
    "bottom_mlp",
    "top_mlp",
    "interaction",
    "self_interaction",
    "cross_layers",
    "cross_rank",
    "first_order",
    "weighted_pooling",
    "table_dims",
)

_RULES = ("optimizer", "embedding_optimizer", "momentum")


def warm_start(task: DLRMTask, vocabularies: dict[str, Vocabulary], run_dir: str) -> None:
    """Takes over weights and optimizer slots of another run.

    A value of a vocabulary that the other run knew keeps its row's numbers, wherever the row lies
    now; rows of new values stay as initialised. Hashed and bucketed features, and tables split by
    quotient and remainder, keep them where their sizes (and boundaries) are the same.

    Args:
        task: of the new run.
        vocabularies: of the new run's features that have one, by name.
        run_dir: the other run's folder.

    Raises:
        ValueError: the other run has another network, other features or another optimizer.
    """
    old = restore_run(run_dir, "last")
    if not isinstance(old, RestoredDLRM):
        raise ValueError(f"init_from: {run_dir} is no run of DLRM")
    _refuse_difference(old, task)
    old_step = DLRMStep(old.model, old.experiment)
    checkpoint = tf.train.Checkpoint(model=old.model, optimizer=old_step.optimizer)
    checkpoint.read(old.checkpoint).expect_partial()
    _copy_dense(old_step, task.step)
    known = _copy_tables(old, old_step, task, vocabularies)
    logging.info("started from %s: %s rows of tables taken over", run_dir, f"{known:,}")


def _refuse_difference(old: RestoredDLRM, task: DLRMTask) -> None:
    for group, names in (("model", _SHAPING), ("optimizer", _RULES)):
        for name in names:
            before = getattr(getattr(old.experiment, group), name)
            now = getattr(getattr(task.experiment, group), name)
            if before != now:
                raise ValueError(
                    f"init_from needs the same {group}, but {name} is {before} there and {now} here"
                )
    before, now = (_name_features(schema) for schema in (old.schema, task.model.schema))
    if before != now:
        raise ValueError(f"init_from needs the same features: {before} there, {now} here")


def _name_features(schema: ClickSchema) -> str:
    return ", ".join(feature.name for feature in (*schema.dense, *schema.categorical))


def _copy_dense(old: DLRMStep, new: DLRMStep) -> None:
    for source, target in zip(old.dense_variables, new.dense_variables, strict=True):
        target.assign(source)
    new.optimizer.step.assign(old.optimizer.step)


def _copy_tables(
    old: RestoredDLRM, old_step: DLRMStep, task: DLRMTask, vocabularies: dict[str, Vocabulary]
) -> int:
    """Copies the rows of the values that both runs have; returns how many."""
    old_parts = {
        part.name: (number, part)
        for number, store in enumerate(old.model.tables.stores)
        for part in store.parts
    }
    matches = {
        feature.name: _match_rows(
            before, feature, old.vocabularies.get(feature.name), vocabularies.get(feature.name)
        )
        for before, feature in zip(
            old.schema.categorical, task.model.schema.categorical, strict=True
        )
    }
    count = 0
    for number, store in enumerate(task.model.tables.stores):
        for part in store.parts:
            if part.name not in old_parts:
                continue
            old_number, old_part = old_parts[part.name]
            is_same, sources, targets = matches[part.feature]
            if part.name != part.feature:
                # Neither half of a split table belongs to one value: all or none of it is kept.
                sources = targets = np.arange(part.num_rows * is_same, dtype=np.int32)
            old_variables = old_step.table_variables(old_number)
            for source, target in zip(
                old_variables, task.step.table_variables(number), strict=True
            ):
                rows = tf.gather(source, old_part.first_row + sources)
                write_rows(target, part.first_row + targets, rows)
            count += len(sources)
    return count


def _match_rows(
    old: CategoricalFeature,
    new: CategoricalFeature,
    old_vocabulary: Vocabulary | None,
    vocabulary: Vocabulary | None,
) -> tuple[bool, np.ndarray, np.ndarray]:
    """Returns whether all rows mean the same, and those that do in the old and the new table."""
    is_same = (old.kind, old.num_rows, old.boundaries) == (new.kind, new.num_rows, new.boundaries)
    if old_vocabulary is None or vocabulary is None:
        rows = np.arange(new.num_rows * is_same, dtype=np.int32)
        return is_same, rows, rows
    targets = vocabulary.rows(old_vocabulary.ids)
    sources = np.flatnonzero(targets).astype(np.int32) + 1
    is_same = is_same and np.array_equal(old_vocabulary.ids, vocabulary.ids)
    # Row 0, of unknown values, is the same in both.
    return is_same, np.append(sources, np.int32(0)), np.append(targets[targets > 0], np.int32(0))
