"""Item vectors in ScaNN, through TensorFlow Recommenders.

ScaNN's operations are bound to the one TensorFlow release that they were built for. None of its
wheels, up to scann 1.4.2, is for TensorFlow 2.21: they are for 2.20 and before, and beside 2.21
their library is not loaded (undefined symbols), with which `import tensorflow_recommenders` fails,
too. So there is no extra for it. Where an environment has a pair that fits, `to_scann` works;
elsewhere ScaNN reads the `vectors.npy` of `ItemIndex.save` in an environment of its own.
TensorFlow Serving lacks these operations in any case.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_zoo.item_index.item_index import ItemIndex


def to_scann(index: ItemIndex, **settings: Any) -> "ScannSearch":
    """Returns a ScaNN index of the items by inner product.

    Args:
        index: the items; ScaNN copies them, and learns its clusters and codes from them.
        **settings: of `tfrs.layers.factorized_top_k.ScaNN`: `num_leaves`, `num_leaves_to_search`,
            `num_reordering_candidates` and others.

    Raises:
        ImportError: ScaNN is not installed, or is for another TensorFlow.
    """
    _require_scann()
    from tensorflow_recommenders.layers.factorized_top_k import ScaNN

    layer = ScaNN(**settings)
    layer.index(tf.constant(index.vectors), tf.constant(list(index.ids)))
    return ScannSearch(layer, index.num_items)


class ScannSearch:
    """A layer `tfrs.layers.factorized_top_k.ScaNN` with the items.

    Attributes:
        layer: queries to scores and ids.
        num_items: V.
    """

    def __init__(self, layer: Any, num_items: int) -> None:
        """Takes over a layer that has its items."""
        self.layer = layer
        self.num_items = num_items

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and scores, see `VectorSearch.search`."""
        found_scores, found_ids = self.layer(
            tf.constant(queries, tf.float32), k=min(k, self.num_items)
        )
        ids = np.full((len(queries), k), "", object)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        num_found = found_ids.shape[1]
        for line, texts in enumerate(found_ids.numpy()):
            ids[line, :num_found] = [text.decode() for text in texts]
        scores[:, :num_found] = found_scores
        return ids, scores


def _require_scann() -> None:
    try:
        # Its library is loaded by the import, and fails with an error of TensorFlow's.
        from scann.scann_ops.py import scann_ops  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"ScaNN cannot be imported ({error}): pip install scann where its release is for "
            f"TensorFlow {tf.__version__}, or give it the vectors.npy of ItemIndex.save"
        ) from None
    except tf.errors.OpError as error:
        raise ImportError(
            f"the installed scann is for another TensorFlow than {tf.__version__}, and breaks "
            f"tensorflow_recommenders: pip uninstall scann ({error.message})"
        ) from None
