"""One picture with a truth of every kind: flipped, all of it moves together and comes out as the losses take it."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from challenge.manifest import read_manifest
from training.augmentation.task_rules import TaskRules
from training.config import AugmentConfig, DataConfig
from training.data.dataset import Dataset
from training.data.pixels import PixelStore
from training.data.sampling import Draw

WIDTH, HEIGHT, SIZE = 80, 40, 64
TASKS = ("breast_lesion", "breast_2cls", "breast_lesion_det", "fetal_head_biometry")
MASKS, CLASSES, BOXES, POINTS = TASKS
BOX = (10, 5, 30, 25)
ENDS = ((8, 20), (48, 30), (32, 10), (24, 35))
"""Points 1 and 2 ordered by x, 3 and 4 by y."""
PLAIN = AugmentConfig(brightness_contrast=0, noise=0)
ORDERED = TaskRules(point_order="1-2:x, 3-4:y")
RULES = {task_id: TaskRules() for task_id in TASKS[:3]} | {POINTS: ORDERED}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pictures: the first has a row of every task, the second a mask and one missing point alone."""
    root = tmp_path_factory.mktemp("shared")
    for name in ("csv_files", "images", "masks"):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 1
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(root / "images" / f"{name}.png")
        Image.fromarray(mask if name == "a" else mask.T[:HEIGHT].repeat(2, axis=1)).save(root / "masks" / f"{name}.png")
    points = {f"point_{number}_xy": json.dumps(point) for number, point in enumerate(ENDS, 1)}
    masks = {"task_id": MASKS, "task_name": "segmentation", "num_classes": 2}
    ends = {"task_id": POINTS, "task_name": "Regression", "num_classes": 4, **points}
    box = dict(zip(("x_min", "y_min", "x_max", "y_max"), BOX, strict=True))
    second = {"image_path": "../images/b.png"}
    rows = [
        {**masks, "mask_path": "../masks/a.png"},
        {"task_id": CLASSES, "task_name": "classification", "num_classes": 2, "mask": 1},
        {"task_id": BOXES, "task_name": "detection", "num_classes": 1, **box},
        ends,
        {**masks, **second, "mask_path": "../masks/b.png"},
        {**ends, **second, "point_4_xy": ""},
    ]
    columns = ["image_path", *dict.fromkeys(key for row in rows for key in row if key != "image_path")]
    with (root / "csv_files" / "all.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows({"image_path": "../images/a.png", **row} for row in rows)
    return root


@pytest.fixture
def make(folder, tmp_path):
    def dataset(augment=None, joint=True, rules=RULES):
        samples = read_manifest(folder).samples
        store = PixelStore(folder, samples, DataConfig(image_size=SIZE), tmp_path, 10**7)
        return Dataset(samples, store, rules, augment, 0, joint)

    return dataset


def first(task_id):
    return Draw(task_id, (0,), ((0, 0),))


def truth(flipped):
    """Every target on the grid of parts of the image, by hand: flipped, x becomes 1 - x."""
    x0, y0, x1, y1 = BOX[0] / WIDTH, BOX[1] / HEIGHT, BOX[2] / WIDTH, BOX[3] / HEIGHT
    ends = [(x / WIDTH, y / HEIGHT) for x, y in ENDS]
    if flipped:
        x0, x1 = 1 - x1, 1 - x0
        ends = [(1 - x, y) for x, y in ends]
        ends[:2] = ends[1::-1]  # the other one now has the smaller x; 3 and 4 stand in the order of y still
    mask = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    mask[round(y0 * SIZE) : round(y1 * SIZE), round(x0 * SIZE) : round(x1 * SIZE)] = 1
    return {MASKS: mask, CLASSES: torch.tensor(1), BOXES: torch.tensor([x0, y0, x1, y1]),
            POINTS: torch.tensor(ends).flatten()}  # fmt: skip


@pytest.mark.parametrize("drawn", TASKS)
@pytest.mark.parametrize("flipped", [False, True])
def test_every_target_of_a_shared_image_moves_with_it(make, drawn, flipped):
    batch = make(replace(PLAIN, hflip=float(flipped)))[first(drawn)]
    assert next(iter(batch.targets)) == drawn
    expected = truth(flipped)
    assert batch.targets.keys() == expected.keys()
    for task_id, target in batch.targets.items():
        torch.testing.assert_close(target[0], expected[task_id], msg=f"{task_id}: {target[0]}")
    plain = make()[first(drawn)].images
    assert torch.equal(batch.images, plain.flip(-1) if flipped else plain)


def test_a_target_of_one_task_alone_is_the_same(make):
    for task_id, expected in truth(flipped=True).items():
        batch = make(replace(PLAIN, hflip=1.0), joint=False)[first(task_id)]
        assert list(batch.targets) == [task_id]
        torch.testing.assert_close(batch.targets[task_id][0], expected)


def test_what_one_task_forbids_happens_to_none_of_its_image(make):
    forbidding = {**RULES, CLASSES: TaskRules(hflip=False)}
    batch = make(replace(PLAIN, hflip=1.0), rules=forbidding)[first(MASKS)]
    for task_id, target in batch.targets.items():
        torch.testing.assert_close(target[0], truth(flipped=False)[task_id])
    turned = replace(PLAIN, geometry=1.0, max_rotation=20, min_scale=1, max_scale=1, max_shift=0)
    fixed = make(turned, rules={**RULES, CLASSES: TaskRules(max_rotation=0)})[first(MASKS)]
    torch.testing.assert_close(fixed.targets[MASKS][0], truth(flipped=False)[MASKS])


def test_images_without_a_row_of_a_task_hold_zeros_and_are_not_known(make):
    data = make()
    draw = Draw(MASKS, (1, 0), ((0, 0), (0, 1)))
    known = data.known(draw)
    assert known == {MASKS: [0, 1], POINTS: [0, 1], CLASSES: [1], BOXES: [1]}
    batch = data[draw]
    assert [batch.targets[task_id][0].any().item() for task_id in (CLASSES, BOXES)] == [False, False]
    torch.testing.assert_close(batch.targets[BOXES][1], truth(flipped=False)[BOXES])
    for position, row in enumerate(draw.rows):
        assert torch.equal(batch.images[position], data.item(MASKS, row).image)
    assert not torch.equal(batch.images[0], batch.images[1])
    share = data.share(draw, 1, 2)
    assert torch.equal(share.images, batch.images[1:])
    assert list(share.targets) == list(batch.targets)
    torch.testing.assert_close(share.targets[POINTS][0], truth(flipped=False)[POINTS])


def test_turns_are_told_the_proportions_of_the_native_image(make):
    item = make().item(POINTS, 0)
    assert item.aspect == WIDTH / HEIGHT
    assert [type(target).__name__ for target in (item.target, *item.also)] == [
        "KeyPoints", "Mask", "Tensor", "BoundingBoxes",
    ]  # fmt: skip


def test_means_and_counts_of_the_training_rows(make):
    data = make()
    assert data.sizes == {MASKS: 2, CLASSES: 1, BOXES: 1, POINTS: 2}
    assert data.class_counts(CLASSES) == [0, 1]
    assert data.mean_target(BOXES) == pytest.approx([0.125, 0.125, 0.375, 0.625])
    assert data.mean_target(POINTS) == pytest.approx(truth(flipped=False)[POINTS].tolist())  # over those that exist


def test_a_box_that_sticks_out_is_cut_off_at_the_images_edge(make):
    data = make()
    (sample,) = data.samples[BOXES]
    cells = {**sample.cells, "x_min": "-8", "y_min": "-4", "x_max": "100", "y_max": "30"}
    data.samples[BOXES] = [replace(sample, cells=cells)]
    assert data.mean_target(BOXES) == pytest.approx([0, 0, 1, 30 / HEIGHT])
