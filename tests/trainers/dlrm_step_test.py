"""Whole training steps of DLRM against whole tables in float64."""

import numpy as np
import pytest
import tensorflow as tf
from block_steps import assert_no_kernel_is_copied

from tfrec_zoo.data.clicks.click_batches import ClickBatches
from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema, DenseFeature
from tfrec_zoo.data.clicks.click_shards import ClickRows
from tfrec_zoo.experiments import DLRMExperiment
from tfrec_zoo.models.dlrm import DLRM
from tfrec_zoo.trainers.dlrm_step import DLRMStep
from tfrec_zoo.trainers.drivers.block_runner import make_block_runner

SCHEMA = ClickSchema(
    dense=(DenseFeature("a", "a"), DenseFeature("b", "b")),
    categorical=(
        CategoricalFeature("user", "user", 6),
        CategoricalFeature("tags", "tags", 8, max_values=2),
        CategoricalFeature("film", "film", 9),
    ),
    has_weights=True,
)
NUM_EXAMPLES, BATCH = 22, 8


def make_examples() -> ClickRows:
    rng = np.random.default_rng(3)
    rows = rng.integers(0, [6, 8, 8, 9], (NUM_EXAMPLES, 4)).astype(np.int32)
    row_weights = np.ones(rows.shape, np.float32)
    row_weights[:, 1:3] = rng.choice([0.0, 0.5, 2.0], (NUM_EXAMPLES, 2))
    return ClickRows(
        labels=rng.integers(0, 2, NUM_EXAMPLES).astype(np.float32),
        dense=rng.normal(size=(NUM_EXAMPLES, 2)).astype(np.float32),
        rows=rows,
        row_weights=row_weights,
        weights=rng.uniform(0.5, 2, NUM_EXAMPLES).astype(np.float32),
    )


def make_experiment(**groups) -> DLRMExperiment:
    values = {
        "model": {"embedding_dim": 4, "bottom_mlp": [5, 4], "top_mlp": [6, 1]},
        "batches": {"batch_size": BATCH, "shuffle": False},
        "optimizer": {"optimizer": "sgd", "learning_rate": 0.3},
    }
    for name, options in groups.items():
        values[name] = {**values.get(name, {}), **options}
    return DLRMExperiment.from_dict(values)


def make_batches(experiment: DLRMExperiment, model: DLRM) -> ClickBatches:
    return ClickBatches(
        make_examples(),
        SCHEMA,
        experiment.batches,
        [store.locate for store in model.tables.stores],
        noise_width=model.noise_width,
    )


def run_steps(experiment: DLRMExperiment, compiled: str = "") -> tuple[DLRM, np.ndarray]:
    """Trains an epoch, in `shards` or with whole `steps` compiled.

    Returns:
        The model and the loss sums of its steps.
    """
    model = DLRM(experiment.model, SCHEMA, seed=1)
    step = DLRMStep(model, experiment, num_shards=2 * (compiled == "shards"))
    run = make_block_runner(step, jit_compile=compiled == "steps")
    losses = []
    for block in make_batches(experiment, model).blocks(0):
        block_losses, num_examples, _ = run({n: tf.constant(a) for n, a in block.items()}, ())
        assert num_examples == NUM_EXAMPLES
        losses.append(block_losses.numpy()[: int(block["num_steps"])])
    return model, np.concatenate(losses)


class Oracle:
    """The same network over whole tables in float64, one variable for each weight."""

    def __init__(self, experiment: DLRMExperiment):
        self.experiment = experiment
        self.model = DLRM(experiment.model, SCHEMA, seed=1)
        self.weights = [tf.Variable(tf.cast(v, tf.float64)) for v in self.model.trainable_variables]
        names = {id(t.variable) for t in self.model.tables.tables}
        self.is_table = [id(v) in names for v in self.model.trainable_variables]
        start = experiment.optimizer.initial_accumulator
        self.sums = [np.full(weight.shape, start) for weight in self.weights]

    def logits(self, examples: ClickRows) -> tf.Tensor:
        values = dict(
            zip([id(v) for v in self.model.trainable_variables], self.weights, strict=True)
        )
        hidden = tf.constant(examples.dense, tf.float64)
        for layer in self.model.bottom.layers:
            hidden = tf.nn.relu(hidden @ values[id(layer.kernel)] + values[id(layer.bias)])
        (store,), (table,) = self.model.tables.stores, self.model.tables.tables
        vectors = [hidden]
        for part in store.tables:
            rows = tf.gather(
                values[id(table.variable)], part.first_row + examples.rows[:, part.slots]
            )
            weights = tf.constant(examples.row_weights[:, part.slots], tf.float64)
            vectors.append(tf.einsum("bsd,bs->bd", rows, weights))
        pairs = [tf.reduce_sum(a * b, 1) for i, a in enumerate(vectors) for b in vectors[:i]]
        values_in = tf.concat([hidden, tf.stack(pairs, axis=1)], axis=1)
        first, last = self.model.top.layers
        values_in = tf.nn.relu(values_in @ values[id(first.kernel)] + values[id(first.bias)])
        return (values_in @ values[id(last.kernel)] + values[id(last.bias)])[:, 0]

    def step(self, examples: ClickRows) -> float:
        loss_config = self.experiment.loss
        with tf.GradientTape() as tape:
            logits = self.logits(examples)
            e = loss_config.label_smoothing
            labels = examples.labels * (1 - e) + e / 2
            p = tf.sigmoid(logits)
            losses = -loss_config.positive_weight * labels * tf.math.log(p)
            losses -= (1 - labels) * tf.math.log(1 - p)
            total = tf.reduce_sum(losses * examples.weights)
            mean = total / examples.num_rows
        gradients = tape.gradient(mean, self.weights)
        for index, (weight, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
            gradient = tf.convert_to_tensor(gradient).numpy()
            config = self.experiment.optimizer
            config = config.for_tables if self.is_table[index] else config
            rate = config.learning_rate
            if self.is_table[index]:
                rate = config.embedding_learning_rate or rate
            if config.optimizer == "adagrad":
                self.sums[index] += gradient**2
                # PyTorch's, whose guard is next to none.
                gradient = gradient / (np.sqrt(self.sums[index]) + 1e-10)
            elif config.optimizer == "rowwise_adagrad":
                square = gradient**2
                if self.is_table[index]:
                    square = np.tile(square.mean(1, keepdims=True), (1, square.shape[1]))
                self.sums[index] += square
                gradient = gradient / (np.sqrt(self.sums[index]) + 1e-10)
            weight.assign_sub(rate * gradient)
        return float(total)


def run_oracle(experiment: DLRMExperiment, batch: int = BATCH) -> tuple[list, list[float]]:
    oracle, examples = Oracle(experiment), make_examples()
    losses = [oracle.step(examples.slice(s, s + batch)) for s in range(0, NUM_EXAMPLES, batch)]
    return [weight.numpy() for weight in oracle.weights], losses


CASES = [
    {},
    {"optimizer": {"optimizer": "adagrad", "learning_rate": 0.05, "initial_accumulator": 0.1}},
    {"optimizer": {"optimizer": "rowwise_adagrad", "learning_rate": 0.05}},
    {
        "optimizer": {
            "optimizer": "sgd",
            "embedding_optimizer": "rwsadagrad",
            "embedding_learning_rate": 0.07,
        }
    },
    {"loss": {"positive_weight": 3.0, "label_smoothing": 0.1}},
]


@pytest.mark.parametrize(
    ("case", "compiled"),
    [
        *((case, "") for case in CASES),
        *((case, "shards") for case in CASES[1:4]),
        (CASES[1], "steps"),
        (CASES[3], "steps"),
    ],
)
def test_steps_are_those_of_whole_tables(case, compiled):
    experiment = make_experiment(**case)
    model, losses = run_steps(experiment, compiled)
    weights, expected = run_oracle(experiment)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for variable, weight in zip(model.trainable_variables, weights, strict=True):
        np.testing.assert_allclose(variable, weight, rtol=1e-3, atol=2e-5, err_msg=variable.name)


@pytest.mark.parametrize(("optimizer", "compiled"), [("sgd", "shards"), ("adagrad", "")])
def test_accumulated_batches_are_one_large_batch(optimizer, compiled):
    options = {"optimizer": {"optimizer": optimizer, "learning_rate": 0.1}}
    small = make_experiment(batches={"batch_size": 4, "accumulate_steps": 2}, **options)
    model, losses = run_steps(small, compiled)
    weights, expected = run_oracle(make_experiment(**options))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for variable, weight in zip(model.trainable_variables, weights, strict=True):
        np.testing.assert_allclose(variable, weight, rtol=1e-3, atol=2e-5, err_msg=variable.name)


OTHER_NETWORKS = [
    {"interaction": "cross", "cross_rank": 2, "first_order": True},
    {"qr_threshold": 7, "qr_collisions": 2, "weighted_pooling": True},
    {"table_dims": ["film:2"], "interaction": "cat", "mlp_dropout": 0.3},
    {"precision": "mixed_bfloat16"},
]
OTHER_OPTIMIZERS = [
    {"optimizer": "keras:Adam", "learning_rate": 0.01},
    {"optimizer": "adam", "momentum": 0.5, "clip_norm": 0.3},
]


@pytest.mark.parametrize("model", OTHER_NETWORKS)
def test_every_weight_of_other_networks_learns(model):
    experiment = make_experiment(model=model)
    before = DLRM(experiment.model, SCHEMA, seed=1)
    trained, losses = run_steps(experiment)
    assert np.isfinite(losses).all()
    for old, new in zip(before.trainable_variables, trained.trainable_variables, strict=True):
        assert not np.array_equal(old, new), new.name


@pytest.mark.parametrize(
    "groups",
    [
        *({"model": model} for model in OTHER_NETWORKS),
        *({"optimizer": optimizer} for optimizer in OTHER_OPTIMIZERS),
    ],
)
def test_shards_train_as_the_whole_batch_does_without_xla(groups):
    experiment = make_experiment(**groups)
    expected, expected_losses = run_steps(experiment)
    trained, losses = run_steps(experiment, "shards")
    # Where bfloat16 rounds to, a sum's order decides.
    tolerance = 2e-2 if experiment.model.precision == "mixed_bfloat16" else 1e-5
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance)
    for old, new in zip(expected.trainable_variables, trained.trainable_variables, strict=True):
        np.testing.assert_allclose(old, new, rtol=tolerance, atol=tolerance, err_msg=new.name)


def test_xla_copies_no_kernel_of_a_step():
    experiment = make_experiment(model={"bottom_mlp": [64, 32, 4], "top_mlp": [32, 1]})
    model = DLRM(experiment.model, SCHEMA, seed=1)
    (block,) = make_batches(experiment, model).blocks(0)
    assert_no_kernel_is_copied(DLRMStep(model, experiment), block, ())


def test_untouched_rows_stay_as_they_are():
    experiment = make_experiment(
        optimizer={"optimizer": "adagrad", "momentum": 0.5, "l2_penalty": 0.1}
    )
    before = DLRM(experiment.model, SCHEMA, seed=1).tables.tables[0].variable.numpy()
    examples = make_examples()
    model, _ = run_steps(experiment)
    after = model.tables.tables[0].variable.numpy()
    touched = np.unique(model.tables.stores[0].locate(examples.rows, examples.row_weights))
    untouched = np.setdiff1d(np.arange(len(before)), touched)
    np.testing.assert_array_equal(after[untouched], before[untouched])
    assert not after[0].any()
    assert (after[touched[1:]] != before[touched[1:]]).any(axis=1).all()
