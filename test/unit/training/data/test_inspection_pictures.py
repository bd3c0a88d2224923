"""The pictures of `inspect`: outlines that do not hide each other, and legends."""

import numpy as np
import pytest
from phantoms import write_folder
from PIL import Image

from challenge.class_names import ClassNames
from challenge.errors import UserError
from challenge.masks.true_masks import read_true_mask
from challenge.paths import find_image
from challenge.predictions import MaskPrediction
from challenge.tasks import TaskKind
from evaluate.pages.overlays import class_colour, overlay
from training.inspection import inspect_folder
from training.inspection.pictures import _keys, draw

TASKS = ("fetal_abdomen_multi", "breast_2cls", "breast_lesion_det", "fetal_head_biometry")


@pytest.fixture(scope="module")
def inspection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_folder(folder, per_task=2, only=TASKS)
    return inspect_folder(folder)


def near(picture, colour):
    """How many pixels have about that colour."""
    return (np.abs(np.asarray(picture.convert("RGB")).astype(int) - colour).max(axis=2) <= 25).sum()


def test_every_class_of_a_mask_is_seen_in_its_sheet(inspection, tmp_path):
    paths = draw(inspection, tmp_path)
    assert {path.stem for path in paths} == {"overview", *TASKS}
    with Image.open(tmp_path / "fetal_abdomen_multi.png") as sheet:
        assert all(near(sheet, class_colour(index)) > 100 for index in range(1, 5))


def test_neighbours_keep_their_outlines(inspection):
    """Outlines lie inside their shapes: where two classes touch, each still has its own colour."""
    labels = np.zeros((100, 200), np.uint8)
    labels[20:80, 20:100], labels[20:80, 100:180] = 1, 2
    picture = overlay(Image.new("L", (200, 100), 90), MaskPrediction(labels), side=400)
    border = picture.crop((190, 80, 210, 120))
    assert near(border, class_colour(1)) > 40
    assert near(border, class_colour(2)) > 40
    sample = next(sample for sample in inspection.facts if sample.kind is TaskKind.SEGMENTATION)
    true = read_true_mask(find_image(inspection.data_root, str(sample.mask_file)), sample.num_classes).labels
    assert set(np.unique(true)) == set(range(5))


@pytest.mark.parametrize(
    ("kind", "names", "labels"),
    [
        (TaskKind.SEGMENTATION, ("background", "LV", "wall"), ["LV", "wall"]),
        (TaskKind.CLASSIFICATION, ("benign", "malignant"), []),
        (TaskKind.DETECTION, ("lesion",), ["true box"]),
        (TaskKind.REGRESSION, ("A", "B", "C"), ["A and B", "C"]),
    ],
)
def test_a_legend_names_every_colour(kind, names, labels):
    keys = _keys(kind, names)
    assert [key.get_label() for key in keys] == labels
    assert len({key.get_facecolor() for key in keys}) == len(labels)


def test_names_that_do_not_fit_are_refused(inspection, tmp_path):
    with pytest.raises(UserError, match="breast_2cls has 2 classes, but 1 names"):
        draw(inspection, tmp_path / "out", ClassNames({"breast_2cls": ("benign",)}))
    assert not (tmp_path / "out").exists()
