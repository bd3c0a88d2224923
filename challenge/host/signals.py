"""Signals that stop a run: it finishes its current batches, writes the answers and ends."""

import signal
from collections.abc import Iterable
from types import FrameType
from typing import Any

_ASKED_TWICE = (signal.SIGTERM, signal.SIGINT)
# Schedulers and terminals send these before they end a process, often more than once. A process that ignores them, as
# under nohup, does so on purpose.
_ANNOUNCED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)


class Stopped(Exception):
    """Signal `number` ended a run, which can be resumed. The message says where it stands and how to go on."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class StopRequest:
    """A context that remembers the first signal that asks the run to stop.

    After the first one, SIGTERM and SIGINT have their earlier handlers again, so that a second one ends the process at
    once. SIGHUP, SIGUSR1 and SIGXCPU have no further effect; if they were ignored before, they stay ignored.
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
