"""Official scores on the dev rows, in native pixels, by the same decoding and formulas as the submission's."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from challenge.host.progress import progress
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from challenge.manifest import Sample
from challenge.predictions import Prediction
from challenge.tasks import TaskKind, TaskSpec
from evaluate.scores.cases import Case
from evaluate.scores.columns import task_score
from evaluate.scores.metric_table import Column
from evaluate.scores.one_case import measure_one
from model.frozen.decode import answer, fallback
from model.frozen.postprocess import Postprocessing
from model.frozen.second_look import Crop, Look, window_of
from model.frozen.views import VIEWS
from model.networks.system import System
from training.augmentation.augment import normalise
from training.config import DataConfig
from training.data.pixels import Pixels
from training.data.rows import Part

Raw = npt.NDArray[np.float32]

_BATCH = 16

Scores = Mapping[str, Mapping[str, float]]
"""Official scores by task and by the official script's names."""


@dataclass(frozen=True)
class DevScores:
    """`tasks` as above; `selection` is one number for all, higher is better (see `selection`)."""

    tasks: Scores
    selection: float


@dataclass
class DevScorer:
    """Scores networks on the dev rows. `means` are the training set's mean boxes and points.

    `view` changes an image's pixels before the network sees them (on its grid, at both looks); `refinements` are the
    post-processing by task.
    """

    part: Part
    data: DataConfig
    means: Mapping[str, tuple[float, ...]]
    view: Callable[[Sample, Pixels], Pixels] | None = None
    refinements: Mapping[str, Postprocessing] = field(default_factory=dict)
    _priors: dict[str, Mapping[str, float]] = field(default_factory=dict)

    @torch.no_grad()
    def score(self, network: System, tasks: Iterable[str] = ()) -> DevScores:
        """Return the scores of `network` (put into eval mode for it) on all dev rows, or on those of `tasks`."""
        was_training = network.training
        network.eval()
        wanted = sorted(set(tasks) or {sample.task_id for sample in self.part.samples})
        specs, scores = {}, {}
        for task_id in progress(wanted, label="dev scores"):
            samples = self._rows(task_id)
            specs[task_id] = network.tasks[task_id]
            scores[task_id] = _official(specs[task_id], self._cases(network, specs[task_id], samples))
        network.train(was_training)
        points = [task_id for task_id, spec in specs.items() if spec.kind is TaskKind.REGRESSION]
        return DevScores(scores, selection(specs, scores, {task_id: self.prior(task_id)["MRE"] for task_id in points}))

    def _cases(self, network: System, spec: TaskSpec, samples: list[Sample]) -> list[Case]:
        refinement = self.refinements.get(spec.task_id, Postprocessing())

        def measure(sample: Sample, raw: Raw, look: Look | None) -> Case:
            resize = self.part.store.resize_of(sample)
            return self._case(sample, answer(raw, spec, resize, look=look, postprocessing=refinement)[0])

        cases: list[Case] = []
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(samples), _BATCH):
                rows = samples[start : start + _BATCH]
                raw = self._raw(network, spec, rows, [self.part.store.image(sample) for sample in rows])
                crops = pool.map(partial(self._crop, spec, refinement), rows, raw)
                cases += pool.map(measure, rows, raw, self._looks(network, spec, rows, list(crops)))
        return cases

    def _raw(self, network: System, spec: TaskSpec, rows: Sequence[Sample], images: Sequence[Pixels]) -> Raw:
        """Return the raw outputs for images of `rows` on the network's grid, joined with those of their views."""
        refinement = self.refinements.get(spec.task_id, Postprocessing())
        if self.view:
            images = [self.view(sample, image) for sample, image in zip(rows, images, strict=True)]
        pixels, aspects = np.stack(images), [self.part.store.resize_of(sample).aspect for sample in rows]
        of_views = {
            name: self._answers(network, spec, VIEWS[name].images(pixels, aspects)) for name in refinement.views
        }
        return refinement.join_views(self._answers(network, spec, pixels), of_views, spec.kind, aspects)

    def _answers(self, network: System, spec: TaskSpec, pixels: Pixels) -> Raw:
        """Return the network's raw outputs for (B, S, S, 3) uint8."""
        grids = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(next(network.parameters()).device)
        raw: Raw = network(normalise(grids, self.data.mean, self.data.std), spec.task_id).float().cpu().numpy()
        return raw

    def _crop(self, spec: TaskSpec, refinement: Postprocessing, sample: Sample, raw: Raw) -> Crop | None:
        """Return what the second look sees of a row's image, decoded from its file; None if there is none."""
        resize = self.part.store.resize_of(sample)
        window = window_of(raw, spec.kind, resize, refinement)
        if window is None:
            return None
        fit, resampling = Fit(self.data.fit), Resampling(self.data.resampling)
        return Crop.of(self.part.store.native_image(sample), window, resize.size, fit, resampling)

    def _looks(
        self, network: System, spec: TaskSpec, rows: Sequence[Sample], crops: Sequence[Crop | None]
    ) -> list[Look | None]:
        """Return the second look for every crop, None where there is no crop."""
        looks: list[Look | None] = [None] * len(crops)
        there = [(number, crop) for number, crop in enumerate(crops) if crop]
        if there:
            again = self._raw(network, spec, [rows[number] for number, _ in there], [crop.pixels for _, crop in there])
            for (number, crop), raw in zip(there, again, strict=True):
                looks[number] = Look(crop.window, crop.resize, raw) if np.isfinite(raw).all() else None
        return looks

    def prior(self, task_id: str) -> Mapping[str, float]:
        """Return the scores of knowing nothing of the image: no mask, class 0, the mean box or points."""
        if task_id not in self._priors:
            cases = []
            for sample in self._rows(task_id):
                spec = TaskSpec(task_id, sample.kind, sample.num_classes)
                resize = self.part.store.resize_of(sample)
                cases.append(self._case(sample, fallback(spec, resize.width, resize.height, self.means.get(task_id))))
            self._priors[task_id] = _official(spec, cases)
        return self._priors[task_id]

    def _case(self, sample: Sample, prediction: Prediction) -> Case:
        is_mask = sample.kind is TaskKind.SEGMENTATION
        return measure_one(sample, prediction, self.part.store.native_mask(sample) if is_mask else None)

    def _rows(self, task_id: str) -> list[Sample]:
        return [sample for sample in self.part.samples if sample.task_id == task_id]


def selection(specs: Mapping[str, TaskSpec], tasks: Scores, prior_mre: Mapping[str, float]) -> float:
    """Return the mean over the kinds of: DSC; half AUC and half macro F1; IoU; 1 - MRE / MRE of the mean points.

    Each kind is the mean of its tasks. The last is 0 for a network that has learned nothing and 1 for a perfect one,
    as the others are, so that pixels do not outweigh the rest.
    """
    by_kind: dict[TaskKind, list[float]] = defaultdict(list)
    for task_id, scores in tasks.items():
        match specs[task_id].kind:
            case TaskKind.SEGMENTATION:
                value = scores["DSC"]
            case TaskKind.CLASSIFICATION:
                value = (scores["AUC"] + scores["F1_macro"]) / 2
            case TaskKind.DETECTION:
                value = scores["IoU"]
            case TaskKind.REGRESSION:
                value = max(0.0, 1 - scores["MRE"] / max(prior_mre[task_id], 1e-9))
        by_kind[specs[task_id].kind].append(value)
    return float(np.mean([np.mean(values) for values in by_kind.values()])) if by_kind else 0.0


def _official(spec: TaskSpec, cases: list[Case]) -> dict[str, float]:
    score = task_score(spec, cases, Column.OFFICIAL)
    return {name: float(value) for name, value in score.metrics().items()} if score else {}
