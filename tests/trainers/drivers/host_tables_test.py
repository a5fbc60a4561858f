"""Where the variables of replicas lie whose tables the host keeps."""

import pytest
import tensorflow as tf

from tfrec_zoo.distributed_variables import HostVariable
from tfrec_zoo.distribution_config import DistributionConfig
from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.models.gru4rec import GRU4Rec
from tfrec_zoo.models.gru4rec_config import GRU4RecConfig
from tfrec_zoo.trainers.drivers import opening
from tfrec_zoo.trainers.drivers.host_tables import HostTableDriver
from tfrec_zoo.trainers.gru4rec_step import GRU4RecStep


@pytest.fixture(scope="module")
def step() -> GRU4RecStep:
    """The step of a model with a table for inputs and one for scores, 8 items."""
    driver = HostTableDriver(tf.distribute.MirroredStrategy(["CPU:0"]))
    config = GRU4RecConfig(hidden_dims=(4,), tie_embeddings=False, embedding_dim=3)
    with driver.home(), driver.scope():
        model = GRU4Rec(config, num_rows=9)
        return GRU4RecStep(model, GRU4RecExperiment(model=config), tf.ones([9]))


def test_the_host_has_tables_and_what_the_optimizer_keeps_of_them(step):
    of_tables = [variable for number in range(2) for variable in step.table_variables(number)]
    assert len(of_tables) > 2
    for variable in of_tables:
        assert isinstance(variable, HostVariable)
        assert variable.device.endswith("CPU:0")


def test_replicas_have_the_other_weights(step):
    assert step.dense_variables
    for variable in [*step.dense_variables, step.optimizer.step]:
        assert isinstance(variable, tf.distribute.DistributedValues)


def test_the_flag_opens_the_driver(monkeypatch):
    monkeypatch.setattr(opening, "_split_processor", lambda count: None)
    config = DistributionConfig(strategy="mirrored", num_devices=1, tables_on_host=True)
    with opening.open_driver(config) as driver:
        assert isinstance(driver, HostTableDriver)
        assert driver.num_streams == 1
        assert tf.constant(0.0).device.endswith("CPU:0")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "parameter_server"},
        {"strategy": "multi_worker", "share_negatives": False},
    ],
)
def test_who_cannot_keep_tables_on_the_host_says_so(options):
    with pytest.raises(ValueError, match="tables_on_host needs replicas in step that are parts"):
        DistributionConfig(tables_on_host=True, **options)
