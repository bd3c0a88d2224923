"""What augmentation may do to a task, and point orders."""

import math

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from training.augmentation.augment import Item, train_preset
from training.augmentation.point_order import follows, in_order
from training.augmentation.settings import AugmentConfig
from training.augmentation.task_rules import PointPair, TaskRules, parse_point_order, rules_of

BIOMETRY = TaskSpec("fetal_head_biometry", TaskKind.REGRESSION, 4)


def test_no_task_is_flipped_where_the_side_is_the_label():
    for task_id in ("fetal_head_pos_cls", "fetal_sacral_pos_cls"):
        rules = rules_of(CATALOGUE[task_id])
        assert not rules.hflip
        assert rules.max_rotation < 22.5  # half a sector of 45 degrees would turn one label into the next


def test_no_task_is_flipped_upside_down():
    assert not any(rules_of(spec).vflip for spec in CATALOGUE.values())


def test_an_unknown_task_follows_its_kind():
    assert rules_of(TaskSpec("mine", TaskKind.SEGMENTATION, 2)).hflip
    assert not rules_of(TaskSpec("mine", TaskKind.REGRESSION, 2)).hflip
    # The box of a turned object can only be estimated from its box.
    assert rules_of(TaskSpec("mine", TaskKind.DETECTION, 1)).max_rotation <= 10


@pytest.mark.parametrize("degrees", [-51, 51])
def test_the_points_of_iugc_keep_their_order_however_they_are_moved(degrees):
    turn = math.radians(degrees)
    arm = 20 * np.array([math.cos(turn), math.sin(turn)])
    points = np.array([[70 - arm[0], 50 - arm[1]], [70 + arm[0], 50 + arm[1]], [165, 95]])
    image = tv_tensors.Image(torch.zeros(3, 256, 256, dtype=torch.uint8))
    config = AugmentConfig(geometry=1.0, max_rotation=180.0, hflip=1.0, brightness_contrast=0.0, noise=0.0)
    for seed in range(40):
        target = tv_tensors.KeyPoints(torch.tensor(points, dtype=torch.float32), canvas_size=(256, 256))
        rng = np.random.default_rng(seed)
        moved = train_preset(Item(image, target), rules_of(CATALOGUE["IUGC"]), config, rng).target
        assert moved[0, 0] < moved[1, 0]
        assert moved[2, 0] > moved[1, 0]


def test_an_image_with_several_tasks_is_moved_as_all_of_them_allow():
    strict = TaskRules(hflip=False, vflip=True, max_rotation=5.0, point_order="1-2:x")
    both = TaskRules(vflip=False, max_rotation=20.0).and_also(strict)
    assert both == TaskRules(hflip=False, vflip=False, max_rotation=5.0)
    assert strict.and_also(TaskRules()).point_order == "1-2:x"


def test_the_config_overrides_single_rules():
    rules = rules_of(CATALOGUE["fetal_head_pos_cls"], {"fetal_head_pos_cls": {"max_rotation": 3}})
    assert (rules.hflip, rules.max_rotation) == (False, 3.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"hflp": True}, r"'tasks.FUGC.hflp' \(did you mean 'hflip'\?\)"),
        ({"hflip": "yes"}, "'tasks.FUGC.hflip' must be true or false"),
        ({"point_order": "1-3:x"}, "names a point that FUGC does not have"),
        ({"point_order": "1-2:z"}, "is not like 1-2:x"),
        ({"point_order": "1-1:x"}, "is not like 1-2:x"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(UserError, match=message):
        rules_of(CATALOGUE["FUGC"], {"FUGC": override})


def test_point_order_is_parsed():
    assert parse_point_order("1-2:x, 3-4:y") == (PointPair(0, 1, 0), PointPair(2, 3, 1))
    assert parse_point_order("") == ()


def test_points_are_put_into_order():
    points = tv_tensors.KeyPoints(torch.tensor([[9.0, 0], [1, 5], [4, 8], [4, 2]]), canvas_size=(10, 10))
    ordered = in_order(points, rules_of(BIOMETRY).pairs)
    assert ordered.tolist() == [[1, 5], [9, 0], [4, 2], [4, 8]]
    assert not follows([tuple(p) for p in points.tolist()], rules_of(BIOMETRY).pairs)
    assert follows([tuple(p) for p in ordered.tolist()], rules_of(BIOMETRY).pairs)


def test_each_pair_is_compared_along_its_own_axis():
    # Both pairs stand in order, though the second point's other coordinate is the smaller one.
    points = tv_tensors.KeyPoints(torch.tensor([[5.0, 9], [6, 1], [2, 6], [1, 8]]), canvas_size=(10, 10))
    assert in_order(points, rules_of(BIOMETRY).pairs).tolist() == points.tolist()
    assert in_order(points.flip(0), rules_of(BIOMETRY).pairs).tolist() == [[1, 8], [2, 6], [6, 1], [5, 9]]


def test_a_missing_point_leaves_its_pair_alone():
    nan = float("nan")
    points = tv_tensors.KeyPoints(torch.tensor([[9.0, 0], [nan, nan], [4, 8], [4, 2]]), canvas_size=(10, 10))
    ordered = in_order(points, rules_of(BIOMETRY).pairs)
    assert ordered[0].tolist() == [9, 0]
    assert ordered[2].tolist() == [4, 2]
    assert follows([(9, 0), None, (4, 2), (4, 8)], rules_of(BIOMETRY).pairs)
