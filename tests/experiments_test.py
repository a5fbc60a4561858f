"""The groups of an experiment, and every refusal that they and their combination make."""

import pytest

from tfrec_zoo.config import list_options
from tfrec_zoo.experiments import DLRMExperiment, GRU4RecExperiment

REFUSALS = [
    # tfrec_zoo.data.sessions.batch_config
    (
        {"batches": {"schedule": "windows"}},
        "schedule must be one of lanes, sessions, got 'windows'",
    ),
    ({"batches": {"num_lanes": 0}}, "num_lanes must be at least 1, got 0"),
    ({"batches": {"unroll_steps": 0}}, "unroll_steps must be at least 1, got 0"),
    ({"batches": {"max_session_length": 1}}, "max_session_length must be 0 or at least 2, got 1"),
    ({"batches": {"max_session_length": -3}}, "max_session_length must be 0 or at least 2, got -3"),
    (
        {"batches": {"schedule": "sessions", "unroll_steps": 4}},
        "unroll_steps=4 belongs to schedule=lanes: whole sessions are always unrolled in full",
    ),
    ({"batches": {"session_order": "id"}}, "session_order must be one of time, random, file"),
    (
        {"batches": {"popularity_exponent": -0.5}},
        "popularity_exponent must be 0 or positive, got -0.5",
    ),
    (
        {"batches": {"num_negatives": None, "shared_negatives": False}},
        "num_negatives=none scores every item, so shared_negatives cannot be off",
    ),
    ({"batches": {"num_negatives": -1}}, "num_negatives must be 0 or positive, got -1"),
    (
        {"batches": {"num_negatives": 0, "in_batch_negatives": False}},
        "there is nothing to rank against: num_negatives is 0, and in-batch negatives are off",
    ),
    (
        {"batches": {"num_negatives": 0, "shared_negatives": False}},
        "there is nothing to rank against: num_negatives is 0, and in-batch negatives are off",
    ),
    (
        {"batches": {"num_negatives": 0, "num_lanes": 1}},
        "in-batch negatives alone need num_lanes of at least 2, got 1",
    ),
    # tfrec_zoo.losses.ranking_config
    (
        {"loss": {"loss": "hinge"}},
        "loss must be one of cross_entropy, bpr, bpr_mean, bpr_max, top1",
    ),
    ({"loss": {"logq_weight": 1.5}}, "logq_weight must be in [0, 1], got 1.5"),
    ({"loss": {"label_smoothing": -0.1}}, "label_smoothing must be in [0, 1], got -0.1"),
    (
        {"loss": {"loss": "bpr_max", "logq_weight": 1}},
        "logq_weight=1.0 needs loss=cross_entropy, got loss=bpr_max",
    ),
    (
        {"loss": {"loss": "top1", "label_smoothing": 0.1}},
        "label_smoothing=0.1 needs loss=cross_entropy, got loss=top1",
    ),
    ({"loss": {"score_penalty": 1}}, "score_penalty needs loss=bpr_max, got loss=cross_entropy"),
    (
        {"loss": {"loss": "bpr_max", "score_penalty": -1}},
        "score_penalty must be 0 or positive, got -1.0",
    ),
    ({"loss": {"loss_reduction": "mean"}}, "loss_reduction must be one of lanes, events, sum"),
    # tfrec_zoo.optimizers.optimizer_config
    (
        {"optimizer": {"optimizer": "lion"}},
        "optimizer must be one of adagrad, rowwise_adagrad, sgd, adam, rmsprop, adadelta or "
        "keras:Name, got 'lion'",
    ),
    ({"optimizer": {"learning_rate": 0}}, "learning_rate must be positive, got 0.0"),
    (
        {"optimizer": {"embedding_learning_rate": -1}},
        "embedding_learning_rate must be positive, got -1.0",
    ),
    ({"optimizer": {"momentum": 1}}, "momentum must be in [0, 1), got 1.0"),
    ({"optimizer": {"l2_penalty": -1}}, "l2_penalty must be 0 or positive, got -1.0"),
    ({"optimizer": {"clip_norm": -1}}, "clip_norm must be 0 or positive, got -1.0"),
    ({"optimizer": {"warmup_steps": -1}}, "warmup_steps must be 0 or positive, got -1"),
    ({"optimizer": {"decay_start_step": -1}}, "decay_start_step must be 0 or positive, got -1"),
    ({"optimizer": {"decay_floor": 2}}, "decay_floor must be in [0, 1], got 2.0"),
    (
        {"optimizer": {"decay": "linear"}},
        "decay and decay_steps go together, got decay=linear with decay_steps=0",
    ),
    (
        {"optimizer": {"decay_steps": 9}},
        "decay and decay_steps go together, got decay=constant with decay_steps=9",
    ),
    (
        {"optimizer": {"optimizer": "keras:SGD", "momentum": 0.5}},
        "momentum and l2_penalty belong to the row-sparse optimizers, got keras:SGD",
    ),
    (
        {"optimizer": {"optimizer": "keras:SGD", "l2_penalty": 0.5}},
        "momentum and l2_penalty belong to the row-sparse optimizers, got keras:SGD",
    ),
    (
        {"optimizer": {"decay_start_step": 10}},
        "decay_start_step and decay_floor need a decay, got decay=constant",
    ),
    ({"model": {"elu_alpha": -1}}, "elu_alpha must be 0 or positive, got -1.0"),
    # tfrec_zoo.experiments
    *(
        ({"training": {name: least - 1}}, f"{name} must be at least {least}, got {least - 1}")
        for name, least in (
            ("epochs", 1),
            ("max_steps", 0),
            ("seed", 0),
            ("steps_per_block", 1),
            ("validate_every_epochs", 1),
            ("validate_every_steps", 0),
            ("validation_sessions", 0),
            ("early_stopping_patience", 0),
            ("checkpoint_every_steps", 0),
            ("keep_checkpoints", 1),
        )
    ),
    ({"training": {"profile_steps": [5]}}, "profile_steps needs a first and a last step, got (5,)"),
    ({"training": {"profile_steps": [5, 4]}}, "profile_steps needs a first and a last step"),
    ({"training": {"profile_steps": [0, 4]}}, "profile_steps needs a first and a last step"),
    (
        {"model": {"score_activation": "elu"}},
        "loss=cross_entropy has its softmax inside and needs score_activation=linear, got "
        "score_activation=elu",
    ),
    (
        {"loss": {"logq_weight": 1}, "batches": {"shared_negatives": False}},
        "logq_weight needs shared negatives, but shared_negatives is off",
    ),
    (
        {"loss": {"logq_weight": 1}, "batches": {"num_negatives": None}},
        "logq_weight corrects for sampling, and num_negatives=none samples nothing",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSALS)
def test_what_has_no_meaning_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(ValueError) as caught:
        GRU4RecExperiment.from_dict(values)
    message = str(caught.value)
    assert message.startswith(sentence) and "\n" not in message and not message.endswith(".")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"batches": {"num_negatives": 0, "num_lanes": 2}},
        {"batches": {"num_negatives": 0, "num_lanes": 1, "unroll_steps": 2}},
        {"batches": {"num_negatives": 1, "num_lanes": 1, "in_batch_negatives": False}},
        {"batches": {"num_negatives": None}, "loss": {"loss": "bpr_max"}},
        {"loss": {"loss": "bpr_max"}, "model": {"score_activation": "elu"}},
        {"loss": {"logq_weight": 1, "label_smoothing": 0.1}},
        {"optimizer": {"optimizer": "keras:Adam", "clip_norm": 1, "warmup_steps": 3}},
        {"training": {"profile_steps": [5, 5]}},
    ],
)
def test_what_has_a_meaning_is_accepted_and_survives_json(values):
    experiment = GRU4RecExperiment.from_dict(values)
    assert GRU4RecExperiment.from_json(experiment.to_json()) == experiment


def test_the_official_names_mean_the_same():
    experiment = GRU4RecExperiment.from_dict(
        {
            "model": {
                "layers": [100],
                "constrained_embedding": True,
                "final_act": "linear",
                "dropout_p_embed": 0.1,
                "dropout_p_hidden": 0.2,
            },
            "loss": {"loss": "bpr-max", "bpreg": 1.95},
            "batches": {"batch_size": 80, "n_sample": 64, "sample_alpha": 0.4},
            "optimizer": {"adapt": "adagrad", "lmbd": 0.01, "grad_cap": 2.0},
            "training": {"n_epochs": 3},
        }
    )
    assert experiment.model.hidden_dims == (100,)
    assert experiment.loss.effective_score_penalty == 1.95
    assert (experiment.batches.num_lanes, experiment.batches.num_negatives) == (80, 64)
    assert experiment.optimizer.clip_norm == 2.0 and experiment.training.epochs == 3
    rowwise = GRU4RecExperiment.from_dict({"optimizer": {"optimizer": "rwsadagrad"}})
    assert rowwise.optimizer.optimizer == "rowwise_adagrad"
    cross_entropy = GRU4RecExperiment.from_dict({"loss": {"loss": "xe_logit", "logq": 1}})
    assert cross_entropy.loss.loss == "cross_entropy"


def test_the_penalty_of_bpr_max_is_one_where_nothing_else_is_said():
    experiment = GRU4RecExperiment.from_dict({"loss": {"loss": "bpr_max"}})
    assert experiment.loss.effective_score_penalty == 1.0


def test_each_option_has_a_name_of_its_own_and_a_help():
    options = list_options(GRU4RecExperiment)
    names = [name for option in options for name in (option.name, *option.aliases)]
    assert len(names) == len(set(names))
    assert all(option.help.endswith(".") for option in options)


@pytest.mark.parametrize(
    ("experiment", "rate"), [(GRU4RecExperiment, 0.05), (DLRMExperiment, 0.01)]
)
def test_rates_are_those_of_the_original_code(experiment, rate):
    assert experiment().optimizer.learning_rate == rate
