"""From a data folder to rows with pixels: the cache is keyed by content, and holes are named or left out."""

import shutil

import numpy as np
import pytest
from phantoms import write_folder
from PIL import Image
from unit.training.data.scans import near_copy, scan, write_scans
from unit.training.recipes import parts_of, tiny_config

from challenge.errors import UserError
from challenge.imaging.decode import read_image
from challenge.imaging.geometry import Resize
from challenge.imaging.resampling import Resampling
from challenge.paths import find_image
from training.data.pixels import PixelStore
from training.data.rows import DataSource, Fold


def load(root, tmp_path, val_root=None, fold=None, **sections):
    return parts_of(DataSource(root, tmp_path / "cache", val_root, fold), tiny_config(**sections))


@pytest.fixture(scope="module")
def two_tasks(tmp_path_factory):
    root = tmp_path_factory.mktemp("two tasks")
    write_folder(root, seed=1, per_task=8, only=("breast_lesion", "breast_2cls"))
    return root


@pytest.fixture
def breast(two_tasks, tmp_path):
    return shutil.copytree(two_tasks, tmp_path / "data")


def test_pixels_are_those_of_the_one_resize(four_kinds, tmp_path):
    train, _ = load(four_kinds, tmp_path)
    for sample in train.samples:
        pixels = read_image(find_image(four_kinds, sample.image_path)).pixels
        resize = Resize.of(pixels.shape[1], pixels.shape[0], 64)
        assert train.store.resize_of(sample) == resize
        expected = resize.image(pixels, Resampling.ANTIALIASED)
        np.testing.assert_array_equal(train.store.image(sample), expected)


def test_a_second_run_decodes_nothing(breast, tmp_path, monkeypatch):
    before, _ = load(breast, tmp_path)
    images = [before.store.image(s) for s in before.samples]
    monkeypatch.setattr(PixelStore, "_decode_image", None)
    monkeypatch.setattr(PixelStore, "_decode_mask", None)
    after, _ = load(breast, tmp_path)
    np.testing.assert_array_equal([after.store.image(s) for s in after.samples], images)


def test_a_changed_file_is_decoded_again(breast, tmp_path):
    before, _ = load(breast, tmp_path)
    sample = before.samples[0]
    path = find_image(breast, sample.image_path)
    with Image.open(path) as image:
        size, form = image.size, image.format
    Image.new("RGB", size, (200, 200, 200)).save(path, form)
    after, _ = load(breast, tmp_path)
    assert after.store.image(next(s for s in after.samples if s == sample)).min() > 190


def test_what_does_not_fit_into_the_cache_is_decoded_each_time(breast, tmp_path, caplog):
    whole, _ = load(breast, tmp_path / "a")
    tight, _ = load(breast, tmp_path / "b", runtime={"cache_gigabytes": 4 * 64 * 64 * 4 / 1e9})
    assert "do not fit into the cache" in caplog.text
    for sample in whole.samples:
        np.testing.assert_array_equal(tight.store.image(sample), whole.store.image(sample))


def test_damaged_files_end_the_run_with_the_row_or_are_left_out(breast, tmp_path):
    train, dev = load(breast, tmp_path)
    victim = next(s for s in train.samples if s.task_id == "breast_lesion")
    find_image(breast, victim.image_path).write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=r"\.csv, line \d+: unreadable image: .*2 such rows.*inspect --fix"):
        load(breast, tmp_path)
    kept = load(breast, tmp_path, data={"skip_unreadable": True})
    paths = [s.image_path for part in kept for s in part.samples]
    assert victim.image_path not in paths
    assert len(paths) == len(train.samples) + len(dev.samples) - 2  # both tasks use that image


def test_a_missing_image_and_a_missing_mask_are_named(breast, tmp_path):
    train, _ = load(breast, tmp_path)
    victim = next(s for s in train.samples if s.task_id == "breast_lesion")
    (breast / str(victim.mask_file)).unlink()
    with pytest.raises(UserError, match=r"mask: no such file"):
        load(breast, tmp_path)
    find_image(breast, victim.image_path).unlink()
    with pytest.raises(UserError, match=r"no such file"):
        load(breast, tmp_path)


def test_rows_without_a_truth_are_left_out_with_a_warning(breast, tmp_path, caplog):
    whole = sum(len(part.samples) for part in load(breast, tmp_path))
    path = breast / "csv_files" / "Cls-Two_Three.csv"
    lines = path.read_text("utf-8").splitlines()
    column = lines[0].split(",").index("mask")
    cells = lines[1].split(",")
    cells[column] = ""
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n", "utf-8")
    assert sum(len(part.samples) for part in load(breast, tmp_path)) == whole - 1
    assert "breast_2cls: 1 rows without a truth are left out" in caplog.text


def test_only_the_chosen_tasks_are_read(four_kinds, tmp_path):
    train, dev = load(four_kinds, tmp_path, data={"tasks": ["breast_2cls"]})
    assert {s.task_id for part in (train, dev) for s in part.samples} == {"breast_2cls"}


def test_a_kind_stands_for_its_tasks(four_kinds, tmp_path):
    train, dev = load(four_kinds, tmp_path, data={"tasks": ["segmentation", "breast_2cls"]})
    assert {s.task_id for part in (train, dev) for s in part.samples} == {"breast_2cls", "breast_lesion"}


def test_another_seed_keeps_the_rows_to_decide_by(breast, tmp_path):
    def dev_images(**more):
        return {s.image_path for s in load(breast, tmp_path, **more)[1].samples}

    assert dev_images(seed=7) == dev_images()
    assert any(dev_images(data={"split_seed": other}) != dev_images() for other in (1, 2, 3))


def test_folds_and_a_validation_folder_replace_the_dev_fraction(breast, tmp_path):
    dev = [load(breast, tmp_path, fold=Fold(n, 2))[1].samples for n in range(2)]
    assert {s.image_path for s in dev[0]}.isdisjoint(s.image_path for s in dev[1])
    other = tmp_path / "val"
    write_folder(other, seed=2, per_task=3, only=("breast_2cls",))
    # One picture of the training folder stands in the validation folder too.
    twin = next(s for s in dev[0] if s.task_id == "breast_2cls")
    copied = sorted((other / "Segmentation").rglob("*.png"))[0]
    shutil.copy(find_image(breast, twin.image_path), copied)
    train, val = load(breast, tmp_path, val_root=other)
    assert val.root == other
    assert twin.image_path not in {s.image_path for s in train.samples}
    assert {s.task_id for s in val.samples} == {"breast_2cls"}


def test_a_file_names_the_dev_rows_of_the_tasks_in_it(breast, tmp_path):
    everything = [*load(breast, tmp_path)[0].samples, *load(breast, tmp_path)[1].samples]
    chosen = sorted(s.image_path for s in everything if s.task_id == "breast_lesion")[:2]
    (breast / "dev.csv").write_text(
        "image_path,task_id,why\n" + "".join(f'"{path}",breast_lesion,x\n' for path in chosen), "utf-8"
    )
    train, dev = load(breast, tmp_path, data={"dev_rows": "dev.csv"})
    assert sorted(s.image_path for s in dev.samples if s.task_id == "breast_lesion") == chosen
    assert any(s.task_id == "breast_2cls" for s in dev.samples)  # split as usual
    assert not {s.group or s.image_path for s in train.samples} & {s.group or s.image_path for s in dev.samples}


def test_training_rows_of_a_named_row_s_patient_are_left_out_and_told(breast, tmp_path, caplog):
    table = next(p for p in (breast / "csv_files").iterdir() if "breast_lesion" in p.read_text("utf-8"))
    lines = table.read_text("utf-8").splitlines()
    table.write_text("\n".join([f"{lines[0]},group", *(f"{line},one" for line in lines[1:4]),
                              *(f"{line},g{n}" for n, line in enumerate(lines[4:]))]) + "\n", "utf-8")  # fmt: skip
    first = lines[1].split(",")[0]
    (breast / "dev.csv").write_text(f"image_path,task_id\n{first},breast_lesion\n", "utf-8")
    sections = {"data": {"dev_rows": "dev.csv", "tasks": ["breast_lesion"]}}
    train, dev = load(breast, tmp_path, **sections)
    assert (len(train.samples), len(dev.samples)) == (len(lines) - 4, 1)
    assert "2 training rows share a group or an image with dev rows; left out" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_path,task_id\nnowhere.png,breast_lesion\n", "names nowhere.png of breast_lesion, which is no row"),
        ("image,task_id\n", "has no column image_path"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_of_dev_rows_is_one_sentence(breast, tmp_path, text, message):
    if text:
        (breast / "dev.csv").write_text(text, "utf-8")
    with pytest.raises(UserError, match=message):
        load(breast, tmp_path, data={"dev_rows": "dev.csv"})


def sides(parts):
    return [{s.image_path.removeprefix("../").removesuffix(".png") for s in part.samples} for part in parts]


SCANS = {f"{letter}": scan(number) for number, letter in enumerate("abcdefgh")}
TWINS = {f"twin of {letter}": near_copy(pixels) for letter, pixels in SCANS.items()}


def torn(parts):
    """How many of the originals stand on the other side than their twin."""
    train, dev = sides(parts)
    assert len(train) + len(dev) == len(SCANS) + len(TWINS)
    return sum((letter in dev) != (f"twin of {letter}" in dev) for letter in SCANS)


def test_near_copies_without_a_group_are_on_one_side(tmp_path, caplog):
    root = write_scans(tmp_path / "data", SCANS | TWINS)
    caplog.set_level("INFO")
    assert not torn(load(root, tmp_path))
    assert "8 pairs of near-copies stay together in the split; the largest group has 2 of 16 images" in caplog.text
    assert all(not torn(load(root, tmp_path, fold=Fold(number, 3))) for number in range(3))
    assert torn(load(root, tmp_path, data={"near_copies": 0}))
    caplog.clear()
    assert not torn(load(root, tmp_path, data={"image_size": 32, "fit": "letterbox"}))
    assert sides(load(root, tmp_path)) == sides(load(root, tmp_path, data={"image_size": 32, "fit": "letterbox"}))


def test_near_copies_of_named_patients_are_told_and_split_by_name(tmp_path, caplog):
    groups = {name: f"patient {name}" for name in SCANS | TWINS}
    root = write_scans(tmp_path / "data", SCANS | TWINS, groups)
    named = load(root, tmp_path)
    assert "8 pairs of images look alike but have different groups" in caplog.text
    assert sides(named) == sides(load(root, tmp_path, data={"near_copies": 0}))


def test_near_copies_of_a_validation_folder_are_left_out_whatever_their_names(tmp_path, caplog):
    root = write_scans(tmp_path / "data", SCANS, {"a": "Anna"})
    val = write_scans(
        tmp_path / "val", {"1": TWINS["twin of a"], "2": TWINS["twin of b"], "3": scan(99)}, {"1": "Berta"}
    )
    train, dev = sides(load(root, tmp_path, val_root=val))
    assert train == set("cdefgh")
    assert dev == set("123")
    assert "2 training rows are near-copies of images of --val-root; left out" in caplog.text
    assert sides(load(root, tmp_path, val_root=val, data={"near_copies": 0}))[0] == set("abcdefgh")


def test_a_part_of_the_training_rows_is_the_same_whichever_tasks_are_trained(two_tasks, tmp_path):
    def rows(fraction, *tasks):
        train, dev = load(two_tasks, tmp_path, data={"train_fraction": fraction, "tasks": tasks, "dev_fraction": 0.0})
        assert dev.samples == []
        return {sample.image_path for sample in train.samples if sample.task_id == "breast_lesion"}

    half = rows(0.5, "breast_lesion")
    assert len(half) == 4
    assert rows(0.5) == half
    assert half < rows(0.75) < rows(1.0)
    assert len(rows(0.01)) == 4  # fewer would teach nothing


def test_dev_rows_do_not_depend_on_the_part_of_the_training_rows(two_tasks, tmp_path):
    whole, part = (load(two_tasks, tmp_path, data={"train_fraction": f}) for f in (1.0, 0.6))
    assert part[1].samples == whole[1].samples
    assert len(part[0].samples) < len(whole[0].samples)
