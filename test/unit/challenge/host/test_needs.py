import os
import stat
from functools import partial
from types import SimpleNamespace

import pytest

from challenge.host import needs
from challenge.host.places import Places


@pytest.fixture
def root(tmp_path):
    for folder in ("csv_files", "a", "b"):
        (tmp_path / folder).mkdir()
    for name in ("a/0.png", "a/1.png", "b/2.png", "b/3.png"):
        (tmp_path / name).write_bytes(b"pixels")
    return tmp_path


def read_files(root, **others):
    """The files below `root` that a run would be tried with."""
    places = {"input_json": root / "none", "weights": root / "none", "report_file": None, "others": ()} | others
    attempts = needs.reads(Places(data_root=root, output_dir=root / "out", **places))
    paths = [one.args[0] for one in attempts if isinstance(one, partial)]
    return {path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root) and path.is_file()}


@pytest.mark.parametrize(
    "text",
    ["image_path,task_id\n../a/0.png,t\n../b/2.png,t\n",
     "\ufefftask_id; Image_Path ;x\nt;../a/0.png;1,5\nt;b/2.png;1\n",
     'task_id,image_path\r\n"t",a\\0.png\r\nt,../b/2.PNG\r\nt\r\nt,../../escapes.png\r\nt,../a/gone.png\r\n'],
    ids=["plain", "semicolons and a mark", "windows, a short row, paths that lead nowhere"],
)  # fmt: skip
def test_images_are_those_that_a_csv_names(root, text):
    (root / "csv_files" / "x.CSV").write_bytes(text.encode())
    assert read_files(root) == {"csv_files/x.CSV", "a/0.png", "b/2.png"}


def test_images_are_those_that_a_list_names(root):
    listed = root / "list"
    listed.write_text('[{"img_path_relative": "b/2.png"}, {"img_path_relative": 7}, 8]')
    assert read_files(root, input_json=listed) == {"list", "b/2.png"}


USELESS = {
    "empty": b"",
    "line": b"\n",
    "no column": b"task_id\nt\n",
    "bytes": b"\xff\xfe\0",
    "field": b'image_path\n"' + b"x" * 200_000,
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", USELESS.values(), ids=USELESS)
@pytest.mark.parametrize("name", ["csv_files/x.csv", "list"])
def test_a_manifest_that_cannot_be_used_names_no_image(root, content, name):
    (root / name).write_bytes(content)
    assert read_files(root, input_json=root / "list") == {name}


def test_one_file_of_each_folder_and_mode_is_tried(root):
    (root / "csv_files" / "x.csv").write_text("image_path\na/0.png\na/1.png\nb/2.png\nb/3.png\n")
    assert read_files(root) == {"csv_files/x.csv", "a/0.png", "b/2.png"}
    (root / "b" / "3.png").chmod(0o600)
    assert read_files(root) == {"csv_files/x.csv", "a/0.png", "b/2.png", "b/3.png"}


def test_weights_and_parts_are_read(root):
    part = root / "part"
    part.mkdir()
    (part / ".journal").touch()
    assert read_files(root, weights=root / "a", others=("--merge", str(part), "no folder", "\0", "")) == {
        "a/0.png",
        "part/.journal",
    }


def test_nothing_is_created_beside_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    needs.write_beside(tmp_path / "pipe")
    needs.write_beside(tmp_path / "new folder" / "report.json")
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_named():
    with pytest.raises(OSError, match="/proc"):
        needs.create_in(needs.existing("/proc/no such folder"))


def test_a_full_disk_is_not_a_permission_error(monkeypatch, tmp_path):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    needs.create_in(tmp_path)


def test_existing_follows_links_even_in_a_circle(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here" / "later")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert needs.existing(tmp_path / "link" / "x") == (tmp_path / "here").resolve()
    assert needs.existing(tmp_path / "circle") == tmp_path.resolve()


@pytest.mark.parametrize(("mode", "group"), [(0o666, None), (0o660, 44), (0o600, None), (0o664, 44), (0o640, None)])
def test_a_device_s_group_is_taken_where_it_is_needed(mode, group):
    assert needs.group_for(SimpleNamespace(st_mode=stat.S_IFCHR | mode, st_gid=44)) == group


def test_only_devices_count_as_devices(tmp_path):
    (tmp_path / "dri").mkdir()
    (tmp_path / "nvidia0").touch()
    (tmp_path / "dri" / "card0").symlink_to("/dev/null")
    assert needs.devices(tmp_path) == [tmp_path / "dri" / "card0"]
