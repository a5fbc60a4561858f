"""Optimizers on rows of tables: the mathematics of whole variables, and nothing else moves."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from oracles import Optimizer, clip

from tfrec_zoo.optimizers.optimizer_config import ROW_SPARSE_OPTIMIZERS, OptimizerConfig
from tfrec_zoo.optimizers.row_sparse import RowGradient, make_optimizer

NUM_ROWS, WIDTH = 9, 3
# The rows of each step: ascending and distinct, the padding row before and behind.
STEPS = [[0, 2, 3, 7, 0, 0], [0, 3, 5, 0], [0, 1, 2, 3, 8], [0, 7, 0]]


def make_problem(**options):
    """Returns variables (two tables, one dense), the optimizer and each step's gradients."""
    rng = np.random.default_rng(0)
    values = [
        rng.normal(size=(NUM_ROWS, WIDTH)),
        rng.normal(size=(NUM_ROWS, 2)),
        rng.normal(size=4),
    ]
    values[0][0] = values[1][0] = 0
    variables = [tf.Variable(value, dtype=tf.float32) for value in values]
    optimizer = make_optimizer(OptimizerConfig(**options), variables[:2], variables[2:])
    gradients = []
    for rows, other_rows in zip(STEPS, reversed(STEPS), strict=True):
        dense = rng.normal(size=4)
        whole = [rng.normal(size=(NUM_ROWS, WIDTH)), rng.normal(size=(NUM_ROWS, 2))]
        whole[0][0] = whole[1][0] = 0
        gradients.append(((rows, other_rows), whole, dense))
    return variables, optimizer, gradients


def apply(optimizer, of_tables, of_dense):
    step = optimizer.count_step()
    moved, of_dense = optimizer.clip([given.gradient for given in of_tables], of_dense)
    optimizer.move_dense(of_dense, step)
    pairs = zip(of_tables, moved, strict=True)
    optimizer.move_tables([given._replace(gradient=gradient) for given, gradient in pairs], step)


def take_step(variables, optimizer, given):
    rows_of, whole, dense = given
    tables = [
        RowGradient(tf.constant(rows), tf.gather(table, rows), tf.constant(g[rows], tf.float32))
        for table, rows, g in zip(variables, rows_of, whole, strict=False)
    ]
    apply(optimizer, tables, [tf.constant(dense, tf.float32)])


@pytest.mark.parametrize(
    "options",
    [
        *({"optimizer": rule} for rule in ROW_SPARSE_OPTIMIZERS),
        {"optimizer": "adagrad", "momentum": 0.5, "l2_penalty": 0.1},
        {"optimizer": "adam", "momentum": 0.5, "embedding_learning_rate": 0.3},
        {"optimizer": "rowwise_adagrad", "momentum": 0.5, "l2_penalty": 0.1},
        {"optimizer": "sgd", "clip_norm": 1.5, "embedding_learning_rate": 0.01},
        {"optimizer": "adagrad", "clip_norm": 100.0, "warmup_steps": 3},
        {"optimizer": "adam", "embedding_optimizer": "rowwise_adagrad", "warmup_steps": 3},
        {"optimizer": "sgd", "embedding_optimizer": "adagrad", "momentum": 0.5},
        {"optimizer": "adagrad", "warmup_steps": 3, "embedding_schedule": False},
    ],
)
def test_steps_on_rows_are_those_of_the_oracle(options):
    variables, optimizer, gradients = make_problem(learning_rate=0.1, **options)
    rates = [options.get("embedding_learning_rate", 0.1)] * 2 + [0.1]
    momentum, l2 = options.get("momentum", 0), options.get("l2_penalty", 0)
    of_tables = options.get("embedding_optimizer", options["optimizer"])
    oracles = [
        Optimizer(of_tables if is_table else options["optimizer"], rate, momentum, l2, is_table)
        for rate, is_table in zip(rates, (True, True, False), strict=True)
    ]
    values = [variable.numpy().astype(np.float64) for variable in variables]
    for count, given in enumerate(gradients, 1):
        rows_of, whole, dense = given
        touched = [np.unique(rows) for rows in rows_of] + [np.s_[:]]
        parts = [g[rows] for g, rows in zip(whole, touched, strict=False)] + [dense]
        scaled = clip(parts, options.get("clip_norm", 0))
        for n, oracle in enumerate(oracles):
            is_constant = n < 2 and not options.get("embedding_schedule", True)
            warmup = 1.0 if is_constant else min(count / options.get("warmup_steps", 1), 1.0)
            oracle.rate = rates[n] * warmup
            gradient = np.zeros_like(values[n])
            gradient[touched[n]] = scaled[n]
            values[n] = oracle.move(values[n], gradient, touched[n])
        take_step(variables, optimizer, given)
        for variable, value in zip(variables, values, strict=True):
            np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", ROW_SPARSE_OPTIMIZERS)
def test_untouched_rows_and_their_slots_stay_bit_by_bit(rule):
    variables, optimizer, gradients = make_problem(optimizer=rule, momentum=0.5, l2_penalty=0.1)
    arrays = [
        [table, *slots] for table, slots in zip(variables, optimizer.table_slots, strict=False)
    ]
    for given in gradients:
        before = [[array.numpy() for array in group] for group in arrays]
        take_step(variables, optimizer, given)
        for rows, group, old_group in zip(given[0], arrays, before, strict=True):
            others = np.setdiff1d(np.arange(NUM_ROWS), rows)
            for array, old in zip(group, old_group, strict=True):
                np.testing.assert_array_equal(array.numpy()[others], old[others])
                assert not array.numpy()[0].any()
            real = np.setdiff1d(rows, [0])
            assert (group[0].numpy()[real] != old_group[0][real]).all()


def test_a_row_takes_the_same_steps_as_a_dense_variable():
    options = {"optimizer": "adagrad", "momentum": 0.4, "l2_penalty": 0.01}
    table, dense = (tf.Variable(tf.reshape(tf.range(6.0), [3, 2])) for _ in range(2))
    optimizer = make_optimizer(OptimizerConfig(**options), [table], [dense])
    for step in range(3):
        gradient = tf.reshape(tf.range(6.0), [3, 2]) - step
        rows = tf.range(3)
        apply(optimizer, [RowGradient(rows, tf.gather(table, rows), gradient)], [gradient])
        np.testing.assert_array_equal(table, dense)


def test_the_step_is_counted():
    variables, optimizer, gradients = make_problem()
    for given in gradients:
        take_step(variables, optimizer, given)
    assert int(optimizer.step) == len(gradients)


@pytest.mark.parametrize("name", ["adam", "keras:Adam"])
def test_the_variables_are_all_that_the_next_step_needs(name):
    (variables, optimizer, gradients), (copied, other, _) = (
        make_problem(optimizer=name) for _ in range(2)
    )
    for given in gradients[:2]:
        take_step(variables, optimizer, given)
    sources, targets = (*variables, *optimizer.variables), (*copied, *other.variables)
    for source, target in zip(sources, targets, strict=True):
        target.assign(source)
    take_step(variables, optimizer, gradients[2])
    take_step(copied, other, gradients[2])
    for variable, wanted in zip(copied, variables, strict=True):
        np.testing.assert_array_equal(variable, wanted)


@pytest.mark.parametrize("name", ["adam", "adagrad", "keras:Adam"])
def test_a_checkpoint_holds_all_that_the_next_step_needs(name, tmp_path):
    runs = [make_problem(optimizer=name) for _ in range(2)]
    (variables, optimizer, gradients), (restored, other, _) = runs
    for given in gradients[:2]:
        take_step(variables, optimizer, given)
    path = tf.train.Checkpoint(optimizer=optimizer, variables=variables).save(tmp_path / "c")
    tf.train.Checkpoint(optimizer=other, variables=restored).restore(path).assert_consumed()
    for given in gradients[2:]:
        take_step(variables, optimizer, given)
        take_step(restored, other, given)
    for variable, wanted in zip(restored, variables, strict=True):
        np.testing.assert_array_equal(variable, wanted)


@pytest.mark.parametrize("name", ["Adam", "SGD", "Adagrad", "Ftrl", "nadam"])
def test_any_optimizer_of_keras_moves_as_it_does_by_itself(name):
    options = {"optimizer": f"keras:{name}", "learning_rate": 0.1}
    variables, optimizer, gradients = make_problem(**options, embedding_learning_rate=0.05)
    own = [tf.Variable(variable) for variable in variables]
    table_optimizer, dense_optimizer = (tf_keras.optimizers.get(name) for _ in range(2))
    table_optimizer.learning_rate, dense_optimizer.learning_rate = 0.05, 0.1
    for given in gradients:
        take_step(variables, optimizer, given)
        slices = [
            tf.IndexedSlices(tf.constant(g[rows], tf.float32), tf.constant(rows), table.shape)
            for g, rows, table in zip(given[1], given[0], own, strict=False)
        ]
        table_optimizer.apply_gradients(zip(slices, own[:2], strict=True))
        dense_optimizer.apply_gradients([(tf.constant(given[2], tf.float32), own[2])])
    for variable, wanted in zip(variables, own, strict=True):
        np.testing.assert_allclose(variable, wanted, rtol=1e-6)


def test_an_optimizer_that_keras_lacks_is_refused_in_one_sentence():
    with pytest.raises(ValueError) as caught:
        make_problem(optimizer="keras:Adamant")
    assert str(caught.value) == "tf_keras has no optimizer 'Adamant': use a name such as Adam"
