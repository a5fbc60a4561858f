"""What is found out about the processor, from descriptions as Linux writes them."""

import os

import pytest

from tfrec_zoo.trainers.processor import (
    count_cores,
    count_threads,
    has_wide_vectors,
    multiplies_bfloat16,
)

CPUINFO = """processor\t: 0
model name\t: a processor
flags\t\t: fpu avx2 {flags}
processor\t: 1
flags\t\t: fpu avx2 {flags}
"""


@pytest.mark.parametrize(
    ("flags", "is_expected"),
    [("amx_bf16 amx_tile", True), ("avx512_bf16", True), ("amx_int8", False), ("", False)],
)
def test_products_of_bfloat16_are_read_off_the_processor_s_flags(flags, is_expected, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.format(flags=flags))
    assert multiplies_bfloat16(str(path)) is is_expected


@pytest.mark.parametrize(
    ("flags", "is_expected"), [("avx512f avx512dq", True), ("avx512_bf16", False), ("", False)]
)
def test_wide_vectors_are_read_off_the_processor_s_flags(flags, is_expected, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.format(flags=flags))
    assert has_wide_vectors(str(path)) is is_expected


def test_a_system_that_does_not_describe_its_processor_has_none(tmp_path):
    assert multiplies_bfloat16(str(tmp_path / "none")) is False
    assert has_wide_vectors(str(tmp_path / "none")) is False


def test_there_is_a_thread_a_core_if_the_environment_says_no_other(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    assert 1 <= count_threads() == count_cores() <= os.cpu_count()
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "17")
    assert count_threads() == 17


@pytest.mark.parametrize("asked", ["all", "-1"])
def test_what_is_no_number_of_threads_is_refused(asked, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", asked)
    with pytest.raises(ValueError, match=f"TF_NUM_INTRAOP_THREADS={asked} is no number"):
        count_threads()
