"""FarmHash64 in NumPy against TensorFlow's own."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrec_zoo.data.clicks.farm_hash import fingerprint64, hash_rows

_BUCKETS = 2**63 - 1


@pytest.fixture(scope="module")
def texts():
    """Texts of all lengths up to 300 bytes, several of each, with bytes beyond ASCII."""
    rng = np.random.default_rng(0)
    lengths = np.repeat(np.arange(301), 5)
    texts = ["".join(map(chr, rng.integers(32, 127, length))) for length in lengths]
    texts += ["é" * n for n in range(1, 70)] + ["<missing>", "68fd1e64", "x" * 5000]
    return [texts[place] for place in rng.permutation(len(texts))]


def test_hashes_are_tensorflows(texts):
    expected = tf.strings.to_hash_bucket_fast(texts, _BUCKETS).numpy()
    assert (fingerprint64(texts) % _BUCKETS).tolist() == expected.tolist()


@pytest.mark.parametrize("num_rows", [2, 3, 1001, 2**31 - 1])
def test_rows_leave_row_0_out(texts, num_rows):
    expected = 1 + tf.strings.to_hash_bucket_fast(texts, num_rows - 1).numpy()
    rows = hash_rows(np.array(texts, dtype=object), num_rows)
    assert rows.dtype == np.int32
    assert rows.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_slices_of_arrow_arrays(texts, kind):
    array = pa.array(texts, kind)
    assert fingerprint64(array[7:900]).tolist() == fingerprint64(texts[7:900]).tolist()


def test_no_texts():
    assert fingerprint64([]).tolist() == []
    assert fingerprint64([""]).tolist() == [0x9AE16A3B2F90404F]
