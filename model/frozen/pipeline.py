"""Samples -> images -> batches -> network -> predictions, with bounded queues on both sides of the network."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, takewhile
from pathlib import Path

import numpy as np

from challenge.errors import ImageError, PathError
from challenge.host.limits import available_cpus
from challenge.imaging.decode import Pixels
from challenge.imaging.geometry import Resize
from challenge.manifest import Sample
from challenge.predictions import Prediction
from challenge.tasks import TaskSpec
from model.frozen.loading import Batch, Job, Loaded, cut, load, native_image, prefetch
from model.frozen.metadata import WeightsMetadata
from model.frozen.outputs.confidence import Confidence
from model.frozen.outputs.decode import answer, fallback, prior
from model.frozen.outputs.postprocess import Postprocess, Postprocessing
from model.frozen.outputs.second_look import Crop, Look, window_of
from model.frozen.outputs.views import VIEWS
from model.frozen.router import Router
from model.frozen.runtimes.base import Array


@dataclass(frozen=True)
class Answer:
    """A row's prediction. `reason` says why it is a fallback, `note` what was unusual about its image; else None.

    `looked` says whether a second look was joined to it. `confidence` is None for a prior, a fallback, and a box or
    points without a map.
    """

    sample: Sample
    prediction: Prediction
    reason: str | None = None
    note: str | None = None
    looked: bool = False
    confidence: Confidence | None = None


@dataclass(frozen=True)
class Output:
    """A row's raw output, its maps (M, s, s) if the network gives them, and its second look.

    Without a raw output there is a `reason` why, or the prior answers.
    """

    sample: Sample
    resize: Resize
    note: str | None
    raw: Array | None = None
    maps: Array | None = None
    look: Look | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _First:
    """What the first look gives for an image and a task, and the rows that ask for it."""

    task_id: str
    loaded: Loaded
    rows: Sequence[Sample]
    raw: Array
    maps: Array | None


@dataclass(frozen=True)
class Pipeline:
    """Answers samples with the weights behind `router`."""

    router: Router
    data_root: Path
    batch_size: int = 4
    """Sets how many images are read ahead; the batches themselves are passed to `run`."""
    mask_resize: str = "logits"
    postprocess: Postprocess = Postprocess.NONE
    soft_masks: bool = False
    """Whether masks come with their probabilities."""

    @property
    def metadata(self) -> WeightsMetadata:
        """WeightsMetadata of the weights that answer."""
        return self.router.metadata

    def run(
        self,
        batches: Sequence[Batch],
        consume: Callable[[Answer], None],
        stop: Callable[[], bool] = lambda: False,
        announce: Callable[[Batch], None] = lambda _: None,
    ) -> Iterator[Sample]:
        """Answer every sample of `batches` exactly once; yield each sample as it leaves the network.

        `consume` is called once per sample, from worker threads, in any order; its exceptions are raised here.
        Unreadable images and non-finite outputs get a fallback. After `stop` returns True no new batch starts; batches
        that are ready for the network are still answered. `announce` is called with each batch before its images are
        read.
        """
        workers, lanes = available_cpus(), self.router.runtime.lanes
        read = partial(load, data_root=self.data_root, metadata=self.metadata, looked=self._looked_tasks())
        finishing: deque[Future[None]] = deque()
        with (
            ThreadPoolExecutor(workers, "load") as loaders,
            ThreadPoolExecutor(lanes, "network") as network,
            ThreadPoolExecutor(workers, "finish") as finishers,
        ):
            images = prefetch(loaders, read, _jobs(batches, announce), 3 * self.batch_size)
            ready = (list(islice(images, len(batch))) for batch in takewhile(lambda _: not stop(), batches))
            try:
                # One extra batch is ready, so that no lane waits.
                for outputs in prefetch(network, lambda batch: list(self.outputs(batch)), ready, lanes + 1):
                    for output in outputs:
                        finishing.append(finishers.submit(lambda output: consume(self.finish(output)), output))
                        yield output.sample
                    while len(finishing) > 4 * self.batch_size:
                        finishing.popleft().result()
                for future in finishing:
                    future.result()
            finally:
                for pool in (loaders, network):
                    pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Do nothing: a pipeline keeps no resources between runs."""

    def outputs(self, batch: Sequence[Loaded]) -> Iterator[Output]:
        """Pass images through the network together; yield a raw output for each of their rows, in any order."""
        for loaded in batch:
            for sample in loaded.job.samples:
                output = Output(sample, loaded.resize, loaded.note)
                if loaded.pixels is None:
                    yield replace(output, reason=loaded.reason)
                elif sample.task_id not in self.metadata.tasks:
                    yield replace(output, reason=f"the weights have no task {sample.task_id!r}")
                elif not self._is_answered(sample):
                    yield output
        firsts = list(self._first_looks([loaded for loaded in batch if loaded.pixels is not None]))
        looks, notes = self._second_looks(firsts)
        for number, first in enumerate(firsts):
            note = "; ".join(filter(None, (first.loaded.note, notes.get(number)))) or None
            for sample in first.rows:
                yield Output(sample, first.loaded.resize, note, first.raw, first.maps, looks.get(number))

    def _first_looks(self, readable: Sequence[Loaded]) -> Iterator[_First]:
        asked = [self._asked(loaded.job.samples) for loaded in readable]
        if any(asked):
            images = np.stack([loaded.pixels for loaded in readable if loaded.pixels is not None])
            aspects = [loaded.resize.aspect for loaded in readable]
            for task_id, numbers, outputs, maps in self._outputs(images, aspects, [list(tasks) for tasks in asked]):
                for place, number in enumerate(numbers):
                    own = None if maps is None else maps[place]
                    yield _First(task_id, readable[number], asked[number][task_id], outputs[place], own)

    def _second_looks(self, firsts: Sequence[_First]) -> tuple[Mapping[int, Look], Mapping[int, str]]:
        """Look again where that helps. Return the second looks, and notes on missing ones, by the first look's number.

        The crops of a batch's images are answered in batches of their own, so they depend on the same images only.
        """
        crops, notes = self._crops(firsts)
        looks: dict[int, Look] = {}
        for numbers in cut(list(crops), self.batch_size):
            images = np.stack([crops[number].pixels for number in numbers])
            aspects = [crops[number].resize.aspect for number in numbers]
            for _, places, outputs, _ in self._outputs(
                images, aspects, [[firsts[number].task_id] for number in numbers]
            ):
                for place, raw in zip(places, outputs, strict=True):
                    number = numbers[place]
                    if np.isfinite(raw).all():
                        looks[number] = Look(crops[number].window, crops[number].resize, raw)
                    else:
                        notes[number] = "no second look, the network's output is not finite"
        return looks, notes

    def _crops(self, firsts: Sequence[_First]) -> tuple[dict[int, Crop], dict[int, str]]:
        """Return what to look at again, and notes on images that are no longer readable, by the first look's number."""
        crops: dict[int, Crop] = {}
        notes: dict[int, str] = {}
        for number, first in enumerate(firsts):
            try:
                if crop := self._crop(first):
                    crops[number] = crop
            except (ImageError, PathError, OSError) as error:
                notes[number] = f"no second look, the image could not be read again ({error})"
        return crops, notes

    def _crop(self, first: _First) -> Crop | None:
        resize, kind = first.loaded.resize, self.metadata.tasks[first.task_id].spec.kind
        window = window_of(first.raw, kind, resize, self._postprocessing(first.task_id))
        if window is None:
            return None
        native = native_image(first.loaded, self.data_root)
        return Crop.of(native, window, resize.size, self.metadata.fit, self.metadata.resampling)

    def _looked_tasks(self) -> set[str]:
        return {task_id for task_id in self.metadata.tasks if self._postprocessing(task_id).second_look}

    def _asked(self, samples: Sequence[Sample]) -> Mapping[str, list[Sample]]:
        """Return the tasks that the network answers for an image, each with its rows (two rows may share a task)."""
        asked: dict[str, list[Sample]] = {}
        for sample in samples:
            if self._is_answered(sample):
                asked.setdefault(sample.task_id, []).append(sample)
        return asked

    def _outputs(
        self, images: Pixels, aspects: Sequence[float], tasks: Sequence[Sequence[str]]
    ) -> Iterator[tuple[str, list[int], Array, Array | None]]:
        """Yield what `Router.with_maps` yields, the outputs joined with those for the views that a task gains by."""
        of_views: dict[str, dict[str, Array]] = defaultdict(dict)
        for name, view in VIEWS.items():
            wanted = [[task_id for task_id in names if name in self._postprocessing(task_id).views] for names in tasks]
            if any(wanted):
                for task_id, _, outputs in self.router.run(view.images(images, aspects), wanted):
                    of_views[task_id][name] = outputs
        for task_id, numbers, outputs, maps in self.router.with_maps(images, tasks):
            if task_id in of_views:
                kind, own = self.metadata.tasks[task_id].spec.kind, [aspects[number] for number in numbers]
                outputs = self._postprocessing(task_id).join_views(outputs, of_views[task_id], kind, own)
            yield task_id, numbers, outputs, maps

    def _postprocessing(self, task_id: str) -> Postprocessing:
        return self.metadata.tasks[task_id].postprocessing.up_to(self.postprocess)

    def _is_answered(self, sample: Sample) -> bool:
        task = self.metadata.tasks.get(sample.task_id)
        return task is not None and task.answers == "network"

    def finish(self, output: Output) -> Answer:
        """Bring a raw output back to native pixels."""
        prediction, reason = self._prediction(output)
        by_network = output.raw is not None and reason is None
        confidence = Confidence.of(prediction) if by_network else None
        return Answer(output.sample, prediction, reason, output.note, output.look is not None, confidence)

    def _prediction(self, output: Output) -> tuple[Prediction, str | None]:
        sample, resize = output.sample, output.resize
        task = self.metadata.tasks.get(sample.task_id)
        spec = task.spec if task else TaskSpec(sample.task_id, sample.kind, sample.num_classes)
        mean = task.fallback if task else None
        if output.raw is not None:
            return answer(
                output.raw,
                spec,
                resize,
                maps=output.maps,
                look=output.look,
                postprocessing=self._postprocessing(spec.task_id),
                mean=mean,
                mask_resize=self.mask_resize,
                tidy_coordinates=self.metadata.tidy_coordinates,
                soft_masks=self.soft_masks,
            )
        if output.reason is None:
            return prior(spec, resize.width, resize.height), None
        return fallback(spec, resize.width, resize.height, mean), output.reason


def _jobs(batches: Iterable[Batch], announce: Callable[[Batch], None]) -> Iterator[Job]:
    for batch in batches:
        announce(batch)
        yield from batch
