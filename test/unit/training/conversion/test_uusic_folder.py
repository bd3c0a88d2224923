"""UUSIC 2025's training folder as data folders: heads, class indices, lists, links, and a fold that trains."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from unit.training.recipes import parts_of, tiny_config

from challenge.errors import ManifestError, UserError
from challenge.manifest import read_manifest
from challenge.masks.true_masks import read_true_mask
from challenge.paths import find_image
from challenge.targets import label
from challenge.tasks import TaskKind
from training.__main__ import main
from training.config import from_dict
from training.conversion.uusic_folder import convert_uusic
from training.data.rows import DataSource
from training.toml_tables import read_table


def draw(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def source(tmp_path):
    """Two segmentation sets, one of them without lists, and two classification sets."""
    root, rng = tmp_path / "uusic", np.random.default_rng(0)
    for name in ("BUSI", "private_Kidney"):
        for number in range(4):
            image, mask = rng.integers(0, 255, (30, 40)), np.zeros((30, 40))
            mask[5 : 10 + number, 5:20] = 255 if name == "BUSI" else 1
            draw(root / "segmentation" / name / "imgs" / f"{number}.png", image)
            draw(root / "segmentation" / name / "masks" / f"{number}.png", mask)
    for name, classes in (("BUSI", 2), ("private_Breast_luminal", 4)):
        for number in range(4):
            draw(root / "classification" / name / str(number % classes) / f"{number}.png", rng.integers(0, 255, (9, 9)))
    write_list(root / "segmentation/BUSI/train.txt", "0.png", "1.png", "", "3.png")
    write_list(root / "segmentation/BUSI/val.txt", "2.png")
    write_list(root / "classification/BUSI/train.txt", "0/0.png", "1/1.png", "0/2.png", "1/3.png")
    return root


def write_list(path, *names):
    path.write_text("\n".join(names) + "\n")


def test_rows_of_every_list_with_their_heads(source, tmp_path):
    assert convert_uusic(source, tmp_path / "out") == {"train": 3 + 4 + 4 + 4, "val": 1}
    samples = read_manifest(tmp_path / "out" / "train").samples
    tasks = [(sample.task_id, sample.num_classes) for sample in samples]
    assert {task: tasks.count(task) for task in tasks} == {
        ("breast_2cls", 2): 4, ("breast_luminal_4cls", 4): 4, ("breast_lesion", 2): 3, ("kidney", 2): 4,
    }  # fmt: skip
    assert [label(s) for s in samples if s.task_id == "breast_luminal_4cls"] == [0, 1, 2, 3]


@pytest.mark.parametrize("copy", [False, True])
def test_images_are_reached_and_masks_hold_class_indices(source, tmp_path, copy):
    convert_uusic(source, tmp_path / "out", copy=copy)
    train = tmp_path / "out" / "train"
    assert (train / "images").is_symlink() is not copy
    for sample in read_manifest(train).samples:
        below = sample.image_path.removeprefix("../images/")
        assert find_image(train, sample.image_path).read_bytes() == (source / below).read_bytes()
        if sample.kind is TaskKind.SEGMENTATION:
            found = read_true_mask(train / sample.mask_file, 2)
            theirs = read_true_mask(source / below.replace("imgs", "masks"), 2).labels
            np.testing.assert_array_equal(found.labels, theirs)
            assert not found.notes
            assert found.labels.any()


def test_what_is_written_trains(source, tmp_path):
    convert_uusic(source, tmp_path / "out")
    train, dev = parts_of(
        DataSource(tmp_path / "out" / "train", tmp_path / "cache", tmp_path / "out" / "val"), tiny_config()
    )
    assert (len(train.samples), len(dev.samples)) == (15, 1)


def test_prompts_of_new_heads_can_be_pasted_into_a_recipe(source, tmp_path):
    convert_uusic(source, tmp_path / "out")
    recipe = from_dict(read_table(tmp_path / "out" / "profiles.toml"))
    assert recipe.system.options["profiles"] == {
        "breast_luminal_4cls": {"position": "breast", "nature": "tumour"},
        "kidney": {"position": "kidney", "nature": "organ"},
    }


def test_converting_again_gives_the_same(source, tmp_path):
    assert convert_uusic(source, tmp_path / "out") == convert_uusic(source, tmp_path / "out")


def test_lists_that_cannot_be_used_name_file_and_line(source, tmp_path):
    write_list(source / "segmentation/BUSI/val.txt", "2.png", "9.png")
    with pytest.raises(ManifestError, match=r"val.txt, line 2: there is no file segmentation/BUSI/imgs/9.png"):
        convert_uusic(source, tmp_path / "out")
    write_list(source / "segmentation/BUSI/val.txt", "2.png")
    write_list(source / "classification/BUSI/train.txt", "benign/0.png")
    with pytest.raises(ManifestError, match=r"train.txt, line 1: 'benign/0.png' does not begin with the folder of a"):
        convert_uusic(source, tmp_path / "out")
    (source / "classification/BUSI/train.txt").unlink()
    draw(source / "classification/BUSI/2/x.png", np.zeros((4, 4)))
    with pytest.raises(ManifestError, match=r"the class 2 is none of breast_2cls's 2"):
        convert_uusic(source, tmp_path / "out")


def test_a_mask_that_does_not_tell_its_foreground_is_named(source, tmp_path):
    draw(source / "segmentation/BUSI/masks/0.png", np.arange(30 * 40).reshape(30, 40) % 255)
    with pytest.raises(UserError, match=r"segmentation/BUSI/masks/0.png: 0.png: the mask holds 0, 1, 2, .*; repair or"):
        convert_uusic(source, tmp_path / "out")


def test_unknown_sets_and_other_folders_are_refused(source, tmp_path):
    (source / "segmentation/BUSI").rename(source / "segmentation/Spleen_US")
    with pytest.raises(UserError, match="no segmentation is known for the data set 'Spleen_US'"):
        convert_uusic(source, tmp_path / "out")
    with pytest.raises(UserError, match="neither segmentation/NAME nor classification/NAME"):
        convert_uusic(tmp_path / "none", tmp_path / "out")


def test_command(source, tmp_path):
    done = CliRunner().invoke(
        main, ["convert-uusic", "--data-root", str(source), "--output", str(tmp_path / "out"), "--copy"]
    )
    assert (done.exit_code, "15 rows in" in done.output) == (0, True)
