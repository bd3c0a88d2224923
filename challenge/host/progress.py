"""Progress of a long run: a bar at a terminal, else a log line every half minute."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, left{postfix}, {rate_fmt}]"


def progress(
    items: Iterable[T],
    total: int | None = None,
    label: str = "",
    *,
    every: float = 30.0,
    terminal: bool | None = None,
    clock: Callable[[], float] = time.monotonic,
    left: Callable[[], float | None] | None = None,
) -> Iterator[T]:
    """Yield `items` unchanged and show on stderr how many of `total` are done.

    At a terminal this is a tqdm bar with log lines above it. Elsewhere it is an INFO line every `every` seconds, with
    rate and time left, and one at the end. `total` is `len(items)` by default. `left` returns the seconds left if the
    items do not take the same time each, None while that is not known. Tests set `terminal` (whether stderr is one) and
    `clock` (in seconds).
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if _is_terminal(sys.stderr) if terminal is None else terminal:
        with logging_redirect_tqdm():
            yield from _bar(items, total, label, left)
        return
    start = said = clock()
    done = 0
    for item in items:
        yield item
        done += 1
        now = clock()
        if now - said >= every:
            logger.info("%s", _line(label, done, total, now - start, left() if left else None))
            said = now
    logger.info("%s%s in %s", _prefix(label), f"{done:,}", duration(clock() - start))


def _bar(items: Iterable[T], total: int | None, label: str, left: Callable[[], float | None] | None) -> Iterator[T]:
    if left is None:
        yield from tqdm(items, total=total, desc=label or None, dynamic_ncols=True, file=sys.stderr)
        return
    bar = tqdm(items, total=total, desc=label or None, dynamic_ncols=True, file=sys.stderr, bar_format=_BAR)
    for item in bar:
        yield item
        seconds = left()
        bar.set_postfix_str("?" if seconds is None else duration(seconds), refresh=False)


def _is_terminal(stream: TextIO | None) -> bool:
    """A closed stderr is None."""
    return stream is not None and stream.isatty()


def _line(label: str, done: int, total: int | None, seconds: float, seconds_left: float | None) -> str:
    rate = done / seconds
    if not total or done > total:
        return f"{_prefix(label)}{done:,}, {rate:.3g}/s"
    left = duration((total - done) / rate if seconds_left is None else seconds_left)
    return f"{_prefix(label)}{done:,} of {total:,} ({done / total:.0%}), {rate:.3g}/s, {left} left"


def _prefix(label: str) -> str:
    return f"{label}: " if label else ""


def duration(seconds: float) -> str:
    """Return a time in words, such as `2 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
