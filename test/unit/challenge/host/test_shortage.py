"""Limits on files, threads and memory: raised where possible, else one sentence that names the limit."""

import errno
import resource

import pytest

from challenge.errors import UserError, WeightsError
from challenge.host.exits import exit_code
from challenge.host.shortage import allow_open_files, shortage


@pytest.fixture
def limits(monkeypatch):
    """Pretend to these soft and hard limits; what is set is kept in the list."""

    def pretend(soft, hard):
        kept = []
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda _, values: kept.append(values))
        return kept

    return pretend


@pytest.mark.parametrize(
    ("soft", "hard", "kept"),
    [
        (1024, 4096, []),
        (16, 4096, [(64, 4096)]),
        (16, resource.RLIM_INFINITY, [(64, resource.RLIM_INFINITY)]),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, []),
    ],
)
def test_the_soft_limit_of_open_files_is_raised_as_far_as_needed(limits, soft, hard, kept):
    found = limits(soft, hard)
    allow_open_files(64)
    assert found == kept


def test_a_hard_limit_of_open_files_that_is_too_low_is_refused(limits):
    limits(16, 30)
    with pytest.raises(UserError, match=r"may open only 30 files, and needs up to 64; raise `ulimit -n`"):
        allow_open_files(64)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "may not open more files (the limit is 30 at once)"),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible."), "more files"),
        (RuntimeError("can't start new thread"), "more threads or processes (the limit is 30 at once); raise `ulimit"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "more threads or processes"),
        (MemoryError(), "not enough memory (the limit is 30 bytes of address space); raise the limit (`ulimit -v`"),
        (RuntimeError("[CPU] Convolution node with name 'conv' can't alloc"), "not enough memory"),
        (RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"), "enough memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
    ],
)
def test_a_shortage_is_one_sentence_without_a_traceback(limits, capsys, error, said):
    limits(30, 30)

    def command():
        try:
            raise error
        except Exception as reason:
            raise ValueError("this went wrong") from reason

    assert exit_code(command) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert line.endswith("an interrupted run continues with --resume")


@pytest.mark.parametrize(("reason", "code"), [("std::bad_alloc", 1), ("no such operator", 2)])
def test_weights_are_not_blamed_for_a_shortage(capsys, reason, code):
    def command():
        raise WeightsError(f"cannot load encoder.onnx: {reason}; export the weights again")

    assert exit_code(command) == code
    assert ("not enough memory" in capsys.readouterr().err) is (code == 1)


@pytest.mark.parametrize("error", [ValueError("nothing"), OSError(errno.ENOENT, "no such file")])
def test_other_errors_are_no_shortage(error):
    assert shortage(error) is None


def test_without_a_limit_none_is_named(limits):
    limits(resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert "there is not enough memory; raise" in shortage(MemoryError())
