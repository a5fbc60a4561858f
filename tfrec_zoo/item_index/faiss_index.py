"""Item vectors in FAISS, for catalogues that are searched approximately in memory.

Needs `faiss-cpu` (`pip install 'tfrec-zoo[faiss]'`) or another build of FAISS.
"""

from typing import Any

import numpy as np

from tfrec_zoo.item_index.item_index import ItemIndex
from tfrec_zoo.item_index.vector_services import import_extra


def to_faiss(index: ItemIndex, description: str = "Flat", settings: str = "") -> "FaissSearch":
    """Returns a FAISS index of the items by inner product.

    Args:
        index: the items; FAISS copies them, and learns its clusters from them.
        description: for `faiss.index_factory`: `Flat` is exact, `HNSW32` a graph, `IVF1024,Flat`
            clusters, of which some are searched.
        settings: for `faiss.ParameterSpace`: `efSearch=64` of a graph, `nprobe=32` of clusters.

    Raises:
        ImportError: FAISS is not installed.
    """
    faiss = import_extra("faiss", "faiss")
    vectors = np.ascontiguousarray(index.vectors)
    faiss_index = faiss.index_factory(index.width, description, faiss.METRIC_INNER_PRODUCT)
    if not faiss_index.is_trained:
        faiss_index.train(vectors)
    faiss_index.add(vectors)
    if settings:
        faiss.ParameterSpace().set_index_parameters(faiss_index, settings)
    return FaissSearch(faiss_index, index.ids)


class FaissSearch:
    """A FAISS index and the ids of its vectors.

    Attributes:
        faiss_index: with vector i of the catalogue as number i; for `faiss.write_index`.
        ids: object [V].
    """

    def __init__(self, faiss_index: Any, ids: np.ndarray) -> None:
        """Takes over both."""
        self.faiss_index = faiss_index
        self.ids = ids

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and scores, see `VectorSearch.search`."""
        scores, numbers = self.faiss_index.search(np.ascontiguousarray(queries, np.float32), k)
        is_found = numbers >= 0
        ids = np.append(self.ids, "")[np.where(is_found, numbers, len(self.ids))]
        return ids, np.where(is_found, scores, np.float32(-np.inf))
