"""What is left of a model in the graph that is served: nothing that training alone needs."""

import pytest
from tensorflow.core.protobuf import saved_model_pb2

TRAINING = ("Apply", "Random", "StatelessRandom", "Grad", "Dropout", "Assign", "Resource")
# A table of vectors is read by it.
ALLOWED = {"ResourceGather"}
# Beside the answers: to make, fill and give up lookup tables, and to read and write the weights.
SUPPORT = ("creator", "initializer", "destroyer", "traced_save", "traced_restore")


class Graph:
    """The graph of an export, with its functions by name."""

    def __init__(self, path):
        model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        self.nodes = model.meta_graphs[0].graph_def.node
        library = model.meta_graphs[0].graph_def.library
        self.functions = {each.signature.name: each for each in library.function}

    def list_calls(self, nodes):
        """Returns the names of the functions that nodes call."""
        for node in nodes:
            attributes = [value.func.name for value in node.attr.values()]
            attributes += [each.name for value in node.attr.values() for each in value.list.func]
            yield from {node.op, *attributes} & self.functions.keys()

    def list_reached(self):
        """Returns the names of the functions that the signatures need."""
        reached = set()
        waiting = [name for name in self.functions if "signature_wrapper" in name]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self.list_calls(self.functions[name].node_def)
        return reached


@pytest.fixture(params=["gru4rec", "dlrm", "ssr"])
def graph(request):
    fixtures = {"gru4rec": "exported", "dlrm": "exported_dlrm", "ssr": "first_versions"}
    path = request.getfixturevalue(fixtures[request.param])
    return Graph(path / "1" if request.param == "ssr" else path)


def test_every_function_is_of_an_answer(graph):
    others = graph.functions.keys() - graph.list_reached()
    assert others
    assert not [name for name in others if not any(word in name for word in SUPPORT)]


def test_answers_only_compute(graph):
    reached = graph.list_reached()
    operations = {node.op for name in reached for node in graph.functions[name].node_def}
    assert "MatMul" in operations
    found = {name for name in operations - ALLOWED if any(word in name for word in TRAINING)}
    assert not found


def test_every_variable_is_read_by_an_answer(graph):
    answers = [
        node
        for node in graph.nodes
        if any("signature_wrapper" in name for name in graph.list_calls([node]))
    ]
    fed = {name.split(":")[0] for node in answers for name in node.input}
    variables = {node.name for node in graph.nodes if node.op == "VarHandleOp"}
    # The paths of assets are in variables without a name of their own.
    assert {name for name in variables - fed if not name.startswith("Variable")} == set()
    assert "item_table" in fed or len(fed) > 10
