"""The data of the DLRM benchmarks: Criteo's raw text as arrays, or random ids in large tables."""

from pathlib import Path

import numpy as np
import pandas as pd
from dlrm_settings import ClickData

NUM_DENSE = 13
NUM_CATEGORICAL = 26
# Rows of the tables beside those whose size is varied.
SMALL_TABLE = 1_000


def read_criteo(
    path: str | Path, num_train: int, min_count: int, shuffle_seed: int | None = None
) -> ClickData:
    """Reads Criteo's text and prepares it as facebookresearch/dlrm does, with a minimal count.

    Numbers become log(1 + max(x, 0)), 0 where they are missing. The values of a feature that occur
    `min_count` times in the training rows get the rows 1, 2, ... of its table, the most frequent
    first; all others share row 0. A missing value is a value like any other.

    Args:
        path: text without a header line, may be compressed.
        num_train: how many of the first rows are for training; the rest is for testing.
        min_count: smallest number of occurrences of a value with a row of its own.
        shuffle_seed: brings the training rows into a random order, once; None: as in the file.

    Raises:
        ValueError: the file has no rows left for testing.
    """
    categorical = range(1 + NUM_DENSE, 1 + NUM_DENSE + NUM_CATEGORICAL)
    table = pd.read_csv(path, sep="\t", header=None, dtype=dict.fromkeys(categorical, str))
    if len(table) <= num_train:
        raise ValueError(f"{path} has {len(table)} rows: train on fewer than {num_train} of them")
    ids, sizes = zip(
        *(encode(table[column].fillna(""), num_train, min_count) for column in categorical),
        strict=True,
    )
    order = np.arange(len(table))
    if shuffle_seed is not None:
        np.random.default_rng(shuffle_seed).shuffle(order[:num_train])
    dense = table.loc[:, 1:NUM_DENSE].fillna(0).to_numpy(np.float32)
    return ClickData(
        labels=table[0].to_numpy(np.float32)[order],
        dense=np.log1p(np.maximum(dense, 0))[order],
        ids=np.stack(ids, axis=1)[order],
        table_sizes=np.array(sizes),
        num_train=num_train,
    )


def encode(values: pd.Series, num_train: int, min_count: int) -> tuple[np.ndarray, int]:
    """Returns each value's row, int32 [N], and the number of rows of the table."""
    counts = values.iloc[:num_train].value_counts()
    counts = counts[counts >= min_count].sort_index().sort_values(ascending=False, kind="stable")
    rows = pd.Series(np.arange(1, len(counts) + 1), index=counts.index)
    return values.map(rows).fillna(0).to_numpy(np.int32), len(rows) + 1


def draw_clicks(num_rows: int, num_large: int, num_train: int, num_test: int) -> ClickData:
    """Returns random examples whose first `num_large` tables have `num_rows` rows.

    All rows of a table are equally likely: the worst case, since hardly a row comes twice.
    """
    rng = np.random.default_rng(1)
    num_examples = num_train + num_test
    sizes = np.full(NUM_CATEGORICAL, SMALL_TABLE)
    sizes[:num_large] = num_rows
    return ClickData(
        labels=rng.integers(0, 2, num_examples).astype(np.float32),
        dense=rng.standard_normal((num_examples, NUM_DENSE), np.float32),
        ids=rng.integers(0, sizes, (num_examples, NUM_CATEGORICAL), np.int32),
        table_sizes=sizes,
        num_train=num_train,
    )
