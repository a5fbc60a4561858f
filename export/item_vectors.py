"""The items of an SSR as numbers: what its towers read of them, their vectors, their scores."""

import numpy as np
import tensorflow as tf

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.export.restored import RestoredSSR
from tfrec_zoo.item_index.item_index import ItemIndex
from tfrec_zoo.models.ssr import SSR

# Items that are read at once.
_CHUNK_ITEMS = 8192


def read_inputs(model: SSR, catalogue: ItemCatalogue) -> np.ndarray:
    """Returns x of each row of the catalogue, float32 [V + 1, E]; zeros for row 0."""
    inputs = np.zeros((catalogue.num_rows, model.config.embedding_dim), np.float32)
    for start in range(1, catalogue.num_rows, _CHUNK_ITEMS):
        stop = min(start + _CHUNK_ITEMS, catalogue.num_rows)
        content = catalogue.features.slice(start, stop)
        arrays = (content.dense, content.rows, content.row_weights)
        tensors = (None if array is None else tf.constant(array) for array in arrays)
        inputs[start:stop] = model.read_items(*tensors)
    return inputs


def embed_rows(
    model: SSR, catalogue: ItemCatalogue, inputs: np.ndarray, now: float | None
) -> np.ndarray:
    """Returns the vectors of the items, without row 0: float32 [V, D], or [V, D + 1] with offsets.

    Where items have scores beside those of their vectors (`SSR.has_offsets`), of their age or of
    how much they are being shown, that is the last number, and the last one of a session's vector
    is 1.

    Args:
        model: the towers.
        catalogue: the items.
        inputs: of `read_inputs`.
        now: the time that ages are taken at; None: no age is known.
    """
    vectors = model.item_vectors(tf.constant(inputs[1:])).numpy()
    if not model.has_offsets:
        return vectors
    return np.column_stack([vectors, score_offsets(model, catalogue, now)[1:]])


def score_offsets(model: SSR, catalogue: ItemCatalogue, now: float | None) -> np.ndarray:
    """Returns what age and shows add to the score of each row, float32 [V + 1]."""
    offsets = np.zeros(catalogue.num_rows, np.float32)
    if model.age_scores is not None:
        offsets += model.score_ages(tf.constant(find_ages(catalogue, now))).numpy()
    if catalogue.click_lifts is not None:
        lifts = tf.constant(catalogue.click_lifts, tf.float32)
        offsets += model.score_click_lifts(lifts).numpy()
    if catalogue.shows is not None:
        offsets += model.score_shows(tf.constant(catalogue.shows, tf.float32)).numpy()
    return offsets


def make_index(restored: RestoredSSR, now: float | None) -> ItemIndex:
    """Returns the vectors of a model's items, those that `embed_items` of its export has."""
    catalogue = restored.catalogue
    inputs = read_inputs(restored.model, catalogue)
    return ItemIndex(catalogue.ids, embed_rows(restored.model, catalogue, inputs, now))


def find_ages(catalogue: ItemCatalogue, now: float | None) -> np.ndarray:
    """Returns how old each row is at `now`, float32 [V + 1]; -inf where that is not known."""
    if catalogue.times is None or now is None:
        return np.full(catalogue.num_rows, -np.inf, np.float32)
    # In float64, for the times are large and the ages small.
    ages = (now - catalogue.times).astype(np.float32)
    return np.where(np.isnan(ages), np.float32(-np.inf), ages)


def find_now(restored: RestoredSSR, now: float | None = None) -> float | None:
    """Returns the time that items have their ages at, see `export_ssr`; None where it is none."""
    if not restored.model.has_offsets:
        if now is not None:
            raise ValueError(
                f"now={now} is the time of the items' ages and shows, and this model has neither "
                "age_buckets nor exposure_weight: leave it out"
            )
        return None
    if now is not None:
        return now
    known = [(restored.exported or {}).get("now")]
    times = restored.catalogue.times
    if times is not None and not np.isnan(times).all():
        known.append(float(np.nanmax(times)))
    return max((time for time in known if time is not None), default=None)
