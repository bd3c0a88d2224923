"""The child process that decodes: the pixels are the same, and whatever kills it costs one file."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from evil_child import write_evil_child
from phantoms.bad_inputs import BAD_INPUTS, write_bad_inputs

from challenge.errors import ImageError
from challenge.imaging import child as decoder
from challenge.imaging import decode as images
from challenge.imaging.decode import decode_file, header_size, read_image, read_size

SCAN = next(bad for bad in BAD_INPUTS if bad.name == "scan.dcm").data()
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def fresh():
    """Every test starts its own child."""
    decoder._close()
    yield
    decoder._close()


@pytest.fixture
def evil(monkeypatch, tmp_path):
    """Use a child that crashes or hangs as a file's name says; return a function that makes a scan of a name."""
    monkeypatch.setattr(decoder, "CHILD", write_evil_child(tmp_path))

    def scan(name: str) -> Path:
        (tmp_path / name).write_bytes(SCAN)
        return tmp_path / name

    return scan


def child() -> decoder.Child:
    found = decoder._decoder()._child
    assert found
    return found


def pid() -> int:
    return child()._process.pid


@pytest.mark.parametrize("isolated", [False, True])
def test_the_answers_are_those_of_decoding_here(tmp_path, isolated):
    for name, path in write_bad_inputs(tmp_path).items():
        assert read_size(path, isolated=isolated) == header_size(path), name
        try:
            here = decode_file(path)
        except ImageError:
            with pytest.raises(ImageError, match=name):
                read_image(path, isolated=isolated)
            continue
        apart = read_image(path, isolated=isolated)
        assert np.array_equal(apart.pixels, here.pixels), name
        assert (apart.pixels.shape, apart.pixels.dtype, apart.notes) == (here.pixels.shape, np.uint8, here.notes), name
        assert (apart.pixels.strides[2] == 0) == (here.pixels.strides[2] == 0), name


def test_only_files_for_native_readers_start_one_and_further_ones_use_it(tmp_path):
    paths = write_bad_inputs(tmp_path)
    read_image(paths["palette.png"])
    assert decoder._decoder()._child is None
    read_image(paths["scan.dcm"])
    first = pid()
    read_image(paths["a scan named.png"])
    assert pid() == first


@pytest.mark.parametrize(
    ("name", "reason"),
    [("SIGSEGV.dcm", "the decoder ended by SIGSEGV"), ("SIGKILL.dcm", "the decoder ended by SIGKILL"),
     ("SIGABRT.dcm", "the decoder ended by SIGABRT"), ("exit.dcm", "the decoder ended with exit code 3"),
     ("bomb.dcm", r"damaged image \(MemoryError\)"), ("long.dcm", "the decoder sent no valid answer"),
     ("odd.dcm", "the decoder sent no valid answer"), ("empty.dcm", "the decoder sent no valid answer")],
)  # fmt: skip
def test_whatever_ends_the_child_is_that_file_s_error(evil, name, reason):
    good = evil("good.dcm")
    expected = decode_file(good).pixels
    for _ in range(2):  # by a fresh child, and by one that has answered
        with pytest.raises(ImageError, match=f"^{name}: {reason}$"):
            read_image(evil(name))
        assert read_size(evil(name)) == header_size(good)
        assert np.array_equal(read_image(good).pixels, expected)


@pytest.mark.parametrize("name", ["sleep.dcm", "endless.dcm"])
def test_a_file_that_takes_too_long(evil, monkeypatch, name):
    read_image(evil("good.dcm"))
    first = pid()
    monkeypatch.setattr(decoder, "SECONDS", 1)
    with pytest.raises(ImageError, match=f"^{name}: took longer than 1 s$"):
        read_image(evil(name))
    monkeypatch.undo()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert read_image(evil("good.dcm")).size == (48, 36)


def test_a_dead_child_does_not_cost_a_later_file(evil):
    read_image(evil("good.dcm"))
    os.kill(pid(), signal.SIGKILL)
    assert read_image(evil("good.dcm")).size == (48, 36)


def test_output_of_a_decoder_is_not_an_answer_and_does_not_block(evil, caplog):
    path = evil("loud.dcm")
    assert np.array_equal(read_image(path).pixels, decode_file(path).pixels)
    with caplog.at_level("DEBUG"):
        child().end()
    assert caplog.records[-1].message.endswith("errerr")
    assert len(caplog.records[-1].message) < 5000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_is_confined(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    read_image(write_bad_inputs(tmp_path)["scan.dcm"])
    process = Path("/proc", str(pid()))
    names = {entry.partition(b"=")[0].decode() for entry in (process / "environ").read_bytes().split(b"\0") if entry}
    assert names <= {*decoder._ONE_THREAD, *decoder._PASSED_ON}
    limits = {line[:26].strip(): line[26:].split()[:2] for line in (process / "limits").read_text().splitlines()}
    assert limits["Max data size"] == [str(decoder.MEMORY)] * 2
    assert limits["Max file size"] == limits["Max core file size"] == ["0", "0"]
    assert int(limits["Max cpu time"][0]) < decoder.SECONDS + 60
    opened = {os.readlink(link).partition(":")[0] for link in (process / "fd").iterdir()}
    assert opened == {"pipe"}
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid(), ignored)
    before = pid()
    assert read_image(tmp_path / "scan.dcm").size == (48, 36)
    assert pid() == before


def test_limits_of_size_hold_before_a_file_is_handed_over(tmp_path, monkeypatch):
    path = write_bad_inputs(tmp_path)["scan.dcm"]
    monkeypatch.setattr(images, "BYTE_LIMIT", 100)
    with pytest.raises(ImageError, match="larger than the limit of 100 bytes"):
        read_image(path)
    assert decoder._decoder()._child is None
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "missing.dcm", isolated=True)


def test_if_no_process_can_be_started_only_suspects_are_lost(tmp_path, monkeypatch, caplog):
    def refused(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(decoder.subprocess, "Popen", refused)
    path = write_bad_inputs(tmp_path)["scan.dcm"]
    assert np.array_equal(read_image(path).pixels, decode_file(path).pixels)
    assert "scan.dcm: decoded in this process, because no child process can be started (Resource" in caplog.text
    assert read_size(path) == (48, 36)
    with pytest.raises(ImageError, match=r"scan\.dcm: it may crash the process, and no child process can be started"):
        read_image(path, isolated=True)
    assert read_size(path, isolated=True) is None


# A user's script without `if __name__ == "__main__"`, which forks, as training's loader does.
SCRIPT = """
import os, sys
from pathlib import Path
from challenge.imaging import child as decoder
from challenge.imaging.decode import read_image

path = Path(sys.argv[1])
pid = lambda: decoder._decoder()._child._process.pid
read_image(path)
mine = pid()
if os.fork() == 0:
    read_image(path)
    os._exit(pid() == mine)
assert os.wait()[1] == 0
read_image(path)
assert pid() == mine
print(mine, flush=True)
os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [0, signal.SIGKILL], ids=["at the end", "killed"])
def test_a_fork_gets_its_own_and_none_outlives_its_process(repository, tmp_path, number):
    path = write_bad_inputs(tmp_path)["scan.dcm"]
    run = subprocess.run([sys.executable, "-c", SCRIPT, path, str(int(number))],
                         cwd=repository, capture_output=True, text=True)  # fmt: skip
    assert run.returncode == -number, run.stderr
    end = time.monotonic() + 60
    while is_alive(int(run.stdout)):
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(number: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
