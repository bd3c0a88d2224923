import csv
import hashlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from phantoms import TASKS, write_folder
from phantoms.bad_inputs import BAD_INPUTS, write_bad_folder
from phantoms.formats import ENCODINGS
from PIL import Image

from challenge.errors import UserError
from challenge.imaging.decode import read_image
from challenge.manifest import read_manifest
from challenge.masks.true_masks import read_true_mask
from challenge.targets import box
from challenge.tasks import TaskKind


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


SOME = ("breast_lesion", "lung", "organ_cls", "FUGC", "thyroid_nodule_det")


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_folder(tmp_path / name, seed, per_task=2, only=SOME)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert set(first) == set(other)
    pictures = [name for name in first if not name.startswith("csv_files") and "/m" not in name]
    assert all(first[name] != other[name] for name in pictures)


def test_a_tasks_pictures_do_not_depend_on_the_others(phantom_folder: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "some", seed=0, per_task=2, only=SOME)
    whole, some = contents(phantom_folder), contents(tmp_path / "some")
    images = [name for name in some if not name.startswith("csv_files")]
    assert len(images) >= 10
    assert all(some[name] == whole[name] for name in images)


def test_every_special_case_is_present(phantom_folder: Path) -> None:
    samples = read_manifest(phantom_folder).samples
    paths = {sample.image_path for sample in samples}
    folders = {path.rsplit("/", 1)[0][3:] for path in paths}
    for odd in (" ", ",", "(", "\u00a0", "+", "."):
        assert any(odd in folder for folder in folders), odd
    assert {path.rsplit(".", 1)[1] for path in paths} == {"png", "jpg", "JPG", "bmp"}
    tasks_of = defaultdict(set)
    for sample in samples:
        tasks_of[sample.image_path].add(sample.task_id)
    assert {"breast_lesion", "breast_2cls", "breast_3cls", "breast_lesion_det"} in tasks_of.values()
    sizes = {read_image(phantom_folder / path[3:]).size for path in paths}
    assert (64, 48) in sizes
    assert (1500, 1100) in sizes
    assert any(str(sample.mask_file).endswith(".jpg") for sample in samples)


def test_the_manifests_are_as_different_as_real_ones(phantom_folder: Path) -> None:
    raw = {path.name: path.read_bytes() for path in (phantom_folder / "csv_files").iterdir()}
    assert sum(data.startswith(b"\xef\xbb\xbf") for data in raw.values()) == 1
    assert sum(b"\r\n" in data for data in raw.values()) == 1
    headers = {name: data.decode("utf-8-sig").splitlines()[0].split(",") for name, data in raw.items()}
    assert len({tuple(header) for header in headers.values()}) >= 6
    assert 0 < sum("group" in header for header in headers.values()) < len(headers)
    names = {row["task_name"] for data in raw.values() for row in csv.DictReader(data.decode("utf-8-sig").splitlines())}
    assert names == {"segmentation", "classification", "detection", "Regression"}


def test_a_folder_without_truth_contains_no_answers(phantom_folder: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "blind", seed=0, per_task=1, with_truth=False)
    blind, whole = contents(tmp_path / "blind"), contents(phantom_folder)
    manifest = read_manifest(tmp_path / "blind")
    images = {sample.image_path[3:] for sample in manifest.samples}
    assert {sample.task_id for sample in manifest.samples} == set(TASKS)
    assert {name for name in blind if not name.startswith("csv_files")} == images
    assert all(blind[name] == whole[name] for name in images)
    columns = {name for sample in manifest.samples for name in sample.cells}
    assert columns == {"image_path", "mask_path", "task_id", "task_name", "num_classes", "group"}
    assert {sample.mask_file for sample in manifest.samples} > {None}


def test_boxes_enclose_the_masks_of_the_same_image(phantom_folder: Path) -> None:
    samples = read_manifest(phantom_folder).samples
    masks = {s.image_path: s.mask_file for s in samples if s.task_id in ("breast_lesion", "thyroid_nodule")}
    shared = [s for s in samples if s.kind is TaskKind.DETECTION and s.image_path in masks]
    assert len(shared) == 6
    for sample in shared:
        mask_file = masks[sample.image_path]
        assert mask_file is not None
        rows, columns = np.nonzero(read_true_mask(phantom_folder / mask_file, 2).labels)
        assert box(sample) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_masks_have_their_images_size(phantom_folder: Path) -> None:
    for sample in read_manifest(phantom_folder).samples:
        if sample.mask_file is not None:
            mask = read_true_mask(phantom_folder / sample.mask_file, sample.num_classes).labels
            assert mask.shape[::-1] == read_image(phantom_folder / sample.image_path[3:]).size


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_contain_the_same_picture(name: str, tmp_path: Path) -> None:
    grey = np.linspace(0, 1, 60 * 80, dtype=np.float32).reshape(60, 80)
    path = tmp_path / f"image{ENCODINGS[name].ending}"
    path.write_bytes(ENCODINGS[name].encode(grey))
    error = np.abs(read_image(path).pixels[..., 0] / 255 - grey)
    assert error.max() < (0.05 if "J" in ENCODINGS[name].ending.upper() else 0.005)


def test_an_existing_folder_is_not_mixed_with_a_new_one(phantom_folder: Path) -> None:
    before = contents(phantom_folder)
    with pytest.raises(UserError, match="exists; remove it"):
        write_folder(phantom_folder)
    assert contents(phantom_folder) == before


def test_unknown_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'FUGC'"):
        write_folder(tmp_path / "out", only=["FUGS"])


def test_bad_inputs_can_join_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, per_task=1, only=["organ_cls"])
    rows = write_bad_folder(tmp_path)
    samples = read_manifest(tmp_path).samples
    assert rows == 4 * (len(BAD_INPUTS) + 1)
    assert len(samples) == rows + 1
    assert {sample.kind for sample in samples} == set(TaskKind)


def test_the_command_needs_no_path_setting_and_no_heavy_package(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(repository / "test" / "phantoms"), "--output", "made"]
    options = ["--only", "FUGC", "--only", "lung", "--per-task", "1", "--without-truth"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 rows in made"
    assert len(read_manifest(tmp_path / "made").samples) == 2
    for heavy in ("torch", "cv2", "scipy", "matplotlib", "SimpleITK"):
        assert f"| {heavy}\n" not in done.stderr


def test_the_command_explains_itself(repository: Path, phantom_folder: Path) -> None:
    command = [sys.executable, str(repository / "test" / "phantoms"), "--output", str(phantom_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "exists; remove it" in done.stderr


def test_jpegs_are_jpegs_and_bitmaps_bitmaps(phantom_folder: Path) -> None:
    for sample in read_manifest(phantom_folder).samples:
        with Image.open(phantom_folder / sample.image_path[3:]) as image:
            assert image.format == {"png": "PNG", "bmp": "BMP"}.get(sample.image_path[-3:], "JPEG")
