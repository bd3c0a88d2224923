import os

import pytest

from challenge.host.atomic import write_atomically


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"earlier")

    def failing():
        yield b"half"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, failing())
    assert target.read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["file"]
