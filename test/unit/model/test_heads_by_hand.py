"""Each head's output for features whose answer is known, and its initial state."""

import pytest
import torch
from torch import nn

from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from model.networks.heads.dense import Adapter, BoxHead, HeatmapHead, MapHead, cell_centres, mean_box, soft_argmax
from model.networks.heads.ellipse import EllipseHead
from model.networks.heads.pooled import (
    OBJECT_PRIOR,
    ClassificationHead,
    DetectionHead,
    RegressionHead,
    SegmentationHead,
    make_head,
)
from model.networks.systems.uniseg import FirstClasses


def says(layer, *values):
    """Make a layer return the same numbers for any input."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(values))


FEATURES = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def test_masks_are_enlarged_from_corner_to_corner():
    head = SegmentationHead(1, 2)
    with torch.no_grad():
        head.classify.weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
        head.classify.bias.copy_(torch.tensor([0.0, 3.0]))
    logits = head(torch.tensor([[[[0.0, 7.0], [14.0, 21.0]]]]))
    assert logits.shape == (1, 2, 8, 8)
    torch.testing.assert_close(logits[0, 0, 0], torch.arange(8.0))  # a row from 0 to 7
    torch.testing.assert_close(logits[0, 0, :, 0], 2 * torch.arange(8.0))
    torch.testing.assert_close(logits[0, 1], 3 - 2 * logits[0, 0])


def test_classes_and_points_see_the_mean_of_each_channel():
    features = torch.arange(24.0).view(1, 2, 3, 4)  # channel means 5.5 and 17.5
    classes, points = ClassificationHead(2, 2), RegressionHead(2, 1)
    for head, layer in ((classes, classes.classify), (points, points.regress)):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
            layer.bias.copy_(torch.tensor([0.5, -1.0]))
        assert head.eval()(features)[0].tolist() == [6.0, 34.0]


def test_dropout_works_only_in_training_and_at_its_rate():
    head = ClassificationHead(1, 1, dropout=0.5)
    with torch.no_grad():
        head.classify.weight.fill_(1.0)
        head.classify.bias.zero_()
    torch.manual_seed(0)
    seen = head(torch.ones(200, 1, 2, 2)).flatten()
    assert set(seen.tolist()) == {0.0, 2.0}
    assert 60 < int((seen == 0).sum()) < 140
    assert head.eval()(torch.ones(1, 1, 2, 2)).item() == 1


def test_points_start_at_their_mean_and_barely_depend_on_the_image():
    torch.manual_seed(0)
    head = RegressionHead(4, 2)
    weight = head.regress.weight.detach().clone()
    head.start_at([0.1, 0.2, 0.3, 0.4])
    assert head(torch.zeros(1, 4, 2, 2))[0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    torch.testing.assert_close(head.regress.weight, 0.1 * weight)


def test_a_cell_of_the_detection_head_is_a_box_and_a_logit():
    head = DetectionHead(4).eval()
    says(head.predict, 0.0, 1.0, 2.0, 3.0, -3.0)
    cell = head(FEATURES)[0, :, 1, 2]
    torch.testing.assert_close(cell, torch.tensor([0.5, 0.7311, 0.8808, 0.9526, -3.0]), atol=1e-4, rtol=0)


def test_rare_objects_lower_the_objectness_alone():
    grid, boxes = DetectionHead(4), BoxHead(4)
    for head, layer in ((grid, grid.predict), (boxes, boxes.maps[-1])):
        says(layer, 0.1, 0.2, 0.3, 0.4, 0.5)
        head.start_rare()
        assert layer.bias.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, OBJECT_PRIOR])
    assert torch.tensor(OBJECT_PRIOR).sigmoid().item() == pytest.approx(0.1, abs=1e-3)


def test_a_box_is_given_by_its_distances_from_the_cell():
    head = BoxHead(4, one_box=False)
    says(head.maps[-1], *torch.logit(torch.tensor([0.1, 0.2, 0.3, 0.4])).tolist(), 7.0)
    column, row = 3, 1  # centre (0.875, 0.375)
    cell = head(FEATURES)[0, :, row, column].tolist()
    assert cell == pytest.approx([0.775, 0.175, 1.175, 0.775, 7.0])
    assert head.eval()(FEATURES)[0, :, row, column].tolist() == pytest.approx([0.775, 0.175, 1.0, 0.775, 7.0])


def test_the_one_box_is_the_mean_of_all_and_is_clipped_afterwards():
    head = BoxHead(4).eval()
    says(head.maps[-1], *torch.logit(torch.tensor([0.1, 0.2, 0.8, 0.4])).tolist(), 7.0)
    # The centres' mean is 0.5; 0.5 + 0.8 is beyond the image.
    assert head(FEATURES)[0, :, 0, 0].tolist() == pytest.approx([0.4, 0.3, 1.0, 0.9, 7.0])


def test_the_one_box_has_the_confidence_of_its_best_cell():
    head = BoxHead(4).eval()
    head.maps = nn.Identity()
    maps = torch.zeros(1, 5, 2, 2)
    maps[0, 4] = torch.tensor([[-3.0, 2.0], [0.5, 1.0]])
    assert head(maps)[0, 4].item() == 2


def test_new_boxes_are_a_fifth_of_the_image_to_every_side():
    head = BoxHead(4)
    sides = head.maps[-1].bias[:4].sigmoid()
    torch.testing.assert_close(sides, torch.full((4,), 0.198), atol=1e-3, rtol=0)


def test_a_mean_box_by_hand():
    grid = torch.zeros(1, 5, 1, 2)
    grid[0, :4, 0, 0], grid[0, :4, 0, 1] = torch.tensor([0.0, 0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6, 0.7])
    grid[0, 4, 0, 1] = torch.tensor(3.0).log()  # weights 1/4 and 3/4
    assert mean_box(grid)[0].tolist() == pytest.approx([0.3, 0.4, 0.5, 0.6])


def test_places_come_point_by_point_as_x_and_y():
    maps = torch.full((1, 2, 4, 4), -50.0)
    maps[0, 0, 1, 2] = maps[0, 1, 3, 0] = 50.0
    assert soft_argmax(maps)[0].tolist() == pytest.approx([2.5 / 4, 1.5 / 4, 0.5 / 4, 3.5 / 4])


def test_a_window_has_the_same_reach_on_both_axes():
    maps = torch.full((1, 1, 9, 9), -100.0)
    maps[0, 0, 4, 4] = 1.0
    for row, column in ((4, 6), (6, 4), (4, 7), (7, 4)):
        maps[0, 0, row, column] = 0.0
    e = float(torch.tensor(1.0).exp())
    inside = (4.5 * (e + 1) + 6.5) / (e + 2) / 9  # two cells away counts, three do not
    assert soft_argmax(maps, reach=2)[0].tolist() == pytest.approx([inside, inside])
    head = HeatmapHead(4, 1, reach=2).eval()
    head.maps = nn.Identity()
    assert head(maps)[0].tolist() == pytest.approx([inside, inside])


def test_an_adapter_adds_what_its_rectified_layer_says():
    adapter = Adapter(2, 1)
    x = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    assert torch.equal(adapter(x), x)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([3.0, 1.0]).view(1, 2, 1, 1))
        adapter.down.bias.zero_()
        adapter.up.weight.copy_(torch.tensor([1.0, 10.0]).view(2, 1, 1, 1))
    assert adapter(x).flatten().tolist() == [2.0, 8.0]  # 3 - 2 = 1 goes up
    assert adapter(-x).flatten().tolist() == [-1.0, 2.0]  # -1 does not


def test_maps_begin_at_a_value_where_they_are_named_alone():
    maps = MapHead(4, 3, depth=1)
    says(maps[-1], 1.0, 2.0, 3.0)
    maps.start_at(slice(1, 3), -5.0)
    assert maps[-1].bias.tolist() == [1.0, -5.0, -5.0]


def test_votes_start_at_zero_and_the_area_does_not():
    torch.manual_seed(0)
    last = EllipseHead(4, 1.5).area[-1]
    assert not last.weight[1:].any()
    assert not last.bias[1:].any()
    assert last.weight[0].any()


def test_cells_are_identified_by_their_centres():
    assert cell_centres(4, torch.zeros(1)).tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_a_task_keeps_the_first_of_the_shared_logits(classes):
    x = torch.randn(2, 5, 3, 4)
    assert torch.equal(FirstClasses(classes)(x), x[:, :classes])


@pytest.mark.parametrize(
    ("task_id", "kind", "channels"),
    [("lung", SegmentationHead, 6), ("organ_cls", ClassificationHead, 9), ("thyroid_nodule_det", DetectionHead, 6),
     ("IUGC", RegressionHead, 9)],
)  # fmt: skip
def test_dense_kinds_see_the_pyramid_and_others_the_deepest_features(task_id, kind, channels):
    head = make_head(CATALOGUE[task_id], 9, 6, dropout=0.3)
    assert isinstance(head, kind)
    assert next(iter(head.parameters())).shape[1] == channels
    assert not isinstance(head, ClassificationHead) or head.dropout.p == 0.3


def test_outputs_are_as_many_as_the_task_has_classes_or_points():
    for kind, shape in ((TaskKind.SEGMENTATION, (1, 3, 8, 8)), (TaskKind.CLASSIFICATION, (1, 3)),
                        (TaskKind.DETECTION, (1, 5, 2, 2)), (TaskKind.REGRESSION, (1, 6))):  # fmt: skip
        assert make_head(TaskSpec("t", kind, 3), 4, 4).eval()(torch.zeros(1, 4, 2, 2)).shape == shape
