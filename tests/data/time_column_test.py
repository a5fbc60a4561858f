"""The first bad time is found wherever it stands."""

import pyarrow as pa
import pytest

from tfrec_zoo.data.time_column import BadTimeError, parse_times


@pytest.mark.parametrize("good", ["12", "1.5", "2014-04-07", "2014-04-07T10:51:09.277Z"])
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_first_bad_text_is_found_at_every_place(good, length):
    for row in range(1, length):
        texts = [good] * length
        texts[row:] = ["bad"] * (length - row)
        with pytest.raises(BadTimeError) as error:
            parse_times(pa.array(texts))
        assert (error.value.row, error.value.value) == (row, "bad")


@pytest.mark.parametrize("bad", ["", "x", "nan", "inf", "1_000", "2014-13-01"])
def test_a_bad_first_text(bad):
    with pytest.raises(BadTimeError) as error:
        parse_times(pa.array([bad, "1"]))
    assert (error.value.row, error.value.value) == (0, bad)


def test_a_number_among_timestamps_and_the_other_way_round():
    for texts in (["2014-04-07", "2014-04-08", "5"], ["5", "6.5", "2014-04-07"]):
        with pytest.raises(BadTimeError) as error:
            parse_times(pa.array(texts))
        assert (error.value.row, error.value.value) == (2, texts[2])
