"""The baseline pipeline, the organisers' program written again: `python -m bench.baseline --input DATA ...`.

It works as their container does: PyTorch eager in float32, a DataLoader over the rows (a row is an image and a task,
so an image with two tasks is decoded and encoded twice), batches split by task, masks resized by nearest neighbour,
all answers kept in memory until the end. It reads `network.safetensors`, so it has the same network as the frozen
graphs in that folder. Three things differ from theirs: numbers become Python floats before they are written as JSON,
boxes and points are sorted and clipped as ours are, and images are resized as the weights say.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from challenge.cli import FOLDER
from challenge.errors import UserError
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from model.networks import build
from model.networks.system import System
from training.config import DataConfig
from training.run_folder.trainable import read_start

_FILES = ("classification", "detection", "regression")


@dataclass(frozen=True)
class Item:
    """A row, its image on the network's grid (3, S, S) float32, and the native (width, height)."""

    row: dict[str, str]
    image: Tensor
    size: tuple[int, int]


class Rows(Dataset[Item]):
    """Every row of every manifest, in the order of the files."""

    def __init__(self, folder: Path, config: DataConfig) -> None:
        self._manifests = folder / "csv_files"
        self._config = config
        self._rows: list[dict[str, str]] = []
        for path in sorted(self._manifests.glob("*.csv")):
            with path.open(newline="", encoding="utf-8") as stream:
                self._rows += csv.DictReader(stream)
        self._mean = np.array(config.mean, np.float32)
        self._std = np.array(config.std, np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        row = self._rows[index]
        pixels = cv2.imread(str((self._manifests / row["image_path"]).resolve()), cv2.IMREAD_COLOR)
        if pixels is None:
            raise UserError(f"{row['image_path']} cannot be read; the baseline pipeline has no fallback")
        height, width = pixels.shape[:2]
        small = self._resized(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
        normalised = (small.astype(np.float32) / 255 - self._mean) / self._std
        return Item(row, torch.from_numpy(normalised.transpose(2, 0, 1)).contiguous(), (width, height))

    def _resized(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        size = (self._config.image_size,) * 2
        if self._config.resampling == Resampling.OPENCV:
            return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class BaselinePipeline:
    """Answers rows with one network."""

    network: System
    output: Path
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {kind: [] for kind in _FILES})

    @torch.no_grad()
    def answer(self, batch: Sequence[Item]) -> None:
        """Answer a batch, task by task."""
        by_task: dict[str, list[Item]] = defaultdict(list)
        for item in batch:
            by_task[item.row["task_id"]].append(item)
        for task_id, items in by_task.items():
            outputs = self.network(torch.stack([item.image for item in items]), task_id)
            kind = str(self.network.tasks[task_id].kind)
            for item, answer in zip(items, _ANSWERS[kind](outputs), strict=True):
                if kind == "segmentation":
                    self._write_mask(item, answer)
                else:
                    head = {"image_path": item.row["image_path"], "task_id": task_id}
                    self.answers[kind].append(head | _entry(kind, answer, item.size))

    def write_json(self) -> None:
        """Write the answers kept in memory."""
        for kind, entries in self.answers.items():
            (self.output / f"{kind}_predictions.json").write_text(json.dumps(entries, ensure_ascii=False), "utf-8")

    def _write_mask(self, item: Item, labels: npt.NDArray[Any]) -> None:
        native = cv2.resize(labels.astype(np.uint8), item.size, interpolation=cv2.INTER_NEAREST)
        path = self.output / item.row["mask_path"].removeprefix("../")
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), native)


def _masks(outputs: Tensor) -> Iterator[npt.NDArray[Any]]:
    yield from outputs.argmax(dim=1).numpy()


def _probabilities(outputs: Tensor) -> Iterator[npt.NDArray[Any]]:
    yield from outputs.softmax(dim=1).numpy()


def _boxes(outputs: Tensor) -> Iterator[npt.NDArray[Any]]:
    flat = outputs.flatten(2)
    for grid, cell in zip(flat, flat[:, 4].argmax(dim=1), strict=True):
        yield np.sort(grid[:4, cell].numpy().reshape(2, 2), axis=0)


def _points(outputs: Tensor) -> Iterator[npt.NDArray[Any]]:
    yield from outputs.numpy().reshape(len(outputs), -1, 2)


_ANSWERS = {"segmentation": _masks, "classification": _probabilities, "detection": _boxes, "regression": _points}


def _entry(kind: str, answer: npt.NDArray[Any], size: tuple[int, int]) -> dict[str, Any]:
    if kind == "classification":
        return {"predicted_class": int(answer.argmax()), "predicted_probs": [float(value) for value in answer]}
    shares = answer.astype(np.float64).clip(0, 1)
    normalised, pixels = ([float(value) for value in values.ravel()] for values in (shares, shares * size))
    if kind == "detection":
        return {"bbox_normalized": normalised, "bbox_pixels": pixels}
    return {"predicted_points_normalized": normalised, "predicted_points_pixels": pixels}


def open_baseline(weights: Path, output: Path) -> tuple[BaselinePipeline, DataConfig]:
    """Return the pipeline with the network of `weights`, and that network's data settings. Raises UserError."""
    start, config = read_start(weights)
    if config.data.fit != Fit.STRETCH:
        raise UserError(f"{weights} takes images by {config.data.fit}; the baseline pipeline only knows {Fit.STRETCH}")
    network = build(config.system.name, start.tasks, **config.system.options)
    network.load_state_dict(start.state)
    output.mkdir(parents=True, exist_ok=True)
    return BaselinePipeline(network.eval(), output), config.data


@click.command()
@click.option("--input", "data_root", required=True, type=FOLDER)
@click.option("--output", required=True, type=FOLDER)
@click.option("--weights", required=True, type=FOLDER, help="Folder with network.safetensors.")
@click.option("--batch-size", default=8, show_default=True, help="Rows per batch, before it is split by task.")
@click.option("--workers", default=0, show_default=True, help="Processes of the DataLoader.")
def main(data_root: Path, output: Path, weights: Path, batch_size: int, workers: int) -> None:
    """Answer every row of DATA/csv_files/*.csv as the organisers' container does."""
    pipeline, config = open_baseline(weights, output)
    rows = Rows(data_root, config)
    for batch in DataLoader(rows, batch_size, shuffle=False, num_workers=workers, collate_fn=list):
        pipeline.answer(batch)
    pipeline.write_json()


if __name__ == "__main__":
    main()
