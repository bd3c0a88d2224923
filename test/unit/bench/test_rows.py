"""The generated folder: the challenge's mix, its sizes and formats, the same bytes for the same seed."""

from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image
from tiny import UNTRAINED

from bench.rows import SHARES, SIDES, answered_by, mix, repeat, spread, write_rows
from challenge.errors import UserError
from challenge.manifest import read_manifest
from challenge.paths import find_image
from challenge.tasks import CATALOGUE, TaskKind
from model.frozen.metadata import read_metadata, write_metadata


def test_the_mix_is_the_challenges(phantoms):
    cases = mix(1000, CATALOGUE, phantoms)
    kinds = Counter(CATALOGUE[task_id].kind for case in cases for task_id in case)
    assert kinds == {kind: 1000 * share for kind, share in SHARES.items()}
    assert Counter(map(len, cases)) == {1: 500, 2: 250}  # a third of the images serves two tasks
    assert {task_id for case in cases for task_id in case} == set(CATALOGUE)
    shared = {case for case in cases if len(case) == 2}
    assert ("thyroid_nodule", "thyroid_nodule_det") in shared
    assert ("cervix", "organ_cls") not in shared


@pytest.mark.parametrize("count", [1, 7, 60])
def test_small_folders_have_as_many_rows_as_asked(count, phantoms):
    assert sum(map(len, mix(count, CATALOGUE, phantoms))) == count


@pytest.mark.parametrize("per_image", [1, 2, 4])
def test_every_image_gets_as_many_tasks_as_asked(per_image):
    cases = spread(12, per_image, CATALOGUE)
    assert {len(set(case)) for case in cases} == {per_image}
    assert {CATALOGUE[task_id].kind for case in cases for task_id in case} == set(TaskKind)


def test_images_are_as_large_and_as_mixed_as_the_challenges(small_folder):
    found = [Image.open(path) for path in (small_folder / "images").iterdir()]
    assert {image.format for image in found} == {"JPEG", "PNG"}
    assert {image.mode for image in found} == {"L", "RGB"}
    sides = [side for image in found for side in image.size]
    assert SIDES[0] <= min(sides) < 400 < 900 < max(sides) <= SIDES[1]
    samples = read_manifest(small_folder).samples
    assert len(samples) == 40
    for file in {sample.row.file for sample in samples}:  # the rows of a task stand together
        tasks = [sample.task_id for sample in samples if sample.row.file == file]
        assert tasks == sorted(tasks)


def test_the_same_seed_gives_the_same_bytes(tmp_path, phantoms):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_rows(tmp_path / name, mix(8, CATALOGUE, phantoms), CATALOGUE, phantoms, seed, mixed=True)
    content = [[path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))] for name in "abc"]
    assert content[0] == content[1] != content[2]


def test_only_tasks_of_all_networks_are_asked(tiny_weights, tmp_path):
    assert not set(UNTRAINED) & set(answered_by(tiny_weights))
    metadata = read_metadata(tiny_weights)
    known = ("lung", "lung_2cls", "thyroid_nodule_det", "IUGC", "cervix")
    write_metadata(replace(metadata, tasks={name: metadata.tasks[name] for name in known}), tmp_path)
    assert set(answered_by(tiny_weights, tmp_path)) == {*known} - {"cervix"}
    write_metadata(replace(metadata, tasks={name: metadata.tasks[name] for name in known[:3]}), tmp_path)
    with pytest.raises(UserError, match="no regression task has a trained head"):
        answered_by(tiny_weights, tmp_path)


def test_repeated_rows_have_paths_of_their_own(small_folder, tmp_path):
    repeat(small_folder, tmp_path, 100)
    samples = read_manifest(tmp_path).samples
    assert len(samples) == len({(sample.image_path, sample.task_id) for sample in samples}) == 100
    masks = [sample.mask_file for sample in samples if sample.mask_file]
    assert len(masks) == len(set(masks))
    assert all(find_image(tmp_path, sample.image_path).is_file() for sample in samples)
