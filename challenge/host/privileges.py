"""Permanently gives up this process's user, groups and capabilities. Linux only, before any thread starts.

The kernel stores capabilities and `no_new_privs` per thread, so a running thread would keep its own.
"""

import ctypes
import errno
import os
from collections.abc import Collection
from dataclasses import dataclass

DAC_OVERRIDE = 1
"""The capability to read and write files regardless of their mode."""

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_WORD = 32  # bits; a set of capabilities is two words


@dataclass(frozen=True)
class Account:
    """A user by number; the system need not know a name."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def become(account: Account) -> None:
    """Permanently become another user, without capabilities.

    Raises OSError if that is not allowed or the user does not exist in this namespace, RuntimeError if the process can
    still become root.
    """
    _shrink_bounding_set(())  # first, while it is allowed
    os.setgroups(account.groups)
    os.setresgid(*[account.gid] * 3)
    os.setresuid(*[account.uid] * 3)
    confine()
    _check_no_way_back(account)


def confine(keep: Collection[int] = ()) -> None:
    """Drop all capabilities except `keep`, also for programs that this process starts. Raises OSError."""
    _shrink_bounding_set(keep)
    _set_capabilities(capabilities() & set(keep))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def capabilities() -> set[int]:
    """Return the numbers of this process's capabilities. Raises OSError."""
    sets = _read_sets()
    return {_WORD * word + bit for word in range(2) for bit in range(_WORD) if sets[word].permitted >> bit & 1}


def _shrink_bounding_set(keep: Collection[int]) -> None:
    for number in range(2 * _WORD):
        try:
            if number not in keep and _prctl(_PR_CAPBSET_READ, number):
                _prctl(_PR_CAPBSET_DROP, number)
        except OSError as error:
            # EINVAL: the kernel knows no such capability. EPERM: no right to; no_new_privs has the same effect here.
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise


def _check_no_way_back(account: Account) -> None:
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        if os.getresuid() == (account.uid,) * 3 and os.getresgid() == (account.gid,) * 3 and not capabilities():
            return
    raise RuntimeError(f"uid {account.uid} kept rights of root")


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _read_sets() -> "ctypes.Array[_Sets]":
    sets = (_Sets * 2)()
    _call("capget", ctypes.byref(_Header(_CAPABILITY_VERSION_3)), sets)
    return sets


def _set_capabilities(numbers: Collection[int]) -> None:
    # The inheritable set becomes empty, and with it the ambient one.
    masks = [sum(1 << number % _WORD for number in numbers if number // _WORD == word) for word in range(2)]
    sets = (_Sets * 2)(*(_Sets(mask, mask, 0) for mask in masks))
    _call("capset", ctypes.byref(_Header(_CAPABILITY_VERSION_3)), sets)


def _prctl(option: int, argument: int) -> int:
    return _call("prctl", option, *(ctypes.c_ulong(number) for number in (argument, 0, 0, 0)))


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library. Raises OSError."""
    result = int(getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
