"""Second looks in the pipeline, with a router that finds what is bright."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ImageError
from challenge.imaging.geometry import Fit, Resize
from challenge.imaging.resampling import Resampling
from challenge.manifest import Row, Sample
from challenge.tasks import TaskKind, TaskSpec
from model.frozen import loading, pipeline
from model.frozen.loading import load, plan
from model.frozen.metadata import TaskMetadata, WeightsMetadata
from model.frozen.outputs.decode import answer
from model.frozen.outputs.postprocess import Postprocess, Postprocessing, SecondLook
from model.frozen.outputs.second_look import Crop, Look, window_of
from model.frozen.pipeline import Pipeline

SIZE, GRID = 64, 16
TWICE = Postprocessing(second_look=SecondLook())
SPECS = (
    TaskSpec("lesion", TaskKind.SEGMENTATION, 2),
    TaskSpec("lesion_det", TaskKind.DETECTION, 1),
    TaskSpec("organ", TaskKind.CLASSIFICATION, 2),
    TaskSpec("once", TaskKind.SEGMENTATION, 2),
)


class Router:
    """Gives (2, 16, 16) logits of what is bright, its box, or two equal classes; keeps every batch that it is asked."""

    runtime = SimpleNamespace(lanes=1)

    def __init__(self, spoilt=False):
        looks = {"lesion": TWICE, "lesion_det": TWICE}
        tasks = {
            spec.task_id: TaskMetadata(
                spec, ("network",), "network", postprocessing=looks.get(spec.task_id, Postprocessing())
            )
            for spec in SPECS
        }
        half = (0.5, 0.5, 0.5)
        self.metadata = WeightsMetadata(
            "bright", "none", 18, SIZE, half, half, Resampling.ANTIALIASED, Fit.STRETCH, True, {}, tasks
        )
        self.batches = []
        self.spoilt = spoilt

    def with_maps(self, images, tasks):
        self.batches.append((images, [list(names) for names in tasks]))
        for spec in SPECS:
            numbers = [number for number, names in enumerate(tasks) if spec.task_id in names]
            if numbers:
                raw = np.stack([self.raw(images[number], spec.kind) for number in numbers])
                yield spec.task_id, numbers, raw * np.nan if self.spoilt and len(self.batches) > 1 else raw, None

    @staticmethod
    def raw(image, kind):
        bright = image[..., 0].reshape(GRID, SIZE // GRID, GRID, SIZE // GRID).mean(axis=(1, 3)).astype(np.float32)
        if kind is TaskKind.SEGMENTATION:
            return np.stack([np.full_like(bright, 40), bright])
        if kind is TaskKind.CLASSIFICATION:
            return np.zeros(2, np.float32)
        y, x = np.nonzero(bright > 40)
        box = (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else (0, 0, GRID, GRID)
        return np.array([*np.array(box) / GRID, 1], np.float32).reshape(5, 1, 1)


@pytest.fixture
def scene(tmp_path):
    """A folder with an image of one bright spot, and one of nothing."""
    (tmp_path / "csv_files").mkdir()
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[30:43, 61:83] = 200
    Image.fromarray(pixels).save(tmp_path / "spot.png")
    Image.fromarray(pixels * 0).save(tmp_path / "nothing.png")
    return tmp_path


def sample(number, name, spec):
    return Sample(f"../{name}.png", spec.task_id, spec.kind, spec.num_classes, Row("rows.csv", number))


def run(scene, names, specs=SPECS, router=None, level=Postprocess.LOOK, batch_size=4):
    """Return the answers by image and task, and the router that was asked."""
    router = router or Router()
    rows = [sample(number, *pair) for number, pair in enumerate((name, spec) for name in names for spec in specs)]
    answers = []
    for _ in Pipeline(router, scene, batch_size, postprocess=level).run(plan(rows, batch_size), answers.append):
        pass
    assert len(answers) == len(rows)
    return {(a.sample.image_path[3:-4], a.sample.task_id): a for a in answers}, router


def test_masks_and_boxes_are_looked_at_again_in_one_batch_and_joined(scene):
    answers, router = run(scene, ["spot"])
    (first, asked), (second, again) = router.batches
    assert asked == [[spec.task_id for spec in SPECS]]
    assert sorted(again) == [["lesion"], ["lesion_det"]]
    native = np.asarray(Image.open(scene / "spot.png"))
    resize = Resize.of(200, 100, SIZE)
    for spec in SPECS[:2]:
        raw = router.raw(first[0], spec.kind)
        crop = Crop.of(native, window_of(raw, spec.kind, resize, TWICE), SIZE, Fit.STRETCH, Resampling.ANTIALIASED)
        np.testing.assert_array_equal(second[again.index([spec.task_id])], crop.pixels)
        look = Look(crop.window, crop.resize, router.raw(crop.pixels, spec.kind))
        expected, _ = answer(raw, spec, resize, look=look, postprocessing=TWICE)
        found = answers["spot", spec.task_id]
        assert found.looked
        np.testing.assert_equal(vars(found.prediction), vars(expected))
    assert not any(answers["spot", spec.task_id].looked for spec in SPECS[2:])


def test_the_second_look_is_closer_to_what_the_image_shows(scene):
    truth = (30, 43, 61, 83)

    def error(found):
        rows, columns = (np.flatnonzero(found.any(axis=axis)) for axis in (1, 0))
        ends = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        return np.abs(np.subtract(ends, truth)).sum()

    once, twice = (
        run(scene, ["spot"], level=level)[0]["spot", "lesion"] for level in (Postprocess.MASKS, Postprocess.LOOK)
    )
    assert error(twice.prediction.labels) <= error(once.prediction.labels)
    assert (once.looked, twice.looked) == (False, True)


def test_where_nothing_was_found_nobody_looks_again(scene):
    answers, router = run(scene, ["nothing"])
    assert len(router.batches) == 1
    assert not any(found.looked for found in answers.values())
    assert not answers["nothing", "lesion"].prediction.labels.any()


def test_second_looks_do_not_change_the_answers_beside_them(scene):
    together, _ = run(scene, ["spot", "nothing"])
    alone = {**run(scene, ["spot"])[0], **run(scene, ["nothing"])[0]}
    for key, found in together.items():
        np.testing.assert_equal(vars(found.prediction), vars(alone[key].prediction))


def test_no_batch_of_second_looks_is_larger_than_a_batch(scene):
    _, router = run(scene, ["spot"], batch_size=1)
    assert [len(images) for images, _ in router.batches] == [1, 1, 1]


@pytest.mark.parametrize("level", [Postprocess.NONE, Postprocess.MASKS])
def test_lower_levels_do_without(scene, level):
    answers, router = run(scene, ["spot"], level=level)
    assert len(router.batches) == 1
    assert not any(found.looked for found in answers.values())


def test_two_rows_of_one_image_and_task_share_the_second_look(scene):
    answers, router = run(scene, ["spot"], [SPECS[0], SPECS[0]])
    assert [len(images) for images, _ in router.batches] == [1, 1]
    assert answers["spot", "lesion"].looked


def test_only_images_that_may_need_it_stay_in_memory(scene, monkeypatch):
    metadata = Router().metadata
    for spec, kept in zip(SPECS, (True, True, False, False), strict=True):
        (job,) = plan([sample(0, "spot", spec)], 1)[0]
        assert (load(job, scene, metadata, {"lesion", "lesion_det"}).native is not None) == kept
    small, _ = run(scene, ["spot"])
    monkeypatch.setattr(loading, "_LARGEST_KEPT", 1000)
    large, router = run(scene, ["spot"])
    assert len(router.batches) == 2
    for key, found in large.items():
        np.testing.assert_equal(vars(found.prediction), vars(small[key].prediction))


def test_without_a_usable_second_look_the_first_one_answers_with_a_note(scene, monkeypatch):
    once, _ = run(scene, ["spot"], level=Postprocess.MASKS)
    spoilt, _ = run(scene, ["spot"], router=Router(spoilt=True))

    def fail(*_):
        raise ImageError("spot.png is gone")

    monkeypatch.setattr(pipeline, "native_image", fail)
    gone, _ = run(scene, ["spot"])
    for answers, note in ((spoilt, "not finite"), (gone, "spot.png is gone")):
        for task_id in ("lesion", "lesion_det"):
            found = answers["spot", task_id]
            assert note in found.note
            assert found.note.startswith("no second look")
            assert found.reason is None
            assert not found.looked
            np.testing.assert_equal(vars(found.prediction), vars(once["spot", task_id].prediction))
        assert answers["spot", "organ"].note is None
