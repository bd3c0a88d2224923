"""Signals that ask to stop: batches under way are finished, what is answered is written, then the run ends."""

import signal
from collections.abc import Iterable
from types import FrameType
from typing import Any

_ASKED_TWICE = (signal.SIGTERM, signal.SIGINT)
# What schedulers and terminals send before they end a process, often more than once. Whoever has them ignored, as nohup
# does with SIGHUP, means it.
_ANNOUNCED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)


class StopRequest:
    """Remembers the first signal that asks to stop while it is entered.

    After any of them, SIGTERM and SIGINT act as if this did not exist, so that a second one ends the process at once.
    SIGHUP, SIGUSR1 and SIGXCPU may come again without effect; where they were ignored they stay so.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether the run should stop."""
        return self.received is not None

    def __enter__(self) -> "StopRequest":
        heard = [number for number in _ANNOUNCED if signal.getsignal(number) is not signal.SIG_IGN]
        for number in (*_ASKED_TWICE, *heard):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore(list(self._before))

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        self._restore([number for number in _ASKED_TWICE if number in self._before])

    def _restore(self, numbers: Iterable[signal.Signals]) -> None:
        for number in numbers:
            signal.signal(number, self._before.pop(number))
