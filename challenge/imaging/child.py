"""Decoding in a child process, so that a file that crashes or blocks a native decoder only costs its own row.

The child (`child_main.py`) starts with the first such file and keeps running, because its start takes about a second.
All threads share it: such files are rare, and a host may allow few processes and little memory. Requests and answers
pass through pipes as JSON and raw bytes; nothing is pickled or written to disk.
"""

import atexit
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from challenge.errors import ImageError
from challenge.imaging.child_main import LENGTH, framed

logger = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("child_main.py")
SECONDS = 60
"""Limit for one file, in wall time and in processor time. The largest allowed file takes a sixth of it."""
HEADER_SECONDS = 20
"""Limit for a header. It is read first, because damaged headers can make decoders hang."""
MEMORY = 8 << 30
"""Bytes that the child may allocate. The largest allowed grey file needs about half of it."""

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 120  # a busy host reads its packages from a slow disk
_DYING_SECONDS = 10
_LONGEST_TABLE = 1 << 20
_LAST_WORDS = 2000
_NO_ANSWER = "the decoder sent no valid answer"
# The loader needs these where the interpreter lies in an unusual place. Everything else stays with the parent.
_PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")

Answer = tuple[dict[str, Any], bytearray]


class StartError(Exception):
    """The system allows no new process, or the child cannot run here."""


class EndedError(Exception):
    """The child ended before it answered. The message says how."""


class TooLongError(EndedError):
    """The child took too long and was ended."""


class Child:
    """One running child. It serves one request at a time. Raises StartError if it cannot be started."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._last_words = b""
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        # It gets its own session, so that Ctrl-C does not reach it.
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={**kept, **dict.fromkeys(_ONE_THREAD, "1")},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(error.strerror or str(error)) from error
        pipes = self._process.stdin, self._process.stdout, self._process.stderr
        self._requests, self._answers, self._errors = cast(tuple[FileIO, FileIO, FileIO], pipes)
        path = [str(_ROOT), *map(os.path.abspath, sys.path)]
        try:
            self.ask({"path": path, "memory": memory, "seconds": _START_SECONDS})
        except EndedError as error:
            raise StartError(str(error)) from error

    @property
    def is_running(self) -> bool:
        """Whether the child is running."""
        return self._process.returncode is None

    def ask(self, request: Mapping[str, Any], most_bytes: int = 0) -> Answer:
        """Return the answer's table and its bytes, at most `most_bytes`, within `request["seconds"]`.

        Raises EndedError if the child ends; then it cannot be used any more.
        """
        deadline = time.monotonic() + request["seconds"]
        try:
            self._requests.write(framed(dict(request)))
            length = LENGTH.unpack(self._read(LENGTH.size, deadline))[0]
            table = json.loads(self._read(_at_most(length, _LONGEST_TABLE), deadline))
            return table, self._read(_at_most(table.get("bytes", 0), most_bytes), deadline)
        except TimeoutError as error:
            self.end()
            raise TooLongError(f"took longer than {request['seconds']} s") from error
        except (EOFError, BrokenPipeError) as error:
            with suppress(subprocess.TimeoutExpired):  # killing it now would hide the cause
                self._process.wait(_DYING_SECONDS)
            raise EndedError(f"the decoder ended {self.end()}") from error
        except (ValueError, AttributeError) as error:  # its memory may be damaged, so its answer is not trusted
            self.end()
            raise EndedError(_NO_ANSWER) from error
        except MemoryError as error:
            self.end()
            raise EndedError("no memory is left for its pixels") from error
        except BaseException:  # the pipe may still hold half an answer
            self.end()
            raise

    def end(self) -> str:
        """End the child if it still runs; return how it ended, as in `by SIGSEGV`."""
        self._process.kill()  # does nothing to a process that has ended already
        code = self._process.wait()
        self._hear_the_rest()
        for pipe in (self._requests, self._answers, self._errors):
            pipe.close()
        if self._last_words:
            logger.debug("end of the decoder's stderr: %s", self._last_words.decode("utf-8", "replace"))
        return f"by {_signal_name(-code)}" if code < 0 else f"with exit code {code}"

    def _hear_the_rest(self) -> None:
        with suppress(OSError):  # there may be nothing more
            os.set_blocking(self._errors.fileno(), False)
            while said := os.read(self._errors.fileno(), _LAST_WORDS):
                self._last_words = (self._last_words + said)[-_LAST_WORDS:]

    def _read(self, count: int, deadline: float) -> bytearray:
        """Read this number of bytes of the answer; meanwhile keep the end of the child's stderr."""
        answers, errors = self._answers, self._errors
        data = bytearray(count)
        missing = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            selector.register(errors, selectors.EVENT_READ)
            while missing:
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError
                ready = [key.fileobj for key, _ in selector.select(left)]
                if errors in ready:
                    said = os.read(errors.fileno(), _LAST_WORDS)
                    self._last_words = (self._last_words + said)[-_LAST_WORDS:]
                    if not said:
                        selector.unregister(errors)
                if answers in ready:
                    got = os.readv(answers.fileno(), [missing])
                    if not got:
                        raise EOFError
                    missing = missing[got:]
        return data


class Decoder:
    """Keeps one child per process, for all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: Child | None = None

    def ask(self, request: Mapping[str, Any], most_bytes: int = 0) -> Answer:
        """See `Child.ask`. Raises StartError too."""
        with self._lock:
            if self._child and self._child.is_running:
                try:
                    return self._child.ask(request, most_bytes)
                except TooLongError:
                    raise
                except EndedError as error:
                    # An earlier file may have damaged its memory, so only a file that ends a fresh child is to blame.
                    logger.debug("%s: %s; asked again", request.get("path"), error)
            self._child = Child(MEMORY)
            return self._child.ask(request, most_bytes)

    def close(self) -> None:
        """End the child."""
        if self._child and self._child.is_running:
            self._child.end()


def decode_apart(path: Path, pixel_limit: int) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return the pixels (H, W, 3) uint8 and the notes of `decode.decode_file`, from the child.

    Raises ImageError, also if the child ends or takes too long, and StartError.
    """
    _ask("size", path, pixel_limit, HEADER_SECONDS)
    table, body = _ask("pixels", path, pixel_limit, SECONDS, 3 * pixel_limit)
    if "error" in table:
        raise ImageError(str(table["error"]))
    try:
        height, width, channels = table["shape"]
        pixels = np.frombuffer(body, np.uint8).reshape(height, width, channels)
        return np.broadcast_to(pixels, (height, width, 3)), tuple(map(str, table["notes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError(f"{path.name}: {_NO_ANSWER}") from error


def size_apart(path: Path, pixel_limit: int) -> tuple[int, int] | None:
    """Return `decode.header_size` from the child; None also if the child ends. Raises StartError."""
    try:
        width, height = _ask("size", path, pixel_limit, HEADER_SECONDS)[0]["size"]
        return int(width), int(height)
    except (ImageError, KeyError, TypeError, ValueError):
        return None


def _ask(what: str, path: Path, pixel_limit: int, seconds: int, most_bytes: int = 0) -> Answer:
    name = os.fsencode(os.path.abspath(path)).decode("utf-8", "surrogateescape")  # the child runs in UTF-8 mode
    try:
        request = {"what": what, "path": name, "pixel_limit": pixel_limit, "seconds": seconds}
        return _decoder().ask(request, most_bytes)
    except EndedError as error:
        raise ImageError(f"{path.name}: {error}") from error


_decoders: dict[int, Decoder] = {}  # by process: a forked process must not use its parent's child


def _decoder() -> Decoder:
    return _decoders.get(os.getpid()) or _decoders.setdefault(os.getpid(), Decoder())


@atexit.register
def _close() -> None:
    if decoder := _decoders.pop(os.getpid(), None):
        decoder.close()


def _at_most(count: Any, most: int) -> int:
    if not isinstance(count, int) or not 0 <= count <= most:
        raise ValueError(f"{count} bytes")
    return count


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
