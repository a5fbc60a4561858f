"""What tables take is said, and refused where it is too much, before any is made."""

import logging

import pytest

from tfrec_zoo.data.clicks.click_schema import CategoricalFeature, ClickSchema
from tfrec_zoo.layers.table_layout import TableSettings, lay_out
from tfrec_zoo.optimizers.optimizer_config import OptimizerConfig
from tfrec_zoo.trainers.table_budget import check_tables, format_bytes

SCHEMA = ClickSchema(
    dense=(),
    categorical=(
        CategoricalFeature("user", "user", 50_000_000, "hash"),
        CategoricalFeature("film", "film", 2_000),
    ),
)
STORES = lay_out(SCHEMA, TableSettings(16, {}))
WEIGHTS = 50_002_001 * 16 * 4


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        ({"optimizer": "sgd"}, 0),
        ({"optimizer": "adagrad"}, WEIGHTS),
        ({"optimizer": "rowwise_adagrad"}, WEIGHTS // 16),
        ({"optimizer": "adam"}, 2 * WEIGHTS),
        ({"optimizer": "adagrad", "embedding_optimizer": "sgd"}, 0),
        ({"optimizer": "sgd", "momentum": 0.9}, WEIGHTS),
        ({"optimizer": "keras:Adam"}, 2 * WEIGHTS),
    ],
)
def test_bytes_are_those_of_rows_and_slots(options, slots):
    assert check_tables(STORES, OptimizerConfig(**options), 10**12) == WEIGHTS + slots


def test_every_table_is_named_with_its_size(caplog):
    with caplog.at_level(logging.INFO):
        check_tables(STORES, OptimizerConfig(optimizer="sgd"), 10**12)
    assert caplog.messages[:2] == [
        "table user: 50,000,000 rows x 16 = 3.2 GB",
        "table film: 2,000 rows x 16 = 128.0 kB",
    ]


def test_tables_beyond_the_memory_are_refused_with_their_sizes():
    with pytest.raises(ValueError) as error:
        check_tables(STORES, OptimizerConfig(optimizer="adagrad"), 5 * 10**9)
    sentence = str(error.value)
    assert "need 6.4 GB with what adagrad keeps, and 5.0 GB of memory are free" in sentence
    assert "largest: user 50,000,000 x 16 = 3.2 GB, film 2,000 x 16 = 128.0 kB" in sentence


def test_sizes_in_words():
    assert [format_bytes(n) for n in (0, 999, 1000, 1.5e6, 12e9)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 MB",
        "12.0 GB",
    ]
