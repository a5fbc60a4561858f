import logging
import math
import re
import sys

import pytest

from tfrec_zoo.trainers import progress
from tfrec_zoo.trainers.progress import Progress


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "absl")
    return caplog


def test_a_line_every_ten_seconds(clock, lines, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    shown = Progress("epoch 2/5", 1000, 0, has_perplexity=True)
    for _ in range(5):
        clock.now += 4
        shown.update(40, 1.5)
    shown.close()
    assert lines.messages == [
        "epoch 2/5: 120 of 1000 events, loss 1.5000, perplexity 4.5, 10 events/s, 88 s left"
    ]
    # No bar.
    assert "%|" not in capsys.readouterr().err


def test_a_continued_epoch_counts_its_own_events_for_the_speed(clock, lines):
    shown = Progress("epoch 1/1", 1000, 500, has_perplexity=False)
    clock.now += 10
    shown.update(100, 0.5)
    assert lines.messages == ["epoch 1/1: 600 of 1000 events, loss 0.5000, 10 events/s, 40 s left"]
    assert shown.events_per_second == 10


def test_a_pause_is_no_part_of_the_throughput(clock):
    shown = Progress("epoch 1/1", 1000, 0, has_perplexity=False)
    clock.now += 1
    with shown.paused():
        clock.now += 50
    shown.update(30, 1.0)
    assert shown.events_per_second == 30


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (2.0, f"loss 2.0000, perplexity {math.exp(2):.1f}"),
        (20.0, f"loss 20.0000, perplexity {math.exp(20):.3e}"),
        (2e30, f"loss 2.000e+30, perplexity {math.exp(700):.3e}"),
    ],
)
def test_numbers_are_short(loss, text):
    assert Progress("", 1, 0, has_perplexity=True).describe_loss(loss) == text


def test_a_terminal_gets_a_bar(clock, lines, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = Progress("epoch 1/3", 80, 20, has_perplexity=True)
    clock.now += 20
    shown.update(60, 1.0)
    with shown.paused():
        pass
    shown.close()
    text = capsys.readouterr().err
    assert re.search(r"epoch 1/3: +25%.*20.0/80.0", text)
    assert re.search(r"100%.*80.0/80.0.*loss 1.0000, perplexity 2.7", text)
    assert lines.messages == []
