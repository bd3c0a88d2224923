"""Which signals ask a run to stop, and what a second one does."""

import signal

import pytest

from challenge.host.signals import StopRequest

ANNOUNCED = [signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU]
ASKED = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture(autouse=True)
def handlers():
    """Handlers that raise instead of the default that would end the tests; restored afterwards."""

    def raise_it(number, _):
        raise InterruptedError(signal.Signals(number).name)

    before = {number: signal.signal(number, raise_it) for number in (*ANNOUNCED, *ASKED)}
    yield raise_it
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [*ANNOUNCED, *ASKED])
def test_the_first_signal_is_remembered(number, handlers):
    with StopRequest() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        assert stop.received == number
    assert signal.getsignal(number) is handlers


@pytest.mark.parametrize("first", [*ANNOUNCED, *ASKED])
@pytest.mark.parametrize("second", ASKED)
def test_a_second_request_acts_at_once(first, second):
    with StopRequest() as stop:
        signal.raise_signal(first)
        with pytest.raises(InterruptedError, match=second.name):
            signal.raise_signal(second)
        assert stop.received == first


@pytest.mark.parametrize("first", [*ANNOUNCED, *ASKED])
@pytest.mark.parametrize("second", ANNOUNCED)
def test_repeated_signals_of_schedulers_change_nothing(first, second):
    with StopRequest() as stop:
        signal.raise_signal(first)
        signal.raise_signal(second)
        signal.raise_signal(second)
        assert stop.received == first


@pytest.mark.parametrize("number", ANNOUNCED)
def test_ignored_signals_stay_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with StopRequest() as stop:
        signal.raise_signal(number)
        assert not stop()
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_requests_a_stop_and_handlers_are_restored(number):
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    with StopRequest() as stop:
        assert not stop()
        assert all(signal.getsignal(one) != handler for one, handler in before.items())
        signal.raise_signal(number)
        assert stop()
        assert stop.received == number
        assert {one: signal.getsignal(one) for one in before} == before
    assert {one: signal.getsignal(one) for one in before} == before


def test_without_a_signal_no_stop_is_requested_and_handlers_are_restored():
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    with StopRequest() as stop:
        pass
    assert not stop()
    assert stop.received is None
    assert {one: signal.getsignal(one) for one in before} == before
