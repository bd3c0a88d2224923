"""The number that picks the best network: 0 for knowing nothing, 1 for perfect, whatever the kind."""

import pytest
import torch
from torch import nn
from unit.training.recipes import TASKS, network_of, parts_of, tiny_config

from challenge import targets
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from challenge.tasks import TaskKind, TaskSpec
from model.frozen.outputs.postprocess import Postprocessing, SecondLook
from model.frozen.outputs.second_look import Crop, window_of
from training.augmentation.augment import normalise
from training.data.rows import DataSource
from training.selection.dev_scores import DevScorer, selection

PERFECT = {
    TaskKind.SEGMENTATION: {"DSC": 1.0, "HD": 0.0},
    TaskKind.CLASSIFICATION: {"AUC": 1.0, "F1_macro": 1.0, "Accuracy": 1.0},
    TaskKind.DETECTION: {"IoU": 1.0},
    TaskKind.REGRESSION: {"MRE": 0.0},
}
NOTHING = {
    TaskKind.SEGMENTATION: {"DSC": 0.0, "HD": 99.0},
    TaskKind.CLASSIFICATION: {"AUC": 0.0, "F1_macro": 0.0, "Accuracy": 1.0},
    TaskKind.DETECTION: {"IoU": 0.0},
    TaskKind.REGRESSION: {"MRE": 20.0},
}

TWICE = Postprocessing(second_look=SecondLook())
MEAN_BOX, MEAN_POINTS = (0.2, 0.3, 0.7, 0.6), (0.3, 0.6) * 4


def one(kind, scores, mre=20.0):
    return selection({"t": TaskSpec("t", kind, 2)}, {"t": scores}, {"t": mre})


@pytest.mark.parametrize("kind", TaskKind)
def test_nothing_is_zero_and_perfect_is_one(kind):
    assert one(kind, NOTHING[kind]) == 0
    assert one(kind, PERFECT[kind]) == 1


def test_each_kind_by_hand():
    assert one(TaskKind.SEGMENTATION, {"DSC": 0.8, "HD": 3.0}) == pytest.approx(0.8)
    assert one(TaskKind.CLASSIFICATION, {"AUC": 0.9, "F1_macro": 0.5, "Accuracy": 0.1}) == pytest.approx(0.7)
    assert one(TaskKind.DETECTION, {"IoU": 0.3}) == pytest.approx(0.3)
    assert one(TaskKind.REGRESSION, {"MRE": 5.0}) == pytest.approx(0.75)
    assert one(TaskKind.REGRESSION, {"MRE": 50.0}) == 0  # worse than the mean points is no less than nothing
    assert one(TaskKind.REGRESSION, {"MRE": 0.0}, mre=0.0) == 1


def test_kinds_weigh_the_same_however_many_tasks_they_have():
    specs = {name: TaskSpec(name, TaskKind.SEGMENTATION, 2) for name in ("a", "b", "c")}
    specs["d"] = TaskSpec("d", TaskKind.REGRESSION, 2)
    scores = {"a": {"DSC": 0.9}, "b": {"DSC": 0.6}, "c": {"DSC": 0.3}, "d": {"MRE": 8.0}}
    assert selection(specs, scores, {"d": 10.0}) == pytest.approx((0.6 + 0.2) / 2)
    assert selection({}, {}, {}) == 0


class Oracle(nn.Module):
    """Answers every dev row with its truth, or with the same for all."""

    def __init__(self, part, knows):
        super().__init__()
        self.part, self.knows, self.asked = part, knows, {}
        self.tasks = {s.task_id: TaskSpec(s.task_id, s.kind, s.num_classes) for s in part.samples}
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images, task_id):
        rows = [sample for sample in self.part.samples if sample.task_id == task_id]
        start = self.asked.get(task_id, 0)
        self.asked[task_id] = start + len(images)
        return torch.stack([self.answer(sample) for sample in rows[start : start + len(images)]])

    def answers(self, images, task_ids):
        return {task_id: self(images, task_id) for task_id in task_ids}

    def answer(self, sample):
        resize = self.part.store.resize_of(sample)
        match sample.kind:
            case TaskKind.SEGMENTATION:
                mask = torch.from_numpy(self.part.store.mask(sample)) * int(self.knows)
                return nn.functional.one_hot(mask.long(), sample.num_classes).movedim(-1, 0).float()
            case TaskKind.CLASSIFICATION:
                label = targets.label(sample) if self.knows else 0
                return nn.functional.one_hot(torch.tensor(label), sample.num_classes).float()
            case TaskKind.DETECTION:
                x0, y0, x1, y1 = targets.box(sample)
                sides = torch.tensor([x0 / resize.width, y0 / resize.height, x1 / resize.width, y1 / resize.height])
                sides = sides if self.knows else torch.tensor(MEAN_BOX)
                return torch.cat([sides, torch.ones(1)])[:, None, None].expand(5, 2, 2)
            case TaskKind.REGRESSION:
                points = torch.tensor(targets.points(sample)) / torch.tensor([resize.width, resize.height])
                return points.flatten() if self.knows else torch.tensor(MEAN_POINTS)


@pytest.fixture(scope="module")
def part(four_kinds, tmp_path_factory):
    source = DataSource(four_kinds, tmp_path_factory.mktemp("cache"))
    return parts_of(source, tiny_config())[1]


def test_a_network_that_knows_the_truth_gets_full_marks(part):
    config = tiny_config()
    scorer = DevScorer(part, config.data, {"breast_lesion_det": (0.1, 0.1, 0.2, 0.2), TASKS[3]: (0.5,) * 8})
    scores = scorer.score(Oracle(part, knows=True))
    assert set(scores.tasks) == set(TASKS)
    assert scores.tasks["breast_2cls"]["AUC"] == scores.tasks["breast_2cls"]["F1_macro"] == 1
    assert scores.tasks["breast_lesion_det"]["IoU"] == pytest.approx(1, abs=1e-4)
    assert scores.tasks["fetal_head_biometry"]["MRE"] == pytest.approx(0, abs=1e-3)
    assert scores.tasks["breast_lesion"]["DSC"] > 0.97  # the grid is coarser than the image
    assert scores.selection > 0.99
    assert set(scorer.score(Oracle(part, knows=True), ["breast_2cls"]).tasks) == {"breast_2cls"}


def test_a_network_that_knows_nothing_is_the_prior(part):
    config = tiny_config()
    scorer = DevScorer(part, config.data, {TASKS[3]: MEAN_POINTS, TASKS[2]: MEAN_BOX})
    scores = scorer.score(Oracle(part, knows=False))
    for task_id, name in zip(TASKS, ("DSC", "Accuracy", "IoU", "MRE"), strict=True):
        assert scores.tasks[task_id][name] == pytest.approx(scorer.prior(task_id)[name], rel=1e-5), task_id
    assert scores.tasks[TASKS[2]]["IoU"] > 0.01  # or no box would be as good as any
    other = DevScorer(part, config.data, {TASKS[3]: (0.5,) * 8, TASKS[2]: (0.0, 0.0, 1.0, 1.0)})
    assert all(other.prior(task_id) != scorer.prior(task_id) for task_id in TASKS[2:])
    assert scores.selection < 0.5


def test_the_mirror_image_is_asked_too_where_that_helps_and_answers_are_turned_back(part):
    config = tiny_config()
    seen = []

    class Watched(Oracle):
        def forward(self, images, task_id):
            seen.append(images)
            answers = torch.stack([self.answer(sample) for sample in self.part.samples if sample.task_id == task_id])
            return answers.flip(-1) if len(seen) == 2 else answers

    mirrored = {"breast_lesion": Postprocessing(views=("flip",))}
    scores = DevScorer(part, config.data, {}, refinements=mirrored).score(Watched(part, knows=True), ["breast_lesion"])
    assert torch.equal(seen[1], seen[0].flip(-1))
    assert not torch.equal(seen[1], seen[0])
    assert scores.tasks["breast_lesion"]["DSC"] > 0.97


class SecondLooker(Oracle):
    """Sees at first a shifted truth, and at second looks (odd calls) the truth of each crop shifted the other way."""

    def forward(self, images, task_id):
        rows = [sample for sample in self.part.samples if sample.task_id == task_id]
        self.asked.setdefault(task_id, []).append(images)
        if len(self.asked[task_id]) == 1:
            self.first = [self.shifted(self.answer(sample), 0.05) for sample in rows]
            return torch.stack(self.first)
        self.windows = [self.window(sample, raw) for sample, raw in zip(rows, self.first, strict=True)]
        pairs = zip(rows, self.windows, strict=True)
        return torch.stack([self.shifted(self.truth_in(sample, window), -0.05) for sample, window in pairs if window])

    def shifted(self, raw, by):
        return raw + by * torch.tensor([1.0, 0, 1, 0, 0])[:, None, None]

    def window(self, sample, raw):
        return window_of(raw.numpy(), sample.kind, self.part.store.resize_of(sample), TWICE)

    def truth_in(self, sample, window):
        width, height = self.part.store.resize_of(sample).width, self.part.store.resize_of(sample).height
        raw = self.answer(sample).clone()
        raw[0:4:2] = (raw[0:4:2] * width - window.left) / window.width
        raw[1:4:2] = (raw[1:4:2] * height - window.top) / window.height
        # The shift is in sides of the image at the first look, and in sides of the crop now.
        raw[0:4:2] += 0.05 - 0.05 * width / window.width
        return raw


def test_the_second_look_sees_the_native_image_and_is_joined(part):
    config, network = tiny_config(), SecondLooker(part, knows=True)
    once = DevScorer(part, config.data, {}).score(SecondLooker(part, knows=True), ["breast_lesion_det"])
    refinements = {"breast_lesion_det": TWICE}
    twice = DevScorer(part, config.data, {}, refinements=refinements).score(network, ["breast_lesion_det"])
    _, crops = network.asked["breast_lesion_det"]
    rows = [sample for sample in part.samples if sample.task_id == "breast_lesion_det"]
    looked = [(sample, window) for sample, window in zip(rows, network.windows, strict=True) if window]
    assert 0 < len(looked) == len(crops)
    for (sample, window), seen in zip(looked, crops, strict=True):
        image = part.store.native_image(sample)
        size = config.data.image_size
        cut = Crop.of(image, window, size, Fit.STRETCH, Resampling.ANTIALIASED).pixels
        expected = normalise(torch.from_numpy(cut.copy())[None].permute(0, 3, 1, 2), config.data.mean, config.data.std)
        assert torch.equal(seen, expected[0])
    assert twice.tasks["breast_lesion_det"]["IoU"] > once.tasks["breast_lesion_det"]["IoU"]


def test_what_changes_the_image_changes_the_crop_too(part):
    network, refinements = SecondLooker(part, knows=True), {"breast_lesion_det": TWICE}
    black = DevScorer(part, tiny_config().data, {}, lambda _, pixels: pixels * 0, refinements)
    black.score(network, ["breast_lesion_det"])
    once, twice = network.asked["breast_lesion_det"]
    assert (once == once[:, :, :1, :1]).all()
    assert (twice == twice[:, :, :1, :1]).all()


def test_every_dev_row_is_scored_whatever_the_batch(part, monkeypatch):
    monkeypatch.setattr("training.selection.dev_scores._BATCH", 2)
    oracle = Oracle(part, knows=True)
    means = {TASKS[3]: MEAN_POINTS}
    scores = DevScorer(part, tiny_config().data, means).score(oracle)
    rows = [sample.task_id for sample in part.samples]
    assert max(map(rows.count, TASKS)) > 1
    assert oracle.asked == {task_id: rows.count(task_id) for task_id in TASKS}
    monkeypatch.undo()
    assert scores == DevScorer(part, tiny_config().data, means).score(Oracle(part, knows=True))


def test_scoring_leaves_the_mode_of_the_network(part):
    config = tiny_config()
    for mode in (True, False):
        network = Oracle(part, knows=True).train(mode)
        DevScorer(part, config.data, {TASKS[3]: (0.5,) * 8}).score(network)
        assert network.training is mode


class Counting(Oracle):
    """Counts the images that it encodes."""

    encoded = 0

    def answers(self, images, task_ids):
        self.encoded += len(images)
        return super().answers(images, task_ids)


def test_an_image_is_encoded_once_for_all_of_its_tasks_and_every_row_is_scored_as_alone(part):
    means = {TASKS[3]: (0.5,) * 8}
    network = Counting(part, knows=True)
    together = DevScorer(part, tiny_config().data, means).score(network)
    assert network.encoded == len({sample.image_path for sample in part.samples}) < len(part.samples)
    for task_id in TASKS:
        alone = DevScorer(part, tiny_config().data, means).score(Oracle(part, knows=True), [task_id])
        assert alone.tasks[task_id] == together.tasks[task_id]


def test_scores_of_a_real_network_do_not_depend_on_how_images_are_batched(part, monkeypatch):
    specs = [TaskSpec(s.task_id, s.kind, s.num_classes) for s in {s.task_id: s for s in part.samples}.values()]
    network = network_of(tiny_config(), specs, {TASKS[2]: MEAN_BOX, TASKS[3]: MEAN_POINTS})
    scorer = DevScorer(part, tiny_config().data, {})
    together = scorer.score(network).tasks
    monkeypatch.setattr("training.selection.dev_scores._BATCH", 1)
    for task_id in TASKS:
        alone = scorer.score(network, [task_id]).tasks[task_id]
        assert together[task_id] == pytest.approx(alone, rel=1e-4, abs=1e-4)
