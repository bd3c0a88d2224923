"""Limits on open files, threads and memory (`ulimit`): raised where possible, else told in one sentence."""

import errno
import resource
from collections.abc import Iterator

from challenge.errors import UserError

_FILES = "this process may not open more files{}; raise `ulimit -n` (in a container --ulimit nofile)"
_THREADS = (
    "this process may not start more threads or processes{}; raise `ulimit -u` (in a container --pids-limit), or use "
    "fewer processors or workers"
)
_MEMORY = (
    "there is not enough memory{}; raise the limit (`ulimit -v`, in a container --memory), or use smaller batches or "
    "fewer workers"
)
# What the libraries say in exceptions of their own. They call a limit by the name that the system's errors have.
_TEXTS = {
    _FILES: ("too many open files",),
    _THREADS: ("can't start new thread", "resource temporarily unavailable"),
    _MEMORY: (
        "cannot allocate memory",
        "failed to allocate memory",
        "can't alloc",
        "bad_alloc",
        "bad allocation",
        "failed to map segment",
    ),
}
_NUMBERS = {errno.EMFILE: _FILES, errno.ENFILE: _FILES, errno.EAGAIN: _THREADS, errno.ENOMEM: _MEMORY}
_LIMITS = {_FILES: resource.RLIMIT_NOFILE, _THREADS: resource.RLIMIT_NPROC, _MEMORY: resource.RLIMIT_AS}


def allow_open_files(count: int) -> None:
    """Let this process open `count` files. Raises UserError if it may not, before anything fails half-way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise UserError(
            f"this process may open only {hard} files, and needs up to {count}; raise `ulimit -n` (in a container "
            "--ulimit nofile)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def shortage(error: BaseException) -> str | None:
    """Return in one sentence which limit made a program fail; None if the error has another reason."""
    found = next(filter(None, map(_kind, _chain(error))), None)
    if found is None:
        return None
    limit, _ = resource.getrlimit(_LIMITS[found])
    unit = "bytes of address space" if found is _MEMORY else "at once"
    return found.format("" if limit == resource.RLIM_INFINITY else f" (the limit is {limit} {unit})")


def _kind(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError):
        return _NUMBERS.get(error.errno or 0)
    text = str(error).lower()
    return next((kind for kind, texts in _TEXTS.items() if any(part in text for part in texts)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
