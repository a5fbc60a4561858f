"""Measures one side of the item index benchmark, in a process and an environment of its own.

Needs the zoo's `vocabulary` and `item_index` modules and the side's package.
"""

import atexit
import dataclasses
import gc
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrec_zoo.item_index.item_index import ItemIndex
from tfrec_zoo.item_index.vector_services import VectorSearch, measure_recall

BATCH_SIZES = (1, 64)
RECALL_QUERIES = 256
MIN_SAMPLES, MAX_SAMPLES = 5, 300


@dataclass(frozen=True)
class Settings:
    """One measurement; passed to the worker process as JSON on its command line."""

    side: str
    num_items: int
    width: int = 128
    k: int = 20
    # 0: the vectors are independent, where there is nothing that an approximation could use.
    num_clusters: int = 0
    threads: int = 2
    # Seconds of searching for each batch size.
    seconds: float = 10.0
    seed: int = 1

    def to_json(self) -> str:
        """Returns the worker's argument."""
        return json.dumps(dataclasses.asdict(self))


def draw_vectors(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors of the items and of queries, float32, of length 1."""
    rng = np.random.default_rng(settings.seed)
    num_vectors = settings.num_items + RECALL_QUERIES
    vectors = rng.standard_normal((num_vectors, settings.width), np.float32)
    if settings.num_clusters:
        centers = rng.standard_normal((settings.num_clusters, settings.width), np.float32)
        vectors += 2 * centers[rng.integers(0, settings.num_clusters, num_vectors)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[RECALL_QUERIES:], vectors[:RECALL_QUERIES]


def make_faiss(
    index: ItemIndex, settings: Settings, description: str, parameters: str = "", blas: bool = False
) -> VectorSearch:
    """Returns an index of FAISS.

    Args:
        index: the items.
        settings: the measurement.
        description: see `to_faiss`.
        parameters: see `to_faiss`.
        blas: let a flat index multiply matrices from 20 queries on, as FAISS did before it turned
            this off for fewer than 128,000.
    """
    import faiss

    from tfrec_zoo.item_index.faiss_index import to_faiss

    faiss.omp_set_num_threads(settings.threads)
    if blas:
        faiss.cvar.distance_compute_blas_threshold = 20
    return to_faiss(index, description, parameters)


def make_scann(index: ItemIndex, settings: Settings) -> VectorSearch:
    """Returns ScaNN through TFRS, with the proportions that its authors advise."""
    from tfrec_zoo.item_index.scann_index import to_scann

    num_leaves = round(np.sqrt(index.num_items))
    return to_scann(
        index,
        num_leaves=num_leaves,
        num_leaves_to_search=num_leaves // 10,
        num_reordering_candidates=10 * settings.k,
    )


def make_milvus(index: ItemIndex, settings: Settings, **parameters: Any) -> VectorSearch:
    """Returns a collection of the embedded milvus-lite, when it has built its index."""
    from tfrec_zoo.item_index.milvus_index import to_milvus

    folder = tempfile.mkdtemp(prefix="tfrec_milvus_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    search = to_milvus(index, str(Path(folder) / "items.db"), "items", **parameters)
    # Loading waits for the index, which is otherwise built in the background.
    search.client.release_collection("items")
    search.client.load_collection("items")
    return search


class TFRSSearch:
    """A layer of TFRS, called as its users call it: traced once for each batch size."""

    def __init__(self, layer: Any, width: int, k: int) -> None:
        """Traces the layer."""
        import tensorflow as tf

        self._constant = tf.constant
        layer(tf.zeros([1, width]))
        self._search = tf.function(lambda queries: layer(queries, k=k))

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and scores, see `VectorSearch.search`."""
        scores, ids = (part.numpy() for part in self._search(self._constant(queries)))
        texts = [item_id.decode() for item_id in ids.ravel()]
        return np.array(texts, dtype=object).reshape(ids.shape), scores


def make_brute_force(index: ItemIndex, settings: Settings) -> VectorSearch:
    """Returns `BruteForce` of TFRS."""
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    layer = tfrs.layers.factorized_top_k.BruteForce(k=settings.k)
    layer.index(tf.constant(index.vectors), tf.constant(list(index.ids)))
    return TFRSSearch(layer, index.width, settings.k)


def make_streaming(index: ItemIndex, settings: Settings) -> VectorSearch:
    """Returns `Streaming` of TFRS, over batches as large as the zoo's chunks."""
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    items = tf.data.Dataset.from_tensor_slices((list(index.ids), index.vectors))
    layer = tfrs.layers.factorized_top_k.Streaming(k=settings.k)
    layer.index_from_dataset(items.batch(32_768).cache())
    return TFRSSearch(layer, index.width, settings.k)


def list_sides(num_items: int) -> dict[str, Callable[[ItemIndex, Settings], VectorSearch]]:
    """Returns how each side is made; the number of clusters goes with that of the items."""
    clusters = round(np.sqrt(num_items))

    def faiss(*arguments: Any) -> Callable[[ItemIndex, Settings], VectorSearch]:
        return lambda index, settings: make_faiss(index, settings, *arguments)

    graph = {
        "index_type": "HNSW",
        "index_parameters": {"M": 32, "efConstruction": 40},
        "search_parameters": {"ef": 128},
    }
    return {
        "zoo": lambda index, settings: index,
        "faiss flat": faiss("Flat"),
        "faiss flat blas": faiss("Flat", "", True),
        "tfrs brute force": make_brute_force,
        "tfrs streaming": make_streaming,
        "faiss ivf": faiss(f"IVF{clusters},Flat", f"nprobe={clusters // 10}"),
        "faiss hnsw": faiss("HNSW32", "efSearch=128"),
        "scann": make_scann,
        "milvus hnsw": lambda index, settings: make_milvus(index, settings, **graph),
    }


def measure(settings: Settings) -> dict[str, Any]:
    """Returns seconds to build, milliseconds of searches, megabytes and recall."""
    vectors, queries = draw_vectors(settings)
    width = len(str(settings.num_items))
    index = ItemIndex([f"item-{i:0{width}d}" for i in range(settings.num_items)], vectors)
    make = list_sides(settings.num_items)[settings.side]
    import_packages(settings.side, settings.threads)
    megabytes_before = read_megabytes("VmRSS")
    start = time.perf_counter()
    search = make(index, settings)
    search.search(queries[:1], settings.k)
    build_seconds = time.perf_counter() - start
    gc.collect()
    megabytes = read_megabytes("VmRSS")
    forget_peak()
    times = {
        batch_size: time_searches(search, queries, batch_size, settings)
        for batch_size in BATCH_SIZES
    }
    return {
        "build_seconds": build_seconds,
        "milliseconds": times,
        "index_megabytes": megabytes - megabytes_before,
        "search_megabytes": read_megabytes("VmHWM") - megabytes,
        "recall": measure_recall(index, search, queries, settings.k),
    }


def time_searches(
    search: VectorSearch, queries: np.ndarray, batch_size: int, settings: Settings
) -> list[float]:
    """Returns the milliseconds of searches, each with other queries."""
    batches = [
        queries[start : start + batch_size]
        for start in range(0, len(queries) - batch_size + 1, batch_size)
    ]
    search.search(batches[0], settings.k)
    times = []
    begin = time.perf_counter()
    for number in range(MAX_SAMPLES):
        start = time.perf_counter()
        if number >= MIN_SAMPLES and start - begin > settings.seconds:
            break
        search.search(batches[number % len(batches)], settings.k)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def import_packages(side: str, threads: int) -> None:
    """Imports what a side needs, so that it does not count as memory of its index."""
    if side.startswith(("zoo", "tfrs", "scann")):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.constant(0.0)
    if side.startswith(("tfrs", "scann")):
        import tensorflow_recommenders  # noqa: F401


def read_megabytes(name: str) -> float:
    """Returns a value of this process, resident memory or its peak, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def forget_peak() -> None:
    """Lets the peak of the resident memory be that from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def main() -> None:
    """Measures as the command line says and prints the result as JSON."""
    settings = Settings(**json.loads(sys.argv[1]))
    result = measure(settings)
    result["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
