"""A phantom data folder in UUSIC's layout: one row per answerable row, whose truth is the original's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms import write_folder
from PIL import Image

from challenge.masks.true_masks import read_true_mask
from challenge.tasks import CATALOGUE
from challenge.uusic.manifest import read_list
from evaluate.uusic_folder import write_uusic_folder

TASKS = ("breast_lesion", "breast_2cls", "cardiac_multi", "organ_cls")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, int]]:
    """The phantom folder, its counterpart, and the counts that were returned."""
    data, output = tmp_path_factory.mktemp("phantoms"), tmp_path_factory.mktemp("uusic")
    write_folder(data, seed=2, per_task=3, only=TASKS)
    return data, output, dict(write_uusic_folder(data, output, "test"))


def rows(output: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((output / name).read_text("utf-8"))
    return found


def test_only_rows_that_both_challenges_ask_for(made: tuple[Path, Path, dict[str, int]]) -> None:
    _, output, counts = made
    assert counts == {"Breast/classification": 3, "Breast/segmentation": 3, "Cardiac/segmentation": 3}
    samples = read_list(output / "list.json", CATALOGUE).samples
    assert {sample.task_id for sample in samples} == {"breast_lesion", "breast_2cls", "cardiac_multi"}
    assert not any(sample.note for sample in samples)


def test_the_truth_stands_in_one_list_alone(made: tuple[Path, Path, dict[str, int]]) -> None:
    _, output, _ = made
    asked, truth = rows(output, "list.json"), rows(output, "truth.json")
    assert all(set(row) == {"img_path_relative", "task", "dataset_name", "organ"} for row in asked)
    assert [{key: row[key] for key in asked[0]} for row in truth] == asked
    assert all(("label" in row) != ("mask_path_relative" in row) for row in truth)


def test_images_are_copies_and_masks_are_0_and_255_of_their_size(made: tuple[Path, Path, dict[str, int]]) -> None:
    data, output, _ = made
    originals = {path.read_bytes() for path in data.rglob("*") if path.is_file()}
    for row in rows(output, "truth.json"):
        image = output / row["img_path_relative"]
        assert image.read_bytes() in originals
        if "mask_path_relative" in row:
            with Image.open(output / row["mask_path_relative"]) as opened:
                mask = np.asarray(opened)
            assert set(np.unique(mask)) == {0, 255}
            read_true_mask(output / row["mask_path_relative"], 2)  # raises if it does not tell its foreground
            with Image.open(image) as opened:
                assert opened.size == mask.shape[::-1]


def test_lists_name_the_files(made: tuple[Path, Path, dict[str, int]]) -> None:
    _, output, counts = made
    for name, number in counts.items():
        dataset, kind = name.split("/")
        names = (output / kind / dataset / "test.txt").read_text().split("\n")[:-1]
        base = output / kind / dataset / ("imgs" if kind == "segmentation" else "")
        assert len([line for line in names if (base / line).is_file()]) == number
