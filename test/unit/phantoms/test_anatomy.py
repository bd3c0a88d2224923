import numpy as np
import pytest
from phantoms.anatomy.shapes import Blob, Capsule, HalfPlane, extent, label_map
from phantoms.families import FAMILIES, TASKS, Family
from phantoms.physics import Convex, Linear, in_sector, pixel_centres

from challenge.tasks import CATALOGUE, TaskKind


def level(shape, *points: tuple[float, float]) -> np.ndarray:
    x, y = np.array(points, np.float32).T
    return shape.level(x, y)


def test_points_of_a_blob_are_on_its_contour() -> None:
    blob = Blob(50, 40, 30, 12, 0.7)
    turns = np.linspace(0, 6, 20)
    np.testing.assert_allclose(level(blob, *[blob.point(turn) for turn in turns]), 0, atol=1e-5)
    np.testing.assert_allclose(level(blob, *[blob.point(turn, 0.5) for turn in turns]), -0.5, atol=1e-5)
    assert blob.point(0) == pytest.approx((50 + 30 * np.cos(0.7), 40 + 30 * np.sin(0.7)))


def test_a_capsule_and_a_half_plane() -> None:
    np.testing.assert_allclose(
        level(Capsule(0, 0, 10, 0, 2), (5, 2), (12, 0), (5, 0), (5, 4)), [0, 0, -1, 1], atol=1e-6
    )
    assert (level(HalfPlane(0, 0, 10, 0), (5, -3), (5, 3)) < 0).tolist() == [True, False]


def test_label_maps_hold_pixels_whose_centre_lies_inside_and_stay_in_the_sector() -> None:
    square = label_map(Linear(20, 20), [(Blob(10, 10, 4, 4), 3), (Blob(10, 10, 2, 2), 1)])
    x, y = pixel_centres(20, 20)
    distance = np.hypot(x - 10, y - 10)
    assert ((square == 1) == (distance < 2)).all()
    assert ((square > 0) == (distance < 4)).all()
    assert extent(square) == (6, 6, 14, 14)
    probe = Convex(100, 80)
    assert (label_map(probe, [(Blob(50, 40, 500, 500), 1)]) == in_sector(probe)).all()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_knows_the_truth_of_its_tasks(family: Family) -> None:
    for case in range(4):
        width, height = 120 + 8 * case, 96
        picture = family.paint(np.random.default_rng([7, case]), width, height, case)
        assert picture.grey.shape == (height, width)
        assert picture.grey.std() > 0.08
        for task in family.tasks:
            spec = TASKS[task]
            match spec.kind:
                case TaskKind.SEGMENTATION:
                    assert picture.masks[task].shape == (height, width)
                    classes = set(np.unique(picture.masks[task]).tolist())
                    healthy = task == "lung" and case % 2 == 1
                    assert classes == ({0} if healthy else set(range(spec.num_classes)))
                case TaskKind.CLASSIFICATION:
                    assert 0 <= picture.labels[task] < spec.num_classes
                case TaskKind.DETECTION:
                    x_min, y_min, x_max, y_max = picture.boxes[task]
                    assert 0 <= x_min < x_max <= width
                    assert 0 <= y_min < y_max <= height
                case TaskKind.REGRESSION:
                    points = np.array(picture.points[task])
                    assert points.shape == (spec.num_classes, 2)
                    assert (points >= 0).all()
                    assert (points <= (width, height)).all()


def test_all_tasks_have_a_family() -> None:
    assert {task for family in FAMILIES for task in family.tasks} == set(TASKS)
    assert set(CATALOGUE) < set(TASKS)


def class_tasks(family: Family) -> list[str]:
    return [task for task in family.tasks if TASKS[task].kind is TaskKind.CLASSIFICATION]


@pytest.mark.parametrize("family", filter(class_tasks, FAMILIES), ids=lambda family: family.name)
def test_cases_go_through_all_classes(family: Family) -> None:
    pictures = [family.paint(np.random.default_rng(case), 64, 48, case) for case in range(8)]
    for task in class_tasks(family):
        seen = {picture.labels[task] for picture in pictures}
        # Normal breasts come from a family of their own.
        expected = {"breast_3cls": {1, 2} if family.name == "breast" else {0}}
        assert seen == expected.get(task, set(range(TASKS[task].num_classes)))


@pytest.mark.parametrize("task", ["breast_lesion", "thyroid_nodule", "carotid_artery", "ovary_tumor"])
def test_lesions_and_lumina_are_darker_than_what_surrounds_them(task: str) -> None:
    (family,) = (family for family in FAMILIES if task in family.tasks)
    for case in range(4):
        picture = family.paint(np.random.default_rng(case), 320, 256, case)
        inside = picture.masks[task] > 0
        x0, y0, x1, y1 = extent(picture.masks[task])
        ring = np.zeros_like(inside)
        ring[max(0, y0 - 20) : y1 + 20, max(0, x0 - 20) : x1 + 20] = True
        assert picture.grey[inside].mean() < picture.grey[ring & ~inside].mean() - 0.1


def test_the_spine_stands_where_its_class_says() -> None:
    (family,) = (family for family in FAMILIES if family.name == "sacrum position")
    for case in range(8):
        picture = family.paint(np.random.default_rng(case), 300, 300, case)
        bright = picture.grey.copy()
        y, x = np.mgrid[:300, :300] - 155.0
        bright[np.hypot(x, y) > 82] = 0  # the trunk's inside
        rows, columns = np.nonzero(bright > np.quantile(bright, 0.998))
        turn = np.arctan2(np.mean(rows) - 155, np.mean(columns) - 150) % (2 * np.pi)
        difference = (turn - case * np.pi / 4 + np.pi) % (2 * np.pi) - np.pi
        assert abs(difference) < 0.6


def test_biometry_points_are_in_the_data_sets_order() -> None:
    (family,) = (family for family in FAMILIES if family.name == "head")
    for case in range(6):
        picture = family.paint(np.random.default_rng(case), 200, 160, case)
        first, second, third, fourth = picture.points["fetal_head_biometry"]
        assert first[0] < second[0]
        assert third[1] < fourth[1]
        assert np.hypot(*np.subtract(first, second)) > np.hypot(*np.subtract(third, fourth))


def test_the_tangent_touches_the_head_and_does_not_cut_it() -> None:
    (family,) = (family for family in FAMILIES if family.name == "birth")
    for case in range(10):
        picture = family.paint(np.random.default_rng(case), 256, 256, case)
        head = picture.masks["head_symphysis_multi"] == 2
        _, lower, touch = (np.array(point) for point in picture.points["IUGC"])
        line = lower + np.linspace(0, 1.3, 400)[:, None] * (touch - lower)
        columns, rows = line.astype(int).T
        shown = (columns >= 0) & (columns < 256) & (rows >= 0) & (rows < 256)
        cut = head[rows[shown], columns[shown]]
        assert cut.mean() < 0.2  # pixels along the contact
        centre = np.argwhere(head).mean(axis=0)[::-1]
        beside = touch + (centre - touch) * 0.05
        assert head[int(beside[1]), int(beside[0])]
