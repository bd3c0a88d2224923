"""The child process of `challenge.imaging.child`: reads requests from stdin and writes answers to stdout.

It runs as a script without the `site` module, so the first request gives the path of its packages. It writes no files
and no core dump, and has limits for memory and processor time. It ends when its stdin ends.
"""

import json
import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

LENGTH = struct.Struct(">I")
"""Each message begins with the length of its JSON. An answer's raw `bytes` follow its JSON."""
# Ctrl-C in a terminal and a scheduler's warning go to every process; the parent alone decides what they mean.
_NOT_FOR_US = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


def framed(message: dict[str, Any]) -> bytes:
    """Return the bytes of a message for the pipe."""
    body = json.dumps(message).encode()
    return LENGTH.pack(len(body)) + body


def _receive(stream: BinaryIO) -> Any:
    """Return the next message, None at the end."""
    length = stream.read(LENGTH.size)
    return json.loads(stream.read(*LENGTH.unpack(length))) if len(length) == LENGTH.size else None


def _confine(memory: int) -> None:
    """Limit memory to `memory` bytes. Unlike RLIMIT_AS, this does not count threads and mapped libraries."""
    for which, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(which)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))
    with suppress(OSError):  # if memory runs out, this process is killed first, not the run
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit_time(seconds: int) -> None:
    """End this process after that many more seconds of processor time, in case the parent is gone."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], memoryview]:
    from challenge.errors import ImageError
    from challenge.imaging import decode as images

    images.PIXEL_LIMIT = request["pixel_limit"]
    path, nothing = Path(request["path"]), memoryview(b"")
    if request["what"] == "size":
        return {"size": images.header_size(path)}, nothing
    try:
        image = images.decode_file(path)
    except ImageError as error:
        return {"error": str(error)}, nothing
    except Exception as error:  # decoders may raise any error on damaged files
        return {"error": f"{path.name}: damaged image ({type(error).__name__})"}, nothing
    is_grey = image.pixels.strides[2] == 0
    pixels = (image.pixels[..., :1] if is_grey else image.pixels).copy("C")
    return {"shape": pixels.shape, "notes": image.notes, "bytes": pixels.nbytes}, pixels.data.cast("B")


def main() -> None:
    """Serve until stdin ends."""
    for name in _NOT_FOR_US:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not get between the answers
    start = _receive(sys.stdin.buffer)
    sys.path[:] = start["path"]
    _confine(start["memory"])
    with suppress(ImportError):  # now, so that it takes none of the first file's time
        import SimpleITK  # noqa: F401
    answers.write(framed({"ready": True}))
    answers.flush()
    while request := _receive(sys.stdin.buffer):
        _limit_time(request["seconds"])
        table, body = _answer(request)
        answers.write(framed(table))
        answers.write(body)
        answers.flush()


if __name__ == "__main__":
    main()
