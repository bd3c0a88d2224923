"""The folder of the challenge's size: its counts, its groups, its bytes, and that every row can be used."""

from collections import Counter, defaultdict

import pytest

from bench.training.challenge_folder import COUNTS, HOSTS, ROWS, counts, groups, write_challenge_folder
from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from training.data.near_copies import Images, search
from training.data.row_files import content_hash
from training.data.thumbnails import read_thumbnails
from training.inspection import inspect_folder

SMALL = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("challenge")
    write_challenge_folder(folder, SMALL, seed=3, processes=1)
    return folder


def test_the_rows_are_the_challenges():
    assert set(COUNTS) == set(CATALOGUE)
    assert sum(COUNTS.values()) == ROWS == 40_388
    for rows in (27, 100, SMALL, 5000):
        found = counts(rows)
        assert sum(found.values()) == rows
        assert min(found.values()) >= 1
    assert counts(4039)["fetal_plane_cls"] == pytest.approx(744, abs=4)
    with pytest.raises(UserError, match="26 rows are fewer than the 27 tasks"):
        counts(26)


def test_groups_have_one_to_eight_images_and_tasks_share_them():
    rows, found = Counter(), list(groups(4000, seed=0))
    for group in found:
        assert 1 <= len(group.tasks) <= 8
        rows.update(task_id for tasks in group.tasks for task_id in tasks)
        assert {HOSTS.get(task_id, task_id) for tasks in group.tasks for task_id in tasks} == {group.task_id}
    assert rows == counts(4000)
    assert {len(group.tasks) for group in found} == set(range(1, 9))


def test_every_row_can_be_used_and_every_class_is_there(folder):
    inspection = inspect_folder(folder)
    assert len(inspection.manifest.samples) == SMALL
    assert not inspection.has_errors
    assert {f.fault for f in inspection.findings} <= {"class without rows"}  # a few rows do not hold all classes


def test_images_of_different_groups_are_no_near_copies(folder):
    files = {content_hash(path): path for path in sorted(folder.glob("*/*/images/*"))}
    inspection = inspect_folder(folder)
    paths = {(folder / "csv_files" / s.image_path).resolve(): s.group for s in inspection.manifest.samples}
    known = {content: paths[path.resolve()] for content, path in files.items()}
    assert len(files) == len(paths)
    assert not search(Images(read_thumbnails(files, folder / "cache"), known), 0.95)


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(folder, tmp_path):
    write_challenge_folder(tmp_path / "again", SMALL, seed=3, processes=2)
    bytes_of = defaultdict(dict)
    for root in (folder, tmp_path / "again"):
        for path in root.rglob("*.*"):
            if path.suffix != ".npz":
                bytes_of[root][path.relative_to(root)] = path.read_bytes()
    assert bytes_of[folder] == bytes_of[tmp_path / "again"]
    with pytest.raises(UserError, match="holds a data folder already"):
        write_challenge_folder(folder, SMALL)
