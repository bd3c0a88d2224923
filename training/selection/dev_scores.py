"""Official scores on the dev rows, in native pixels, by the same decoding and formulas as the submission's."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
from model.frozen.outputs.decode import answer, fallback
from model.frozen.outputs.joining import join
from model.frozen.outputs.postprocess import Postprocessing
from model.frozen.outputs.second_look import Crop, Look, window_of
from model.frozen.outputs.views import VIEWS
from model.networks.system import System
from training.augmentation.augment import normalise
from training.config import DataConfig
from training.data.pixels import Pixels
from training.data.rows import Part

Raw = npt.NDArray[np.float32]

_BATCH = 16

Batch = Mapping[str, Sequence[Sample]]
"""Rows by task: those of the same images, in the same order, for every task."""

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
    post-processing by task. `others` answer with the network that is scored, joined as an export of several is.
    """

    part: Part
    data: DataConfig
    means: Mapping[str, tuple[float, ...]]
    view: Callable[[Sample, Pixels], Pixels] | None = None
    refinements: Mapping[str, Postprocessing] = field(default_factory=dict)
    others: Sequence[System] = ()
    _priors: dict[str, Mapping[str, float]] = field(default_factory=dict, init=False)

    def on(self, samples: Sequence[Sample]) -> "DevScorer":
        """Return the scorer of some of the rows."""
        return replace(self, part=replace(self.part, samples=samples))

    @torch.no_grad()
    def score(self, network: System, tasks: Iterable[str] = ()) -> DevScores:
        """Return the scores of `network` (put into eval mode for it) on all dev rows, or on those of `tasks`.

        An image is read and encoded once for all of its tasks.
        """
        was_training = network.training
        network.eval()
        wanted = sorted(set(tasks) or {sample.task_id for sample in self.part.samples})
        cases = self._cases(network, set(wanted))
        network.train(was_training)
        specs = {task_id: network.tasks[task_id] for task_id in wanted}
        scores = {
            task_id: _official(spec, [cases[sample] for sample in self._rows(task_id)])
            for task_id, spec in specs.items()
        }
        points = [task_id for task_id, spec in specs.items() if spec.kind is TaskKind.REGRESSION]
        return DevScores(scores, selection(specs, scores, {task_id: self.prior(task_id)["MRE"] for task_id in points}))

    def _cases(self, network: System, tasks: Set[str]) -> dict[Sample, Case]:
        """Measure every row. Threads measure one batch while the network answers the next."""
        batches = _batches(sample for sample in self.part.samples if sample.task_id in tasks)
        cases: dict[Sample, Case] = {}
        waiting: list[tuple[Sample, Future[Case]]] = []
        with ThreadPoolExecutor() as pool:
            for batch in progress(batches, label="dev scores"):
                begun = list(self._begun(network, batch, pool))
                cases |= {sample: future.result() for sample, future in waiting}
                waiting = begun
            return cases | {sample: future.result() for sample, future in waiting}

    def _begun(self, network: System, batch: Batch, pool: Executor) -> Iterator[tuple[Sample, Future[Case]]]:
        """Let the network answer a batch. Yield its rows, whose cases are being measured."""
        images = [self.part.store.image(sample) for sample in next(iter(batch.values()))]
        for task_id, raw in self._raw(network, batch, images).items():
            rows, spec = batch[task_id], network.tasks[task_id]
            crops = list(pool.map(partial(self._crop, spec), rows, raw))
            looks = self._looks(network, spec, rows, crops)
            for sample, output, look in zip(rows, raw, looks, strict=True):
                yield sample, pool.submit(self._measured, spec, sample, output, look)

    def _measured(self, spec: TaskSpec, sample: Sample, raw: Raw, look: Look | None) -> Case:
        resize, refinement = self.part.store.resize_of(sample), self._refinement(spec.task_id)
        return self._case(sample, answer(raw, spec, resize, look=look, postprocessing=refinement)[0])

    def _raw(self, network: System, batch: Batch, images: Sequence[Pixels]) -> dict[str, Raw]:
        """Return the raw outputs for a batch's images on the network's grid, by task, joined with those of views."""
        rows = next(iter(batch.values()))
        if self.view:
            images = [self.view(sample, image) for sample, image in zip(rows, images, strict=True)]
        pixels, aspects = np.stack(images), [self.part.store.resize_of(sample).aspect for sample in rows]
        raws = self._answers(network, pixels, batch)
        of_views: dict[str, dict[str, Raw]] = defaultdict(dict)
        for name, view in VIEWS.items():
            if asked := [task_id for task_id in batch if name in self._refinement(task_id).views]:
                for task_id, raw in self._answers(network, view.images(pixels, aspects), asked).items():
                    of_views[task_id][name] = raw
        for task_id, found in of_views.items():
            kind = network.tasks[task_id].kind
            raws[task_id] = self._refinement(task_id).join_views(raws[task_id], found, kind, aspects)
        return raws

    def _answers(self, network: System, pixels: Pixels, tasks: Iterable[str]) -> dict[str, Raw]:
        """Return the network's raw outputs for (B, S, S, 3) uint8, by task."""
        grids = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(next(network.parameters()).device)
        images, tasks = normalise(grids, self.data.mean, self.data.std), list(tasks)
        answers = [_arrays(one.answers(images, tasks)) for one in (network, *self.others)]
        return {task_id: join(network.tasks[task_id].kind, [one[task_id] for one in answers]) for task_id in tasks}

    def _refinement(self, task_id: str) -> Postprocessing:
        return self.refinements.get(task_id, Postprocessing())

    def _crop(self, spec: TaskSpec, sample: Sample, raw: Raw) -> Crop | None:
        """Return what the second look sees of a row's image, decoded from its file; None if there is none."""
        resize = self.part.store.resize_of(sample)
        window = window_of(raw, spec.kind, resize, self._refinement(spec.task_id))
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
            batch = {spec.task_id: [rows[number] for number, _ in there]}
            again = self._raw(network, batch, [crop.pixels for _, crop in there])[spec.task_id]
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


def _batches(samples: Iterable[Sample]) -> list[Batch]:
    """Return batches of images that have the same tasks."""
    by_image: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        by_image[sample.image_path][sample.task_id] = sample
    alike: dict[tuple[str, ...], list[dict[str, Sample]]] = defaultdict(list)
    for rows in by_image.values():
        alike[tuple(sorted(rows))].append(rows)
    return [
        {task_id: [rows[task_id] for rows in images[start : start + _BATCH]] for task_id in tasks}
        for tasks, images in alike.items()
        for start in range(0, len(images), _BATCH)
    ]


def _arrays(outputs: Mapping[str, Tensor]) -> dict[str, Raw]:
    return {task_id: output.float().cpu().numpy() for task_id, output in outputs.items()}


def _official(spec: TaskSpec, cases: list[Case]) -> dict[str, float]:
    score = task_score(spec, cases, Column.OFFICIAL)
    return {name: float(value) for name, value in score.metrics().items()} if score else {}
