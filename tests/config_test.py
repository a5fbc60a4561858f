import json
from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest

from tfrec_zoo.config import Config, list_options, option, resolve_names


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    hidden_dims: tuple[int, ...] = option((100,), "Units.", aliases=("layers",))
    activation: str = option(
        "tanh", "Of it.", choices=("tanh", "relu"), value_aliases={"rectifier": "relu"}
    )
    dropout: float = option(0.0, "Rate.", aliases=("dropout_p_hidden",))
    clip_norm: float | None = option(None, "Of the gradient.")
    metrics: tuple[str, ...] = option((), "To log.", choices=("recall", "mrr"))

    def __post_init__(self):
        super().__post_init__()
        if not self.hidden_dims:
            raise ValueError("hidden_dims must not be empty")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    epochs: int = option(10, "Passes.", affects_result=False)
    seed: int | None = option(None, "Of all.")
    is_sorted: bool = option(True, "By time.")


@dataclass(frozen=True, kw_only=True)
class Experiment(Config):
    network: NetworkConfig = NetworkConfig(dropout=0.5)
    run: RunConfig = RunConfig()
    name: str = option("x", "Of the run.")


def message_of(call, *arguments, **keywords) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


def test_json_and_back_is_the_same():
    config = Experiment(network=NetworkConfig(hidden_dims=(3, 2), clip_norm=1), name="é")
    assert Experiment.from_json(config.to_json()) == config
    assert Experiment.from_dict(config.to_dict()) == config
    assert config.to_dict()["network"]["hidden_dims"] == [3, 2]


def test_defaults_hold_where_nothing_is_said_nested_ones_too():
    config = Experiment.from_dict({"network": {"hidden_dims": [7]}, "run": {"seed": 3}})
    assert config.network == NetworkConfig(hidden_dims=(7,), dropout=0.5)
    assert config.run == RunConfig(epochs=10, seed=3)


def test_about_is_passed_over_at_the_top_only():
    assert Experiment.from_dict({"about": {"target": 0.7}}) == Experiment()
    assert "about" in message_of(Experiment.from_dict, {"run": {"about": 1}})


def test_values_are_converted_to_their_type():
    config = NetworkConfig(hidden_dims=[np.int64(5)], dropout=1, clip_norm=np.float32(0.5))
    assert config.hidden_dims == (5,) and type(config.hidden_dims[0]) is int
    assert config.dropout == 1.0 and type(config.dropout) is float
    assert type(config.clip_norm) is float
    json.dumps(config.to_dict())


@pytest.mark.parametrize(
    ("config_class", "values", "message"),
    [
        (RunConfig, {"epochs": 1.0}, "epochs must be an integer, got 1.0"),
        (RunConfig, {"epochs": True}, "epochs must be an integer, got True"),
        (RunConfig, {"epochs": None}, "epochs must be an integer, got None"),
        (RunConfig, {"is_sorted": 1}, "is_sorted must be true or false, got 1"),
        (RunConfig, {"seed": "1"}, "seed must be an integer or null, got '1'"),
        (NetworkConfig, {"dropout": False}, "dropout must be a finite number, got False"),
        (NetworkConfig, {"dropout": float("nan")}, "dropout must be a finite number, got nan"),
        (NetworkConfig, {"hidden_dims": 5}, "hidden_dims must be a list of integers, got 5"),
        (
            NetworkConfig,
            {"hidden_dims": [1.5]},
            "hidden_dims must be a list of integers, got [1.5]",
        ),
        (NetworkConfig, {"metrics": "mrr"}, "metrics must be a list of texts, got 'mrr'"),
        (NetworkConfig, {"metrics": ["auc"]}, "metrics must be one of recall, mrr, got 'auc'"),
        (NetworkConfig, {"activation": "elu"}, "activation must be one of tanh, relu, got 'elu'"),
        (NetworkConfig, {"hidden_dims": []}, "hidden_dims must not be empty"),
        (Experiment, {"run": 3}, "run must be an object of options, got 3"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(config_class, values, message):
    assert message_of(config_class.from_dict, values) == message


def test_a_wrong_value_is_refused_from_python_too():
    assert "dropout" in message_of(NetworkConfig, dropout="much")
    assert "dropout" in message_of(replace, NetworkConfig(), dropout="much")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nmae": 1}, "unknown option 'nmae' in Experiment: did you mean name?"),
        (
            {"network": {"layer": [1]}},
            "unknown option 'layer' in NetworkConfig: did you mean layers?",
        ),
        (
            {"clip_norm": 1},
            "unknown option 'clip_norm' in Experiment: it belongs in network.clip_norm",
        ),
        ({"zzz": 1}, "unknown option 'zzz' in Experiment: known are name, network, run"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(values, message):
    assert message_of(Experiment.from_dict, values) == message


def test_names_and_values_of_other_systems_are_accepted():
    values = {"network": {"layers": [5], "dropout_p_hidden": 0.1, "activation": "rectifier"}}
    config = Experiment.from_dict(values)
    assert config.network == NetworkConfig(hidden_dims=(5,), dropout=0.1, activation="relu")
    assert resolve_names(Experiment, values)["network"]["hidden_dims"] == [5]


def test_a_name_given_twice_is_refused():
    message = message_of(NetworkConfig.from_dict, {"layers": [1], "hidden_dims": [2]})
    assert message.startswith("hidden_dims is given twice in NetworkConfig")


@pytest.mark.parametrize("text", ["{", "[1]", "", '{"name": }'])
def test_what_is_no_json_object_is_refused(text):
    assert message_of(Experiment.from_json, text).startswith("expected a JSON object")


def test_options_are_listed_with_their_path_and_the_default_that_holds():
    options = {found.path: found for found in list_options(Experiment)}
    assert list(options)[:2] == [("name",), ("network", "hidden_dims")]
    assert options["network", "dropout"].default == 0.5
    assert options["network", "dropout"].group is NetworkConfig
    assert not options["run", "epochs"].affects_result
    assert options["run", "seed"].affects_result


def test_a_type_that_no_flag_could_have_is_refused():
    @dataclass(frozen=True, kw_only=True)
    class Wrong(Config):
        table: dict = option(None, "A table.")

    with pytest.raises(TypeError, match="dict"):
        Wrong()


def test_configurations_are_frozen():
    with pytest.raises(FrozenInstanceError):
        RunConfig().epochs = 3
