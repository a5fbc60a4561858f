"""Progress of a preparation: lines where there is no terminal."""

import re

from tfrec_zoo.trainers import preparation_progress
from tfrec_zoo.trainers.preparation_progress import PreparationProgress


def test_lines_name_the_step_the_speed_and_the_time_left(monkeypatch, caplog):
    monkeypatch.setattr(preparation_progress, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO"), PreparationProgress() as progress:
        progress("rows read", 1000, None)
        progress("rows written", 250, 1000)
    first, second = caplog.messages
    assert re.fullmatch(r"rows read: 1000, \d+ a second", first)
    assert re.fullmatch(r"rows written: 250 of 1000, \d+ a second, \d+ s left", second)


def test_lines_are_seconds_apart(caplog):
    with caplog.at_level("INFO"), PreparationProgress() as progress:
        for done in range(100):
            progress("rows read", done, None)
    assert caplog.messages == []
