"""`--refine`: what the weights say a task gains by is done, no more than was asked for, and recorded for --resume."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from model.frozen.refine import largest_piece

ROWS = (("organ_cls", "classification", "6"), ("thyroid_nodule_det", "detection", "1"), ("IUGC", "Regression", "3"))


@pytest.fixture(scope="module")
def refined_weights(tiny_weights, tmp_path_factory):
    """The tiny weights, with all that can be done for four tasks."""
    folder = tmp_path_factory.mktemp("refined") / "weights"
    shutil.copytree(tiny_weights, folder)
    facts = json.loads((folder / "weights.json").read_text())
    for task_id, _, _ in ROWS:
        facts["tasks"][task_id]["refine"] = {"mirror": True}
    facts["tasks"]["lung"]["refine"] = {"one_piece": True, "fill_holes": True}
    facts["tasks"]["IUGC"]["refine"]["point_order"] = [1, 0, 2]
    (folder / "weights.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def mirrored(data):
    """The data folder with `good 0.png` from both sides, on the network's own grid."""
    with Image.open(data.root / "images" / "good 0.png") as image:
        whole = image.resize((256, 256))
    whole.save(data.root / "images" / "one.png")
    whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(data.root / "images" / "other.png")
    data.add(*((f"../images/{side}.png", *row, "") for side in ("one", "other") for row in ROWS))
    return data.root


def test_an_image_and_its_mirror_image_get_mirrored_answers(mirrored, call, refined_weights):
    answers = call(mirrored, "--refine", "mirror", weights=refined_weights).answers
    one, other = ({row: answers[f"../images/{side}.png", row[0]] for row in ROWS} for side in ("one", "other"))
    classes, box, points = ROWS
    np.testing.assert_allclose(one[classes]["predicted_probs"], other[classes]["predicted_probs"], rtol=1e-4)
    x0, y0, x1, y1 = one[box]["bbox_pixels"]
    np.testing.assert_allclose(other[box]["bbox_pixels"], (256 - x1, y0, 256 - x0, y1), atol=0.01)
    there = np.reshape(one[points]["predicted_points_pixels"], (-1, 2))
    here = np.reshape(other[points]["predicted_points_pixels"], (-1, 2))
    np.testing.assert_allclose(here[[1, 0, 2]], np.abs((256, 0) - there), atol=0.01)


def test_masks_are_tidied_on_request_alone(data, call, refined_weights):
    pieces = {}
    for level in ("none", "masks"):
        (data.root / "out").mkdir(exist_ok=True)
        ended = call(data.root, "--refine", level, weights=refined_weights, output=data.root / level)
        pieces[level] = np.asarray(Image.open(data.root / level / "Segmentation" / "good 0.png")) > 0
        assert ended.code == 0
    assert (pieces["none"] & ~largest_piece(pieces["none"])).any()
    assert pieces["masks"].sum() != pieces["none"].sum()
    default = call(data.root, weights=refined_weights, output=data.root / "default")
    assert default.answers == call(data.root, "--refine", "none", weights=refined_weights).answers


def test_weights_that_say_nothing_answer_as_before(data, call):
    plain, mirror = (call(data.root, "--refine", level).answers for level in ("none", "mirror"))
    assert plain == mirror


def test_a_run_is_not_gone_on_with_otherwise(data, call, tmp_path):
    call(data.root, "--num-parts", 2, "--part-id", 0, "--refine", "none")
    ended = call(data.root, "--num-parts", 2, "--part-id", 0, "--refine", "mirror", "--resume")
    assert ended.code == 2
    assert "refine is none there and mirror here" in ended.last_line
