import os
from pathlib import PurePosixPath

import pytest
from rights import STRANGER, as_root, run_script

from challenge.errors import UserError
from challenge.host.leftovers import check_replaceable, refusal

# As a stranger, who owns nothing here.
CHECK = """
from pathlib import PurePosixPath
from challenge.host.leftovers import check_replaceable
become(Account(12345, 12345))
try:
    check_replaceable(Path(sys.argv[1]), [PurePosixPath(name) for name in sys.argv[2:]])
    tell(refused=None)
except UserError as error:
    tell(refused=str(error))
"""
FILES = [PurePosixPath("a.json"), PurePosixPath("Segmentation/Two/mask.png")]


@pytest.fixture
def output(open_folder):
    path = open_folder / "out"
    (path / "Segmentation" / "Two").mkdir(parents=True)
    path.chmod(0o777)
    return path


def test_one_s_own_files_can_be_replaced(output):
    (output / "a.json").touch()
    output.chmod(0o1777)
    check_replaceable(output, [*FILES, PurePosixPath("new/folder/mask.png")])


@as_root
@pytest.mark.parametrize(
    ("name", "mode"), [("Segmentation/Two", 0o755), ("Segmentation/Two", 0o700), ("Segmentation", 0o700)]
)
def test_a_folder_of_another_user_is_refused(repository, output, name, mode):
    for folder in (output / "Segmentation", output / "Segmentation" / "Two"):
        os.chown(folder, STRANGER, STRANGER)
    os.chown(output / name, 0, 0)
    (output / name).chmod(mode)
    refused = run_script(repository, CHECK, output, *FILES)["refused"]
    assert f"{output / name} cannot be written by uid {STRANGER}" in refused
    assert "belongs to uid 0" in refused
    assert run_script(repository, CHECK, output, "a.json", "elsewhere/mask.png")["refused"] is None


@as_root
def test_another_users_file_is_refused_in_a_sticky_folder(repository, output):
    (output / "a.json").touch()
    assert run_script(repository, CHECK, output, "a.json")["refused"] is None
    output.chmod(0o1777)
    assert str(output / "a.json") in run_script(repository, CHECK, output, "a.json")["refused"]
    assert run_script(repository, CHECK, output, "b.json")["refused"] is None
    os.chown(output / "a.json", STRANGER, STRANGER)
    assert run_script(repository, CHECK, output, "a.json")["refused"] is None


def test_the_sentence_names_what_could_not_be_replaced(tmp_path):
    target = tmp_path / "mask.png"
    target.touch()
    told = refusal(PermissionError(1, "no", "partial", None, str(target)), tmp_path)
    assert isinstance(told, UserError)
    assert str(told).startswith(f"{target} cannot be written by uid {os.geteuid()} and belongs to uid")
    assert str(tmp_path / "gone") in str(refusal(PermissionError(1, "no", str(tmp_path / "gone")), tmp_path))
    assert str(tmp_path) in str(refusal(PermissionError(1, "no"), tmp_path))
