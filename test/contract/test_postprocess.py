"""`--postprocess` does what the weights recommend, up to the level asked for; `--resume` needs the same level."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from inference import main
from model.frozen.options import Options
from model.frozen.outputs.postprocess import Postprocess, largest_component_of

ROWS = (("organ_cls", "classification", "6"), ("thyroid_nodule_det", "detection", "1"), ("IUGC", "Regression", "3"))


@pytest.fixture(scope="module")
def capable_weights(tiny_weights, tmp_path_factory):
    """The tiny weights, with all that can be done for four tasks."""
    folder = tmp_path_factory.mktemp("refined") / "weights"
    shutil.copytree(tiny_weights, folder)
    metadata = json.loads((folder / "weights.json").read_text())
    for task_id, _, _ in ROWS:
        metadata["tasks"][task_id]["postprocessing"] = {"flip": True}
    metadata["tasks"]["lung"]["postprocessing"] = {"largest_component": True, "fill_holes": True}
    metadata["tasks"]["IUGC"]["postprocessing"]["point_order"] = [1, 0, 2]
    (folder / "weights.json").write_text(json.dumps(metadata))
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


def test_an_image_and_its_mirror_image_get_mirrored_answers(mirrored, call, capable_weights):
    answers = call(mirrored, "--postprocess", "flip", weights=capable_weights).answers
    one, other = ({row: answers[f"../images/{side}.png", row[0]] for row in ROWS} for side in ("one", "other"))
    classes, box, points = ROWS
    np.testing.assert_allclose(one[classes]["predicted_probs"], other[classes]["predicted_probs"], rtol=1e-4)
    x0, y0, x1, y1 = one[box]["bbox_pixels"]
    np.testing.assert_allclose(other[box]["bbox_pixels"], (256 - x1, y0, 256 - x0, y1), atol=0.01)
    there = np.reshape(one[points]["predicted_points_pixels"], (-1, 2))
    here = np.reshape(other[points]["predicted_points_pixels"], (-1, 2))
    np.testing.assert_allclose(here[[1, 0, 2]], np.abs((256, 0) - there), atol=0.01)


def test_masks_are_cleaned_only_on_request(data, call, capable_weights):
    masks = {}
    for level in ("none", "masks"):
        (data.root / "out").mkdir(exist_ok=True)
        ended = call(data.root, "--postprocess", level, weights=capable_weights, output=data.root / level)
        masks[level] = np.asarray(Image.open(data.root / level / "Segmentation" / "good 0.png")) > 0
        assert ended.code == 0
    assert (masks["none"] & ~largest_component_of(masks["none"])).any()
    assert masks["masks"].sum() != masks["none"].sum()
    default = call(data.root, weights=capable_weights, output=data.root / "default")
    assert default.answers == call(data.root, "--postprocess", "none", weights=capable_weights).answers


def test_weights_that_say_nothing_answer_as_before(data, call):
    plain, flip = (call(data.root, "--postprocess", level).answers for level in ("none", "flip"))
    assert plain == flip


def test_a_run_is_not_gone_on_with_otherwise(data, call, tmp_path):
    call(data.root, "--num-parts", 2, "--part-id", 0, "--postprocess", "none")
    ended = call(data.root, "--num-parts", 2, "--part-id", 0, "--postprocess", "flip", "--resume")
    assert ended.code == 2
    assert "postprocess is none there and flip here" in ended.last_line


def test_the_old_option_names_the_new_one():
    ended = CliRunner().invoke(main, ["--refine", "mirror"])
    assert ended.exit_code == 2
    assert ended.output.splitlines()[-1] == "Error: --refine is now --postprocess, and its value mirror is now flip"


def test_the_environment_sets_the_level_where_no_option_does(data, call, capable_weights, monkeypatch):
    monkeypatch.setenv("FMC_UIA_POSTPROCESS", "masks")
    assert call(data.root, weights=capable_weights).report["postprocess"] == "masks"
    assert Options(capable_weights).postprocess is Postprocess.MASKS
    assert call(data.root, "--postprocess", "auto", weights=capable_weights).report["postprocess"] == "none"
    monkeypatch.setenv("FMC_UIA_POSTPROCESS", "everything")
    done = CliRunner().invoke(main, ["--list-tasks"])
    assert done.exit_code == 2
    assert "'everything' is not one of" in done.output
