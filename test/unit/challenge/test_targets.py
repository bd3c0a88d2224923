import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ManifestError
from challenge.manifest import Row, Sample, read_manifest
from challenge.masks.true_masks import read_true_mask
from challenge.targets import box, label, points
from challenge.tasks import TaskKind


def sample(kind: TaskKind = TaskKind.CLASSIFICATION, num_classes: int = 3, **cells: str) -> Sample:
    return Sample("a.png", "task", kind, num_classes, Row("a.csv", 7), None, cells)


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("2", 2), (" 1 ", 1), ("2.0", 2)])
def test_labels(text: str, expected: int) -> None:
    assert label(sample(mask=text)) == expected


@pytest.mark.parametrize(
    "cells", [{}, {"mask": ""}, {"mask": "NaN"}, {"mask": " none "}, {"mask": "NA"}, {"mask": "n/a"}]
)
def test_absent_labels(cells: dict[str, str]) -> None:
    assert label(sample(**cells)) is None


@pytest.mark.parametrize("text", ["3", "-1", "1.5", "benign", "inf"])
def test_malformed_labels(text: str) -> None:
    with pytest.raises(ManifestError, match=r"a.csv, line 7: the label .* is not a class in 0..2"):
        label(sample(mask=text))


def test_boxes() -> None:
    cells = {"x_min": "1", "y_min": "2.5", "x_max": "30", "y_max": " 40.25"}
    assert box(sample(**cells)) == (1, 2.5, 30, 40.25)
    assert box(sample(**cells | {"y_min": ""})) is None
    assert box(sample(**cells | {"y_min": "nan"})) is None
    assert box(sample(**cells | {"y_min": "inf"})) is None
    assert box(sample()) is None
    with pytest.raises(ManifestError, match=r"a.csv, line 7: the box .* is not four numbers"):
        box(sample(**cells | {"x_max": "wide"}))


def test_points_keep_their_place_when_one_is_missing() -> None:
    row = sample(TaskKind.REGRESSION, 4, point_1_xy="[1, 2.5]", point_3_xy="[NaN, 1]", point_4_xy=" [3e1, -4] ")
    assert points(row) == [(1, 2.5), None, None, (30, -4)]


@pytest.mark.parametrize("text", ["[1]", "[1, 2, 3]", "1, 2", "[1, null]", '{"1": 0, "2": 0}', '"12"', "7", "(1, 2)",
                                  "[true, 1]", f"[{'9' * 400}, 1]", "[" * 100_000])  # fmt: skip
def test_malformed_points(text: str) -> None:
    with pytest.raises(ManifestError, match=r"a.csv, line 7: point_2_xy .* is not JSON \[x, y\]"):
        points(sample(TaskKind.REGRESSION, 2, point_1_xy="[0, 0]", point_2_xy=text))


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        (sample(mask="1,0"), "'1,0' has a decimal comma; write 1.0"),
        (sample(x_min="1", y_min="2", x_max="-12,50", y_max="4"), "'-12,50' has a decimal comma; write -12.50"),
        (sample(x_min="1", y_min="2", x_max="1,050", y_max="4"), "'1,050' has a comma; write 1050 or 1.050"),
        (sample(TaskKind.REGRESSION, 1, point_1_xy="[12,5, 3,5]"), "'12,5' has a decimal comma; write 12.5"),
    ],
)
def test_a_decimal_comma_is_named(row: Sample, hint: str) -> None:
    with pytest.raises(ManifestError, match=f"a.csv, line 7: .*: {hint}$"):
        (label(row), box(row), points(row))


def test_every_phantom_row_has_its_truth(phantom_folder: Path) -> None:
    for row in read_manifest(phantom_folder).samples:
        match row.kind:
            case TaskKind.SEGMENTATION:
                assert row.mask_file is not None
                mask = read_true_mask(phantom_folder / row.mask_file, row.num_classes)
                with Image.open(phantom_folder / row.mask_file) as stored:
                    np.testing.assert_array_equal(mask.labels, np.asarray(stored))
                assert not mask.notes
            case TaskKind.CLASSIFICATION:
                assert label(row) is not None
            case TaskKind.DETECTION:
                x_min, y_min, x_max, y_max = box(row) or (math.nan,) * 4
                assert x_min < x_max
                assert y_min < y_max
            case TaskKind.REGRESSION:
                assert None not in points(row)
