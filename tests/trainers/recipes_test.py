"""The recipes that come along: configurations of a model, with their source."""

import pytest

from tfrec_zoo.config import parse_json_object
from tfrec_zoo.experiments import DLRMExperiment, GRU4RecExperiment, SSRExperiment
from tfrec_zoo.trainers.gru4rec import RECIPES

EXPERIMENTS = {kind.PROGRAM: kind for kind in (GRU4RecExperiment, SSRExperiment, DLRMExperiment)}
PATHS = sorted(RECIPES.glob("*.json"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_recipes_are_experiments_and_tell_their_source(path):
    values = parse_json_object(path.read_text(encoding="utf-8"))
    assert values["about"].keys() >= {"what", "data", "source"}
    kind = EXPERIMENTS[values["program"]]
    assert kind.from_dict(values) != kind()


def test_each_model_has_recipes():
    programs = [parse_json_object(path.read_text("utf-8"))["program"] for path in PATHS]
    assert {program: programs.count(program) >= 3 for program in EXPERIMENTS} == {
        "gru4rec": True,
        "ssr": True,
        "dlrm": True,
    }


def test_a_recipe_of_another_model_is_refused():
    values = parse_json_object((RECIPES / "rsc15_cross_entropy.json").read_text("utf-8"))
    with pytest.raises(ValueError, match="a configuration of gru4rec, expected one of dlrm"):
        DLRMExperiment.from_dict(values)
