"""`challenge.host.progress`: the items go through untouched; a log gets few lines, a terminal a bar."""

import logging
from collections.abc import Iterator

import pytest

from challenge.host.progress import progress


class Clock:
    """A clock that goes `step` seconds further each time it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize("terminal", [True, False])
def test_items_go_through_in_order(terminal: bool) -> None:
    assert list(progress(iter("abc"), 3, "letters", terminal=terminal)) == ["a", "b", "c"]


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_read_ahead(terminal: bool) -> None:
    taken = []

    def source() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    stream = progress(source(), 3, terminal=terminal)
    assert next(stream) == 0
    assert taken == [0]


def test_log_says_share_rate_and_time_left_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="challenge.host.progress"):
        list(progress(range(10), label="masks", terminal=False, clock=Clock(10.0)))
    assert caplog.messages == [
        "masks: 3 of 10 (30%), 0.1/s, 1 min 10 s left",
        "masks: 6 of 10 (60%), 0.1/s, 40 s left",
        "masks: 9 of 10 (90%), 0.1/s, 10 s left",
        "masks: 10 in 1 min 50 s",
    ]


def test_log_of_a_source_without_a_length_names_no_total(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="challenge.host.progress"):
        list(progress(iter(range(2)), terminal=False, clock=Clock(3600.0)))
    assert caplog.messages == ["1, 0.000278/s", "2, 0.000278/s", "2 in 3 h 00 min"]


def test_terminal_shows_a_bar_and_no_log_lines(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="challenge.host.progress"):
        list(progress(range(5), label="rows", terminal=True))
    assert "rows: 100%" in capsys.readouterr().err
    assert caplog.messages == []


def test_error_of_the_source_is_not_swallowed() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(progress(broken(), terminal=False))


def test_a_source_may_say_itself_how_long_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    left = iter([None, 100.0, 50.0])
    with caplog.at_level(logging.INFO, logger="challenge.host.progress"):
        list(progress(range(3), terminal=False, clock=Clock(30.0), left=lambda: next(left)))
    assert [message.rsplit(", ", 1)[-1] for message in caplog.messages[:3]] == [
        "1 min 00 s left",
        "1 min 40 s left",
        "50 s left",
    ]


def test_the_bar_shows_what_the_source_says(capsys: pytest.CaptureFixture[str]) -> None:
    list(progress(range(3), terminal=True, left=lambda: 125.0))
    assert "left, 2 min 05 s" in capsys.readouterr().err
