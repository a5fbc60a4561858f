"""Item vectors in Milvus, for catalogues that outgrow one machine.

Needs `pymilvus` (`pip install 'tfrec-zoo[milvus]'`, with the embedded milvus-lite). The same code
works on a file of milvus-lite, `./items.db`, and on a cluster, `http://host:19530`.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrec_zoo.item_index.item_index import ItemIndex
from tfrec_zoo.item_index.vector_services import import_extra
from tfrec_zoo.vocabulary import as_text_ids

# A request to Milvus holds at most 64 MiB.
_BATCH_BYTES = 1 << 22
_MAX_ID_BYTES = 65_535


def to_milvus(
    index: ItemIndex,
    uri: str,
    name: str,
    *,
    token: str = "",
    index_type: str = "AUTOINDEX",
    index_parameters: dict[str, Any] | None = None,
    search_parameters: dict[str, Any] | None = None,
) -> "MilvusSearch":
    """Writes the items into a new collection, and then makes it the one that `name` stands for.

    `name` is an alias, which goes over to the new collection in one step: searches are answered
    from the old items until then. The collection that it stood for is dropped. Milvus builds the
    index behind the scenes; until it has, searches are exact and slower.

    Args:
        index: the items.
        uri: a file of milvus-lite, or the address of a Milvus.
        name: the alias: letters, digits and underscores.
        token: `user:password` or a key, where the Milvus asks for one.
        index_type: Milvus' name of the kind of index: `FLAT` is exact, `HNSW`, `IVF_FLAT`.
        index_parameters: `{"M": 16, "efConstruction": 200}` of HNSW, `{"nlist": 1024}` of IVF.
        search_parameters: `{"ef": 64}` of HNSW, `{"nprobe": 32}` of IVF.

    Raises:
        ImportError: pymilvus is not installed.
        ValueError: `name` is a collection, and no alias.
    """
    milvus = import_extra("pymilvus", "milvus")
    client = milvus.MilvusClient(uri, token=token)
    if name in client.list_collections():
        raise ValueError(
            f"{name!r} is a collection of {uri}, and an alias of that name is needed: choose "
            "another name, or drop the collection"
        )
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", milvus.DataType.VARCHAR, is_primary=True, max_length=_MAX_ID_BYTES)
    schema.add_field("vector", milvus.DataType.FLOAT_VECTOR, dim=index.width)
    parameters = client.prepare_index_params()
    # pymilvus takes one level of "params" away, and milvus-lite looks for them under that name; a
    # Milvus server takes them either way.
    parameters.add_index(
        "vector",
        index_type=index_type,
        metric_type="IP",
        params={"params": index_parameters} if index_parameters else {},
    )
    collection = f"{name}_{uuid.uuid4().hex}"
    # Strong: a search sees every change that was made before it.
    client.create_collection(
        collection, schema=schema, index_params=parameters, consistency_level="Strong"
    )
    try:
        MilvusSearch(client, collection).upsert(index.ids, index.vectors)
        client.flush(collection)
        _point_alias(client, name, collection)
    except BaseException:
        client.drop_collection(collection)
        raise
    return MilvusSearch(client, name, search_parameters)


class MilvusSearch:
    """Items in a Milvus.

    Attributes:
        client: a `pymilvus.MilvusClient`.
        name: the collection or its alias.
        search_parameters: see `to_milvus`.
    """

    def __init__(
        self, client: Any, name: str, search_parameters: dict[str, Any] | None = None
    ) -> None:
        """Takes over a connection, also to items that another process has written."""
        self.client = client
        self.name = name
        self.search_parameters = search_parameters or {}

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and scores, see `VectorSearch.search`."""
        answers = self.client.search(
            self.name,
            data=list(np.asarray(queries, np.float32)),
            limit=k,
            anns_field="vector",
            search_params={"params": self.search_parameters},
            # Without fields named it answers with the vectors, too.
            output_fields=["id"],
        )
        ids = np.full((len(answers), k), "", object)
        scores = np.full((len(answers), k), -np.inf, np.float32)
        for line, hits in enumerate(answers):
            ids[line, : len(hits)] = [hit["id"] for hit in hits]
            scores[line, : len(hits)] = [hit["distance"] for hit in hits]
        return ids, scores

    def upsert(self, ids: Any, vectors: np.ndarray) -> None:
        """Adds items, and replaces the vectors of those that are there."""
        for part in _cut_batches(*np.shape(vectors)):
            rows = zip(ids[part], vectors[part], strict=True)
            self.client.upsert(
                self.name, [{"id": item_id, "vector": vector} for item_id, vector in rows]
            )

    def remove(self, ids: Any) -> None:
        """Removes items; ids that are not there are passed over."""
        self.client.delete(self.name, ids=list(as_text_ids(ids)))


def _cut_batches(num_items: int, width: int) -> Iterator[slice]:
    size = max(1, _BATCH_BYTES // (4 * width))
    for start in range(0, num_items, size):
        yield slice(start, start + size)


def _point_alias(client: Any, name: str, collection: str) -> None:
    """Makes `name` an alias of `collection`, and drops what it stood for."""
    others = [other for other in client.list_collections() if other != collection]
    replaced = [other for other in others if name in client.list_aliases(other)["aliases"]]
    if replaced:
        client.alter_alias(collection, name)
    else:
        client.create_alias(collection, name)
    for other in replaced:
        client.drop_collection(other)
