"""How much worse a network is on images as another machine, hospital or export would have made them."""

import io
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from challenge.manifest import Sample
from challenge.tasks import TaskKind
from evaluate.scores.metric_table import Metric, metrics_of
from training.augmentation import ultrasound_effects
from training.data.pixels import Pixels
from training.data.rows import DataSource
from training.selection.dev_scores import Scores
from training.selection.run_scores import open_run

logger = logging.getLogger(__name__)

Corruption = Callable[[Pixels, np.random.Generator], Pixels]


def _on_tensors(effect: Callable[[Tensor, np.random.Generator], Tensor]) -> Corruption:
    def corrupt(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        x = effect(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, rng)
        painted: Pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        return painted

    return corrupt


def _blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.5)))


def _jpeg(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=15)
    return np.asarray(Image.open(stream))


def _contrast(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return (pixels * 0.5 + 40).astype(np.uint8)


def _crop(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    edge = pixels.shape[0] * 8 // 100
    kept = np.zeros_like(pixels)
    kept[edge:-edge, edge:-edge] = pixels[edge:-edge, edge:-edge]
    return kept


CORRUPTIONS: Mapping[str, Corruption] = {
    "speckle": _on_tensors(ultrasound_effects.speckle),
    "gain": _on_tensors(ultrasound_effects.depth_gain),
    "blur": _blur,
    "JPEG": _jpeg,
    "contrast": _contrast,
    "crop": _crop,
}
"""On (S, S, 3) uint8: speckle and depth gain as in training; blur of 1.5 pixels; JPEG of quality 15; half the contrast
on a grey veil; the outer 8 % of the picture black."""


@dataclass(frozen=True)
class Robustness:
    """A task's headline score on clean images and under every corruption, by name."""

    task_id: str
    metric: Metric
    clean: float
    corrupted: Mapping[str, float]


def robustness(run: Path, source: DataSource) -> Iterator[Robustness]:
    """Score the run's network on the dev rows of `source`, clean and corrupted; yield every task in kind order."""
    network, _, scorer = open_run(run, source)
    clean = scorer.score(network).tasks
    found: dict[str, Scores] = {}
    for name in CORRUPTIONS:
        logger.info("corruption: %s", name)
        found[name] = replace(scorer, view=partial(_corrupted, name)).score(network).tasks
    for kind in TaskKind:
        metric = metrics_of(kind)[0]
        for task_id in (t for t in clean if network.tasks[t].kind is kind):
            under = {name: scores[task_id][metric.name] for name, scores in found.items()}
            yield Robustness(task_id, metric, clean[task_id][metric.name], under)


def _corrupted(name: str, sample: Sample, pixels: Pixels) -> Pixels:
    """Corrupt an image in a way of its own that is the same each time."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {sample.image_path}".encode()))
    return np.ascontiguousarray(CORRUPTIONS[name](pixels, rng))
