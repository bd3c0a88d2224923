import json
import os
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from challenge.manifest import Row, Sample
from challenge.predictions import BlankMask, BoxPrediction, ClassPrediction, MaskPrediction, PointsPrediction
from challenge.tasks import TaskKind
from challenge.writers import entry, write_json, write_mask


def sample(kind, line=2, mask_file=None):
    return Sample("../ü (1).png", "a_task", kind, 2, Row("a.csv", line), mask_file)


def test_json_files_are_always_three_and_keep_the_order(tmp_path):
    answers = [
        (sample(TaskKind.REGRESSION, 2), PointsPrediction((1.0, 2.0), (0.1, 0.2))),
        (sample(TaskKind.CLASSIFICATION, 3), ClassPrediction((0.25, 0.75), 1)),
        (sample(TaskKind.CLASSIFICATION, 4), ClassPrediction((1 / 3, 2 / 3), 1)),
    ]
    write_json(tmp_path, lambda kind: [entry(s, prediction) for s, prediction in answers if s.kind is kind])
    assert sorted(os.listdir(tmp_path)) == [
        "classification_predictions.json", "detection_predictions.json", "regression_predictions.json"]  # fmt: skip
    classes = json.loads((tmp_path / "classification_predictions.json").read_text("utf-8"))
    assert [item["predicted_probs"] for item in classes] == [[0.25, 0.75], [1 / 3, 2 / 3]]
    assert classes[0]["image_path"] == "../ü (1).png"
    assert json.loads((tmp_path / "detection_predictions.json").read_text()) == []
    points = json.loads((tmp_path / "regression_predictions.json").read_text())
    assert points[0]["predicted_points_pixels"] == [1.0, 2.0]


def test_nan_never_reaches_a_file(tmp_path):
    nan = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path, lambda _: [entry(sample(TaskKind.DETECTION), BoxPrediction((nan,) * 4, (nan,) * 4))])
    assert "detection_predictions.json" not in os.listdir(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".partial")]


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp"])
def test_masks_are_lossless_whatever_the_ending(tmp_path, ending):
    labels = np.random.default_rng(0).integers(0, 5, (33, 71), dtype=np.uint8)
    write_mask(
        tmp_path, sample(TaskKind.SEGMENTATION, mask_file=PurePosixPath("a/b", f"m.{ending}")), MaskPrediction(labels)
    )
    with Image.open(tmp_path / f"a/b/m.{ending}") as image:
        np.testing.assert_array_equal(np.asarray(image), labels)


@pytest.mark.parametrize("size", [(1, 1), (1500, 3), (7, 4000)])
def test_blank_mask_is_a_valid_png_of_zeros(tmp_path, size):
    write_mask(tmp_path, sample(TaskKind.SEGMENTATION, mask_file=PurePosixPath("m.png")), BlankMask(*size))
    with Image.open(tmp_path / "m.png") as image:
        image.load()
        assert (image.size, image.mode, image.getextrema()) == (size, "L", (0, 0))
