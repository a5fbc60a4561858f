"""What can befall an exported version: functions that damage its folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfrec_zoo.data.news.item_catalogue import ItemCatalogue
from tfrec_zoo.export.warmup import read_warmup_requests, write_warmup_requests
from tfrec_zoo.run_folder import write_json
from tfrec_zoo.vocabulary import Vocabulary

DATA = "variables/variables.data-00000-of-00001"


Damage = Callable[[Path], Path | None]
Graph = meta_graph_pb2.MetaGraphDef
Signature = meta_graph_pb2.SignatureDef


def rename(name: str) -> Damage:
    """Gives the folder another name; it returns the new path."""
    return lambda path: path.rename(path.with_name(name))


def remove(file: str) -> Damage:
    """Removes a file."""
    return lambda path: (path / file).unlink()


def cut(file: str, share: float = 0.5) -> Damage:
    """Cuts a file off behind a share of its bytes."""

    def damage(path):
        content = (path / file).read_bytes()
        (path / file).write_bytes(content[: int(share * len(content))])

    return damage


def flip_bit(file: str) -> Damage:
    """Changes one bit in the middle of a file."""

    def damage(path):
        content = bytearray((path / file).read_bytes())
        content[len(content) // 2] ^= 1
        (path / file).write_bytes(content)

    return damage


def write(file: str, text: str) -> Damage:
    """Writes something else in a file."""
    return lambda path: (path / file).write_text(text)


def edit_json(file: str, edit: Callable) -> Damage:
    """Changes the values in a JSON file."""

    def damage(path):
        values = json.loads((path / file).read_text())
        edit(values)
        write_json(path / file, values)

    return damage


def edit_graph(edit: Callable[[Graph], None]) -> Damage:
    """Changes the graph that is served."""

    def damage(path):
        file = path / "saved_model.pb"
        saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        edit(saved_model.meta_graphs[0])
        file.write_bytes(saved_model.SerializeToString())

    return damage


def edit_signature(name: str, edit: Callable[[Signature], None]) -> Damage:
    """Changes what the graph says of a signature."""
    return edit_graph(lambda graph: edit(graph.signature_def[name]))


def edit_vocabulary(edit: Callable[..., Vocabulary]) -> Damage:
    """Makes another vocabulary of the ids and counts."""

    def damage(path):
        vocabulary = Vocabulary.load(path / "assets/vocabulary.tsv")
        edit(vocabulary.ids, vocabulary.counts).save(path / "assets/vocabulary.tsv")

    return damage


def edit_requests(edit: Callable[[list], list]) -> Damage:
    """Writes other warm-up requests, made of the good ones."""

    def damage(path):
        write_warmup_requests(path, "model", edit(read_warmup_requests(path)))

    return damage


def add_node(**node: str) -> Damage:
    """Adds an operation to a library function."""
    return edit_graph(lambda graph: graph.graph_def.library.function[0].node_def.add(**node))


def add_text(text: str) -> Damage:
    """Adds a constant to a library function."""

    def edit(graph):
        node = graph.graph_def.library.function[0].node_def.add(name="bad", op="Const")
        node.attr["dtype"].type = tf.string.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(text))

    return edit_graph(edit)


def name_table(text: bytes) -> Damage:
    """Gives a lookup table another name."""

    def edit(graph):
        tables = [node for node in graph.graph_def.node if node.op == "HashTableV2"]
        tables[0].attr["shared_name"].s = text

    return edit_graph(edit)


def name_asset(text: str) -> Damage:
    """Gives the first asset another file name in the graph."""

    def edit(graph):
        graph.asset_file_def[0].filename = text

    return edit_graph(edit)


def set_method(signature: Signature) -> None:
    """Makes a classifier of it."""
    signature.method_name = "tensorflow/serving/classify"


def fix_batch(signature: Signature) -> None:
    """Leaves an input only one row."""
    signature.inputs["item"].tensor_shape.dim[0].size = 1


def forget_rank(signature: Signature) -> None:
    """Leaves the shape of an input open altogether."""
    signature.inputs["item"].tensor_shape.unknown_rank = True


def name_output_as_input(signature: Signature) -> None:
    """Adds an output by the name of an input."""
    signature.outputs["session_items"].CopyFrom(signature.outputs["items"])


def widen_answer(signature: Signature) -> None:
    """Says that an answer has an item more than it has."""
    signature.outputs["items"].tensor_shape.dim[1].size = 11


def set_tags(*tags: str) -> Damage:
    """Gives the graph other tags."""

    def edit(graph):
        graph.meta_info_def.tags[:] = tags

    return edit_graph(edit)


def repeat_graph(path: Path) -> None:
    """Has the graph there twice."""
    content = (path / "saved_model.pb").read_bytes()
    # Protos one behind the other are one with the parts of both.
    (path / "saved_model.pb").write_bytes(2 * content)


def change_weights(path: Path) -> None:
    """Changes the table that the graph scores items by, not the one that Python reads."""
    prefix = str(path / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    tensors["columns/.ATTRIBUTES/VARIABLE_VALUE"] += np.float32(0.01)
    names = list(tensors)
    shutil.rmtree(path / "variables")
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tensors[name] for name in names],
    )


def serve_older_items(path: Path) -> None:
    """Removes an item from the catalogue beside the graph."""
    folder = path / "assets.extra" / "catalogue"
    ItemCatalogue.load(folder).remove(["N3"]).save(folder)


def move_table(places: dict) -> None:
    """Says that a feature's table begins a row later."""
    places["user"]["first_row"] += 1
