"""`Predictor`, the Python interface for single images: weights loaded once, answers in native pixels."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from challenge.errors import UserError
from challenge.host.limits import available_cpus
from challenge.host.places import DEFAULT_WEIGHTS
from challenge.imaging.decode import DecodedImage, read_image
from challenge.imaging.geometry import Resize
from challenge.imaging.memory import image_of
from challenge.manifest import Row, Sample
from challenge.predictions import Prediction
from challenge.tasks import TaskSpec, nearest
from model.frozen.engine import open_pipeline
from model.frozen.loading import Job, Loaded, cut
from model.frozen.metadata import read_metadata, verify
from model.frozen.options import Options, postprocess_of

Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | Image.Image | str | os.PathLike[str]
"""An array (H, W) or (H, W, channels), grey or RGB, uint8 or uint16; a Pillow image; or the path of an image file."""

Pictures = list[Any] | tuple[Any, ...]
"""Several of them. (Any, because a list of arrays is no list of `Picture` for a type checker.)"""


class Predictor:
    """A network that stays loaded and answers images in memory, by the very functions of `inference.py`.

    `weights` is a folder of exported weights. `device` (auto, cpu, cuda), `precision` (auto, float32, bfloat16,
    float16), `postprocess` (auto, none, masks, look, flip, views) and `batch_size` mean what `inference.py --help`
    says. Calls may come from several threads. Use it in a `with` statement, or call `close`.

    Raises UserError if the weights are unusable, or if the device or the precision is not available.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] = DEFAULT_WEIGHTS,
        device: str = "auto",
        precision: str = "auto",
        *,
        postprocess: str = "auto",
        batch_size: int = 4,
    ) -> None:
        options = Options(Path(weights), batch_size, device, precision, postprocess=postprocess_of(postprocess))
        self._metadata = read_metadata(options.weights)
        verify(self._metadata, options.weights)
        # No image is read by its path in a data folder here.
        self._pipeline = open_pipeline(self._metadata, Path(), options)
        self._batch_size = batch_size
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(available_cpus(), "predict")

    @property
    def tasks(self) -> Mapping[str, TaskSpec]:
        """The tasks that the network has learned: kind and number of classes (or points) by name."""
        return {name: task.spec for name, task in self._metadata.tasks.items() if task.answers == "network"}

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """What the classes 0, 1, ... (of points: 1, 2, ...) of a task are called, where that is known."""
        return self._metadata.class_names

    @overload
    def predict(
        self, image: Picture, tasks: Iterable[str] | None = None, *, soft_masks: bool = False
    ) -> dict[str, Prediction]: ...
    @overload
    def predict(
        self, image: Pictures, tasks: Iterable[str] | None = None, *, soft_masks: bool = False
    ) -> list[dict[str, Prediction]]: ...
    def predict(
        self, image: Picture | Pictures, tasks: Iterable[str] | None = None, *, soft_masks: bool = False
    ) -> dict[str, Prediction] | list[dict[str, Prediction]]:
        """Answer `tasks` (default: all of them) for an image, or for each image of a list or tuple.

        The shared encoder runs once for each image. Answers are in native pixels (`challenge.predictions`): `labels`
        (H, W) uint8 of a mask, `probabilities` and `predicted_class`, `pixels` of a box (x0, y0, x1, y1) or of points
        (x1, y1, x2, y2, ...). A mask has its `confidence`; a box has a `peak` and points have `peaks`, where the
        network gives the maps that they are read from. With `soft_masks` a mask also has `soft`, (K - 1, H, W) float16:
        the probabilities of the classes 1, 2, ... of K.

        Raises UserError for a task that the network has not learned, an output that is not finite, or a closed
        predictor; ImageError for an unreadable image or an array of another shape or type.
        """
        names = self._names(tasks)
        if isinstance(image, list | tuple):
            numbered = [(f"image {number}", each) for number, each in enumerate(image, 1)]
            batches = cut(numbered, self._batch_size)
            return [answers for batch in batches for answers in self._answers(batch, names, soft_masks)]
        (answers,) = self._answers([("the image", image)], names, soft_masks)
        return answers

    def close(self) -> None:
        """Release the threads. A closed predictor answers no more."""
        if self._pool:
            self._pool.shutdown()
            self._pool = None

    def __enter__(self) -> Self:
        """Return the predictor itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _names(self, tasks: Iterable[str] | None) -> list[str]:
        known = self.tasks
        names = list(known) if tasks is None else list(dict.fromkeys([tasks] if isinstance(tasks, str) else tasks))
        for name in names:
            if name not in known:
                raise UserError(f"the network has not learned a task {name!r}{nearest(name, known)}; "
                                "see `Predictor.tasks`")  # fmt: skip
        return names

    def _answers(
        self, images: Sequence[tuple[str, Picture]], names: Sequence[str], soft_masks: bool
    ) -> list[dict[str, Prediction]]:
        if self._pool is None:
            raise UserError("the predictor is closed; make another one")
        loaded = list(self._pool.map(partial(self._load, names), images))
        answers: dict[str, dict[str, Prediction]] = {name: {} for name, _ in images}
        pipeline = replace(self._pipeline, soft_masks=soft_masks)
        for answer in self._pool.map(pipeline.finish, list(pipeline.outputs(loaded))):
            if answer.reason:
                raise UserError(f"{answer.sample.image_path}, {answer.sample.task_id}: {answer.reason}")
            answers[answer.sample.image_path][answer.sample.task_id] = answer.prediction
        return [{name: by_task[name] for name in names} for by_task in answers.values()]

    def _load(self, names: Sequence[str], named: tuple[str, Picture]) -> Loaded:
        name, picture = named
        image = _decoded(name, picture)
        resize = Resize.of(*image.size, self._metadata.image_size, self._metadata.fit)
        pixels = resize.image(image.pixels, self._metadata.resampling)
        return Loaded(Job(name, tuple(self._samples(name, names))), pixels, resize, native=image.pixels)

    def _samples(self, image: str, names: Sequence[str]) -> Iterator[Sample]:
        for number, name in enumerate(names):
            spec = self._metadata.tasks[name].spec
            yield Sample(image, name, spec.kind, spec.num_classes, Row(image, number, "task"))


def _decoded(name: str, picture: Picture) -> DecodedImage:
    if isinstance(picture, str | os.PathLike):
        return read_image(Path(picture))
    return image_of(picture, name)
