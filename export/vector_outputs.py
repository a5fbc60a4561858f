"""Item vectors for other services to search in: files, FAISS, Milvus.

ScaNN has no file of its own that outlasts a process: it is made of `vectors.npy`, see
`tfrec_zoo.item_index.scann_index`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags, logging

from tfrec_zoo.atomic_file import replace_folder
from tfrec_zoo.item_index.index_folder import IDS_NAME

if TYPE_CHECKING:
    from tfrec_zoo.item_index.item_index import ItemIndex

FLAGS = flags.FLAGS
OUTPUTS = ("vectors_to", "faiss_to", "milvus_to")
FAISS_NAME = "index.faiss"

# Flag -> the package that it needs, and the extra that brings it.
_PACKAGES = {"faiss_to": ("faiss", "faiss"), "milvus_to": ("pymilvus", "milvus")}


def define_vector_flags() -> None:
    """Defines the flags that say where the vectors go."""
    flags.DEFINE_string("vectors_to", None, "Folder for the vectors: vectors.npy and ids.tsv.")
    flags.DEFINE_string(
        "faiss_to", None, f"Folder for an index of FAISS: {FAISS_NAME} and {IDS_NAME}."
    )
    flags.DEFINE_string("faiss_index", "Flat", "What FAISS makes, as HNSW32 or IVF1024,Flat.")
    flags.DEFINE_string(
        "milvus_to", None, "Address of a Milvus that the vectors go to, or a file of milvus-lite."
    )
    flags.DEFINE_string("milvus_name", "items", "What the items are called in Milvus: an alias.")
    flags.DEFINE_string("milvus_index", "AUTOINDEX", "What Milvus makes, as HNSW or IVF_FLAT.")


def require_packages() -> None:
    """Raises ValueError where a package is missing that a flag needs."""
    from tfrec_zoo.item_index.vector_services import import_extra

    for flag, (module, extra) in _PACKAGES.items():
        if FLAGS[flag].value:
            try:
                import_extra(module, extra)
            except ImportError as error:
                raise ValueError(f"--{flag}: {error}") from None


def write_vectors(index: "ItemIndex") -> None:
    """Writes the vectors of an index wherever the flags say."""
    if FLAGS.vectors_to:
        index.save(FLAGS.vectors_to)
    if FLAGS.faiss_to:
        write_faiss_folder(FLAGS.faiss_to, index, FLAGS.faiss_index)
    if FLAGS.milvus_to:
        from tfrec_zoo.item_index.milvus_index import to_milvus

        to_milvus(index, FLAGS.milvus_to, FLAGS.milvus_name, index_type=FLAGS.milvus_index)
    logging.info("wrote %s vectors of %d numbers", f"{index.num_items:,}", index.width)


def write_faiss_folder(path: str | os.PathLike, index: "ItemIndex", description: str) -> None:
    """Writes an index of FAISS and the ids of its numbers, whole or not at all.

    Args:
        path: of the folder; an index that is there is replaced.
        index: the items.
        description: see `to_faiss`.

    Raises:
        ImportError: FAISS is not installed.
        ValueError: `path` holds something else, or FAISS does not know the description.
    """
    from tfrec_zoo.item_index.faiss_index import to_faiss
    from tfrec_zoo.item_index.vector_services import import_extra

    path, faiss = Path(path).absolute(), import_extra("faiss", "faiss")
    others = {child.name for child in path.iterdir()} if path.is_dir() else set()
    if path.is_file() or others - {FAISS_NAME, IDS_NAME}:
        raise ValueError(f"{path} is no folder of an index, so it is not replaced: choose another")
    try:
        search = to_faiss(index, description)
    except RuntimeError as error:
        # Its sentences begin with the C++ function and end with the one that matters.
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"FAISS makes no index {description!r}: {reason}") from None
    with replace_folder(path) as folder:
        faiss.write_index(search.faiss_index, str(folder / FAISS_NAME))
        lines = "".join(f"{item_id}\n" for item_id in search.ids)
        (folder / IDS_NAME).write_bytes(lines.encode())
