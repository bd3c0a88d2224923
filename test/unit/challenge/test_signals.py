"""The first signal is a request; a second one is the interpreter's own business again."""

import signal

import pytest

from challenge.signals import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_a_stop_and_gives_its_handlers_back(number):
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    with StopRequest() as stop:
        assert not stop()
        assert all(signal.getsignal(one) != handler for one, handler in before.items())
        signal.raise_signal(number)
        assert stop()
        assert stop.received == number
        assert {one: signal.getsignal(one) for one in before} == before
    assert {one: signal.getsignal(one) for one in before} == before


def test_without_a_signal_nothing_is_asked_and_handlers_come_back():
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    with StopRequest() as stop:
        pass
    assert not stop()
    assert stop.received is None
    assert {one: signal.getsignal(one) for one in before} == before
