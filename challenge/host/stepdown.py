"""Starting the container as root: the process becomes the owner of the output folder, or drops what it does not need.

Without --user a container starts as root, and the mounted folders decide who can write. File modes do not tell enough,
so a child process tries, as that owner, everything that the run will do.
"""

import os
from collections.abc import Callable
from pathlib import Path

from challenge.errors import UserError
from challenge.host import needs
from challenge.host.places import Places
from challenge.host.privileges import DAC_OVERRIDE, Account, become, confine


def step_down(places: Places | None) -> str | None:
    """Permanently drop the permissions that the run does not need. Return a sentence about it; None if not root.

    Without `places` (the command line is malformed) the process stays root with few capabilities. Raises UserError if
    the output folder is not writable.
    """
    if os.geteuid() != 0:
        return None
    if places is None:
        return _stay("the command line cannot be read")
    folder = needs.existing(places.output_dir)
    owner = owner_of(folder)
    if owner.uid == 0:
        return _stay(f"{folder} belongs to root")
    why_not = tried(lambda: _obstacle(owner, places))
    if why_not is None:
        become(owner)
        return f"runs as uid {owner.uid} and gid {owner.gid}, the owner of {folder}"
    told = _stay(f"as uid {owner.uid}, the owner of {folder}, {why_not}")
    _check_writable(folder, owner)
    return told


def owner_of(folder: Path) -> Account:
    """Return the owner of a folder, with the groups that may use the GPUs."""
    status = folder.stat()
    groups = {needs.group_for(device.stat()) for device in needs.devices()}
    return Account(status.st_uid, status.st_gid, tuple(sorted(group for group in groups if group is not None)))


def tried(attempt: Callable[[], str | None]) -> str | None:
    """Run `attempt` in a child process and return its result, or how the child failed."""
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        return f"no process can be started ({error.strerror})"
    if child == 0:
        try:
            os.write(writer, (attempt() or "").encode(errors="replace"))
            os._exit(0)
        finally:  # the child must never run the parent's code
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        told = stream.read().decode()
    _, status = os.waitpid(child, 0)
    return told or (f"the trial ended with code {os.waitstatus_to_exitcode(status)}" if status else None)


def _obstacle(owner: Account, places: Places) -> str | None:
    """Become the owner; return the first thing that root can do and the owner cannot."""
    possible = [need for need in (*needs.reads(places), *needs.writes(places)) if needs.is_met(need)]
    try:
        become(owner)
    except (OSError, RuntimeError) as error:
        return f"it may not run ({getattr(error, 'strerror', None) or error})"
    try:
        needs.create_in(places.output_dir)
        for need in possible:
            need()
    except OSError as error:
        return f"{error.filename} cannot be used ({error.strerror})"
    return None


def _stay(reason: str) -> str:
    try:
        confine({DAC_OVERRIDE})
    except OSError as error:
        return f"stays root with all capabilities, which cannot be dropped ({error.strerror}): {reason}"
    return f"stays root, without capabilities but for reading and writing: {reason}"


def _check_writable(folder: Path, owner: Account) -> None:
    try:
        needs.create_in(folder)
    except OSError as error:
        raise UserError(
            f"the output folder {folder} cannot be written ({error.strerror}) and belongs to uid {owner.uid}; "
            f"run the container with --user {owner.uid}:{owner.gid}, or mount a folder that it may write"
        ) from error
