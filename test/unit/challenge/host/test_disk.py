"""Calls that FUSE, CIFS and other file systems lack are not a failure; real errors are."""

import errno
import os

import pytest

from challenge.host.atomic import write_atomically
from challenge.host.disk import DiskFullError, flush, reserve, set_mode

LACKING = [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS]
REAL = [errno.EIO, errno.ENOSPC, errno.EDQUOT]


def refusing(number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", LACKING)
def test_missing_features_of_a_file_system_are_tolerated(monkeypatch, tmp_path, number):
    for name in ("fsync", "posix_fallocate", "chmod"):
        monkeypatch.setattr(os, name, refusing(number), raising=False)
    with (tmp_path / "file").open("wb") as stream:
        flush(stream.fileno())
    reserve(tmp_path / "room", 5000)
    set_mode(tmp_path / "file", 0o644)
    assert (tmp_path / "room").exists()
    write_atomically(tmp_path / "whole", [b"content"])
    assert (tmp_path / "whole").read_bytes() == b"content"


@pytest.mark.parametrize("number", REAL)
def test_real_errors_are_raised(monkeypatch, tmp_path, number):
    for name in ("fsync", "posix_fallocate", "chmod"):
        monkeypatch.setattr(os, name, refusing(number), raising=False)
    with (tmp_path / "file").open("wb") as stream, pytest.raises(OSError, match=os.strerror(number)):
        flush(stream.fileno())
    with pytest.raises(OSError, match=os.strerror(number)):
        reserve(tmp_path / "room", 5000)
    with pytest.raises(OSError, match=os.strerror(number)):
        set_mode(tmp_path / "file", 0o644)
    with pytest.raises(OSError, match=os.strerror(number)):
        write_atomically(tmp_path / "whole", [b"content"])
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_mounts_without_owners_refuse_a_change_of_mode(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "chmod", refusing(errno.EPERM))
    set_mode(tmp_path / "file", 0o644)


def test_space_is_really_reserved(tmp_path):
    reserve(tmp_path / "room", 100_000)
    assert (tmp_path / "room").stat().st_size == 100_000


def test_a_file_is_synced_before_it_is_renamed(monkeypatch, tmp_path):
    seen = []
    fsync = os.fsync

    def watch(descriptor):
        seen.append((os.fstat(descriptor).st_size, (tmp_path / "whole").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_atomically(tmp_path / "whole", [b"con", b"tent"])
    write_atomically(tmp_path / "mask", [b"content"], durable=False)
    assert seen == [(7, False)]


def test_the_error_of_a_full_disk_names_what_to_do(tmp_path):
    folder = tmp_path / "not" / "there"
    text = str(DiskFullError.again(folder, "the zip", 5000))
    assert text.startswith(f"no room is left in {folder} for the zip: about 8,192 bytes are needed, ")
    assert text.endswith("make room and run the same command again")
    assert str(DiskFullError.of(folder, 1, 3, 1)).endswith("make room and run the same command with --resume")
