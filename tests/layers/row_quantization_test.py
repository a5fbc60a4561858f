import numpy as np
import pytest

from tfrec_zoo.layers.row_quantization import QuantizedRows, dequantize_rows, quantize_rows


@pytest.fixture
def rows():
    """Rows of every size, with one of zeros and one of equal numbers."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 12)) * 10.0 ** rng.uniform(-20, 20, (500, 1))
    rows[3], rows[7] = 0.0, -2.5
    return rows.astype(np.float32)


def quantize_number_by_number(rows):
    """The nearest of 255 multiples of a scale, in float64; ties to the even one."""
    codes, scales = np.zeros(rows.shape, int), np.zeros(len(rows))
    for r, row in enumerate(rows.astype(np.float64)):
        largest = max(abs(x) for x in row)
        if largest == 0:
            continue
        step = 2.0 ** (np.floor(np.log2(largest / 127)) - 15)
        scales[r] = np.ceil(largest / 127 / step) * step
        codes[r] = [round(x / scales[r]) for x in row]
    return codes, scales


def test_int8_is_the_nearest_multiple_of_the_scale(rows):
    quantized = quantize_rows(rows, "int8")
    codes, scales = quantize_number_by_number(rows)
    assert (quantized.values.dtype, quantized.scales.dtype) == (np.int8, np.float32)
    np.testing.assert_array_equal(quantized.scales, scales)
    np.testing.assert_array_equal(quantized.values, codes)
    assert np.abs(codes).max() == 127


def test_int8_errs_by_half_a_scale_at_most(rows):
    quantized = quantize_rows(rows, "int8")
    found = dequantize_rows(quantized).astype(np.float64)
    bounds = quantized.scales.astype(np.float64)[:, None] / 2
    assert (np.abs(found - rows) <= bounds).all()
    # The scale is no larger than it must be, but for its rounding.
    assert (quantized.scales <= np.abs(rows).max(axis=1) / 127 * (1 + 2**-15)).all()
    np.testing.assert_array_equal(found[3], 0.0)


def test_int8_comes_back_exactly_and_again(rows):
    quantized = quantize_rows(rows, "int8")
    found = dequantize_rows(quantized)
    exact = quantized.values * quantized.scales.astype(np.float64)[:, None]
    np.testing.assert_array_equal(found, exact)
    again = quantize_rows(found, "int8")
    np.testing.assert_array_equal(again.values, quantized.values)
    np.testing.assert_array_equal(again.scales, quantized.scales)


def test_numbers_next_to_nothing_are_zeros():
    rows = np.array([[1e-33, -1e-40], [1e-45, 0.0]], np.float32)
    np.testing.assert_array_equal(dequantize_rows(quantize_rows(rows, "int8")), np.zeros((2, 2)))


def test_float16_is_the_nearest_one():
    rows = np.array([[0.1, 1 + 2**-11, 65504.0], [-1e-8, 3e-8, 1 / 3]], np.float32)
    found = dequantize_rows(quantize_rows(rows, "float16"))
    # By hand: multiples of 2^-14 next to 0.1, of 2^-24 next to 0, of 2^-12 next to 1/3.
    expected = [[1638 / 2**14, 1.0, 65504.0], [0.0, 2**-24, 1365 / 2**12]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_tables_without_rows_or_columns():
    for shape in ((0, 3), (3, 0)):
        for table_format in ("float16", "int8"):
            rows = dequantize_rows(quantize_rows(np.zeros(shape, np.float32), table_format))
            assert rows.shape == shape


@pytest.mark.parametrize(
    ("number", "table_format", "words"),
    [
        (np.inf, "int8", "not finite"),
        (np.nan, "float16", "not finite"),
        (70_000.0, "float16", "the number 70000 and float16 holds none above 65504"),
        (1.0, "int4", "float32, float16, int8, got 'int4'"),
        (1.0, "float32", "got 'float32'"),
    ],
)
def test_what_cannot_be_stored_is_one_sentence(number, table_format, words):
    with pytest.raises(ValueError, match=words):
        quantize_rows(np.array([[0.0, number]], np.float32), table_format)


def test_quantized_rows_are_a_pair():
    assert QuantizedRows(np.zeros((1, 1), np.int8)).scales is None
