"""The images of another look are found, whole groups of every label, with all rows of their images."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from unit.training.commands import assert_refused

from challenge.manifest import read_manifest
from training.__main__ import main
from training.data.dev_rows import read_dev_rows
from training.studies.looks import farthest, look, unlike

GROUPS, OTHERS, IMAGES = 20, 6, 2


def picture(rng: np.random.Generator, is_other: bool) -> np.ndarray:
    """Fine speckle, or a smooth and dark one in a wide picture."""
    if not is_other:
        return rng.integers(20, 220, (80, 90), np.uint8)
    coarse = Image.fromarray(rng.integers(0, 90, (8, 12), np.uint8))
    return np.asarray(coarse.resize((120, 80), Image.Resampling.BICUBIC))


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    """GROUPS groups of IMAGES images with a class, OTHERS of them of another look; the same images have masks."""
    folder, rng = tmp_path / "data", np.random.default_rng(4)
    for name in ("csv_files", "images", "masks"):
        (folder / name).mkdir(parents=True)
    classes, masks = [], []
    for group in range(GROUPS):
        for number in range(IMAGES):
            name, is_other = f"{group}-{number}.png", group < OTHERS
            pixels = picture(rng, is_other)
            Image.fromarray(pixels).save(folder / "images" / name)
            Image.fromarray((pixels > 90).astype(np.uint8)).save(folder / "masks" / name)
            classes.append((f"../images/{name}", group % 2, "", "breast_2cls", "classification", 2, f"patient {group}"))
            masks.append((f"../images/{name}", "", f"../masks/{name}", "breast_lesion", "segmentation", 2, ""))
    columns = ("image_path", "mask", "mask_path", "task_id", "task_name", "num_classes", "group")
    for name, rows in (("classes", classes), ("masks", masks)):
        with (folder / "csv_files" / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([columns, *rows])
    return folder


def test_images_of_another_look_are_held_out_with_all_their_rows(hospitals: Path) -> None:
    samples = read_manifest(hospitals).samples
    held = unlike(hospitals, samples, "breast_2cls", OTHERS / GROUPS)
    expected = {f"../images/{group}-{number}.png" for group in range(OTHERS) for number in range(IMAGES)}
    assert {sample.image_path for sample in held} == expected
    assert sorted(sample.task_id for sample in held) == ["breast_2cls"] * 12 + ["breast_lesion"] * 12


def test_every_label_gives_its_share(hospitals: Path) -> None:
    """Label 1 would give nothing if it never looked unlike the others."""
    table = hospitals / "csv_files" / "classes.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    for cells in rows[1:]:
        cells[1] = "0" if int(cells[-1].split()[1]) < 10 else "1"
    table.write_text("\n".join(",".join(cells) for cells in rows) + "\n")
    held = unlike(hospitals, read_manifest(hospitals).samples, "breast_2cls", 0.3)
    groups = {(sample.group, sample.cells["mask"]) for sample in held if sample.task_id == "breast_2cls"}
    assert [label for _, label in groups].count("0") == [label for _, label in groups].count("1") == 3


def test_the_longer_tail_is_held_out() -> None:
    looks = np.random.default_rng(1).normal(0, 1, (50, 6))
    looks[:5] += 8
    for mirrored in (looks, -looks):
        assert set(np.argsort(-farthest(mirrored))[:5]) == set(range(5))
    assert np.isfinite(farthest(np.ones((4, 3)))).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (900, 2), (64, 64)])
def test_any_size_has_a_look(shape: tuple[int, int]) -> None:
    numbers = look(np.full((*shape, 3), 9, np.uint8))
    assert np.isfinite(numbers).all()
    assert len(numbers) == len(look(np.zeros((100, 80, 3), np.uint8)))


def test_the_command_writes_rows_that_train_reads(hospitals: Path, tmp_path: Path) -> None:
    output = tmp_path / "looks"
    command = ["looks", "--data-root", str(hospitals), "--task", "breast_2cls", "--output", str(output)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "12 images with 24 rows" in result.output
    assert len(read_dev_rows(output / "dev_rows.csv")) == 24
    assert Image.open(output / "looks.png").size[0] > 100


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--task", "breast_3cls"), "no row of the data is of the task breast_3cls"),
        (("--task", "breast_2cls", "--share", "0.9"), "0.9"),
        (("--task", "breast_2cls", "--share", "nan"), "nan"),
        (("--task", "breast_2cls", "--output", "data/looks"), "data"),
    ],
)
def test_refused(hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["looks", "--data-root", "data", "--output", "out", *more])
    assert_refused(result, said)
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_missing_is_named(hospitals: Path, tmp_path: Path) -> None:
    (hospitals / "images" / "3-1.png").unlink()
    command = ["looks", "--data-root", str(hospitals), "--task", "breast_2cls", "--output", str(tmp_path / "out")]
    assert_refused(CliRunner().invoke(main, command), r"3-1\.png.*inspect --fix")


def test_too_few_groups_are_refused(hospitals: Path, tmp_path: Path) -> None:
    table = hospitals / "csv_files" / "classes.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:7]) + "\n")
    command = ["looks", "--data-root", str(hospitals), "--task", "breast_2cls", "--output", str(tmp_path / "out")]
    assert_refused(CliRunner().invoke(main, command), "2 groups of label 0, too few")
