"""What may be written where: nothing that somebody needs is replaced, and no device becomes a file."""

import errno
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from challenge.errors import UserError
from challenge.host.output_files import (
    check_answers_folder,
    check_file_target,
    check_inputs_are_kept,
    check_outside,
    is_stream,
    write_file,
)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    for name in ("csv_files/a.csv", "images/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"kept")
    return folder


def refusal(path, *roots):
    with pytest.raises(UserError) as caught:
        check_file_target(path, roots)
    return str(caught.value)


def test_a_new_file_and_an_earlier_one(tmp_path, data):
    target = tmp_path / "new folder" / "report.json"
    check_file_target(target, [data])
    write_file(target, b"{1}")
    check_file_target(target, [data])
    write_file(target, b"{2}")
    assert target.read_bytes() == b"{2}"
    assert [path.name for path in target.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    "name", ["data", "data/new.json", "data/csv_files/a.csv", "data/images/a.png", "data/../data/x"]
)
def test_nothing_below_a_forbidden_root(tmp_path, data, name):
    assert f"is inside {data}" in refusal(tmp_path / name, tmp_path / "absent", data)


def test_links_into_a_forbidden_root(tmp_path, data):
    (tmp_path / "file.json").symlink_to("data/images/a.png")
    (tmp_path / "dangling.json").symlink_to("data/new.json")
    (tmp_path / "folder").symlink_to("data/images")
    (tmp_path / "other data").symlink_to("data")
    for name in ("file.json", "dangling.json", "folder/new.json", "folder/a.png"):
        assert "is inside" in refusal(tmp_path / name, data)
        assert "is inside" in refusal(tmp_path / name, tmp_path / "other data")
    assert "is inside" in refusal(tmp_path / "other data" / "new.json", data)


def test_a_forbidden_root_may_be_a_file_with_two_names(tmp_path):
    (tmp_path / "list.json").write_text("[]")
    os.link(tmp_path / "list.json", tmp_path / "second.json")
    for name in ("list.json", "second.json"):
        assert "is inside" in refusal(tmp_path / name, tmp_path / "list.json")


@pytest.mark.parametrize(
    "name",
    ["a.csv", "A.CSV", "mask.png", "network.onnx", "last.pt", "weights.json", "classification_predictions.json",
     "classification.json", ".journal", "code.py", "no ending"],
)  # fmt: skip
def test_files_that_no_command_writes_are_kept(tmp_path, name):
    check_file_target(tmp_path / name, [])
    (tmp_path / name).write_bytes(b"\x89 something")
    assert "is not an earlier file of this kind" in refusal(tmp_path / name)


@pytest.mark.parametrize(("name", "content"), [("tmp.aB3dE", b""), ("report", b'{"schema": 1}'), ("a.json", b"[]")])
def test_what_may_be_replaced(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    check_file_target(tmp_path / name, [])


def test_a_file_with_a_hard_link(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{}")
    os.link(tmp_path / "a.json", tmp_path / "b.json")
    assert "other names too" in refusal(tmp_path / "b.json")


def test_paths_that_are_not_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("folder", "socket"):
            assert "is a folder, a disk or a socket" in refusal(Path(name))
    assert "cannot be made in" in refusal(Path("file/report.json"))


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_bytes(b"{}")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be made in" in refusal(tmp_path / "new.json")
    assert "may not be replaced" in refusal(tmp_path / "a.json")


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "link.json").symlink_to("folder/real.json")
    for content in (b"{1}", b"{2}"):
        check_file_target(tmp_path / "link.json", [])
        write_file(tmp_path / "link.json", content)
        assert (tmp_path / "link.json").is_symlink()
        assert (tmp_path / "folder" / "real.json").read_bytes() == content


def test_a_fifo_is_written_into(tmp_path):
    fifo = tmp_path / "fifo.json"
    os.mkfifo(fifo)
    check_file_target(fifo, [])
    content, got = b"x" * 300_000, []  # more than a pipe holds
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)

    def read():
        with os.fdopen(reader, "rb") as stream:
            got.append(stream.read())

    thread = threading.Thread(target=read)
    writer = os.open(fifo, os.O_WRONLY)  # so that the reader does not see an end before the first byte
    thread.start()
    write_file(fifo, content)
    os.close(writer)
    thread.join()
    assert got == [content]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_fifo_without_a_reader_is_an_error_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        write_file(tmp_path / "fifo", b"{}")


def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.open("wb").close()
    except OSError:
        pytest.skip("only root may make a device, and not on every mount")
    check_file_target(device, [])
    write_file(device, b"{}")
    assert stat.S_ISCHR(device.stat().st_mode)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no open files by name here")
@pytest.mark.parametrize("folder", ["/proc/self/fd", "/dev/fd"])
def test_an_open_file_is_written_in_place(tmp_path, folder):
    with (tmp_path / "log").open("wb") as stream:
        stream.write(b"earlier\n")
        stream.flush()
        path = Path(folder, str(stream.fileno()))
        (tmp_path / "link").symlink_to(path)
        check_file_target(path, [])
        write_file(path, b"{1}")
        write_file(tmp_path / "link", b"{2}")
        assert is_stream(path)
        assert is_stream(tmp_path / "link")
    assert (tmp_path / "log").read_bytes() == b"earlier\n{1}{2}"
    assert "is not open for writing" in refusal(path)
    with (tmp_path / "log").open("rb") as stream:
        assert "is not open for writing" in refusal(Path(folder, str(stream.fileno())))


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES, errno.EROFS])
def test_a_file_that_is_mounted_alone_is_written_in_place(tmp_path, monkeypatch, number):
    target = tmp_path / "report.json"
    target.write_bytes(b"an earlier, longer one")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", refuse)
    write_file(target, b"{}")
    assert target.read_bytes() == b"{}"
    assert os.listdir(tmp_path) == ["report.json"]
    with pytest.raises(OSError, match=os.strerror(number)):
        write_file(tmp_path / "new.json", b"{}")


def test_an_output_folder_that_is_read(tmp_path, data):
    (tmp_path / "link").symlink_to("data")
    check_answers_folder(tmp_path / "out", data)
    check_answers_folder(tmp_path, data)
    check_answers_folder(data / "out", data)
    for folder in (data, tmp_path / "link", tmp_path / "out" / ".." / "data"):
        with pytest.raises(UserError, match="is the input folder"):
            check_answers_folder(folder, data)
        with pytest.raises(UserError, match="is a data folder"):
            check_answers_folder(folder, tmp_path / "other")


def test_an_output_folder_in_an_input_folder(tmp_path, data):
    (tmp_path / "link").symlink_to("data")
    check_outside(tmp_path / "out", data, None)
    check_outside(tmp_path, data)
    for folder in (data / "out", data / "new" / "out", tmp_path / "link" / "out", tmp_path / "out/../data/out"):
        with pytest.raises(UserError, match="is inside the input folder"):
            check_outside(folder, tmp_path / "other", data)
    with pytest.raises(UserError, match="is the input folder"):
        check_outside(data, data)


def test_an_output_folder_of_csv_files_or_weights(tmp_path, data):
    (data / "csv_files" / "a.csv").rename(data / "csv_files" / "A.CSV")
    with pytest.raises(UserError, match="is a data folder"):
        check_answers_folder(data / "csv_files", data)
    (tmp_path / "weights").mkdir()
    check_answers_folder(tmp_path / "weights", data)
    (tmp_path / "weights" / "weights.json").touch()
    with pytest.raises(UserError, match="is a folder of weights"):
        check_answers_folder(tmp_path / "weights", data)


def test_an_answer_in_the_place_of_an_input(tmp_path, data):
    image, copy, link = data / "images" / "a.png", tmp_path / "copy.png", tmp_path / "link.png"
    copy.write_bytes(image.read_bytes())
    check_inputs_are_kept([tmp_path / "new.png", copy], [image, data / "absent.png"])
    os.link(image, link)
    for answer in (image, link, data / "csv_files" / ".." / "images" / "a.png"):
        with pytest.raises(UserError, match=r"would replace the input .*a\.png; give another --output"):
            check_inputs_are_kept([copy, answer], [data / "absent.png", image])
