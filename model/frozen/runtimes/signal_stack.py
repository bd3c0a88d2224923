"""Keeps a library from changing the stack that signal handlers run on."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Put the calling thread's alternate signal stack back at the end of the block.

    OpenVINO sets one of its own when its plugin is loaded, and frees it when the plugin is unloaded, be it on another
    thread. A later Ctrl-C would then end the process with SIGSEGV, since Python's handlers run on that stack.
    """
    if sys.platform != "linux":
        yield
        return
    sigaltstack = ctypes.CDLL(None).sigaltstack
    before = _Stack()
    is_known = sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if is_known:
            sigaltstack(ctypes.byref(before), None)
