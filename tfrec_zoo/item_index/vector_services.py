"""What approximate indexes have in common: how they are imported, and what they lose."""

import importlib
from types import ModuleType
from typing import Protocol

import numpy as np

from tfrec_zoo.item_index.item_index import ItemIndex

# Scores that differ by no more than this share are ties that were rounded in different ways.
_ROUNDING = 1e-5


class VectorSearch(Protocol):
    """Item vectors somewhere that can be searched."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns about the k items with the greatest products.

        Args:
            queries: float32 [B, D].
            k: answers of each query.

        Returns:
            The ids, object [B, k], and the scores, float32 [B, k], by falling score. Where fewer
            than k items have been found the rest are "" with scores -inf.
        """


def measure_recall(index: ItemIndex, search: VectorSearch, queries: np.ndarray, k: int) -> float:
    """Returns recall@k: the share of the exact k best that `search` finds.

    An item whose score ties with that of the last of the exact k best is as good as that one.

    Args:
        index: the items that `search` has, too, and their exact answers.
        search: what is measured.
        queries: float32 [B, D], B > 0.
        k: answers of each query.
    """
    queries = np.asarray(queries, np.float32)
    _, exact_scores = index.search(queries, k)
    found_ids, _ = search.search(queries, k)
    num_exact = min(k, index.num_items)
    shares = []
    for query, exact, ids in zip(queries, exact_scores, found_ids, strict=True):
        rows = np.unique(index.rows(ids))
        scores = index.vectors[rows[rows > 0] - 1] @ query
        threshold = exact[num_exact - 1] - _ROUNDING * np.abs(exact[0])
        shares.append(np.count_nonzero(scores >= threshold) / num_exact)
    return float(np.mean(shares))


def import_extra(module: str, extra: str) -> ModuleType:
    """Returns a module of an optional package.

    Raises:
        ImportError: it is not installed; the sentence says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is needed for this and cannot be imported ({error}): "
            f"pip install 'tfrec-zoo[{extra}]'"
        ) from None
