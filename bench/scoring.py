"""Measures scoring: generates masks and shifted copies, then scores them as `evaluate score` does."""

import json
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.measuring.stopwatch import cpu_seconds
from evaluate.scores.metric_table import Column
from evaluate.scores.result import summarise
from evaluate.scores.scoring import default_jobs, measure


def shape(side: int, classes: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Overlapping ellipses with wavy outlines, one per class."""
    labels = np.zeros((side, side), np.uint8)
    rows, columns = np.mgrid[:side, :side] / side
    for label in range(1, classes):
        centre, radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.08, 0.3, 2)
        away = ((rows - centre[0]) / radius[0]) ** 2 + ((columns - centre[1]) / radius[1]) ** 2
        wave = 1 + 0.15 * np.sin(9 * np.arctan2(rows - centre[0], columns - centre[1]) + rng.uniform(0, 6))
        labels[away < wave] = label
    return labels


def write_folders(root: Path, masks: int, side: int, classes: int) -> None:
    """Write `root/data` with one segmentation task, and `root/answers` with every mask shifted by a few pixels."""
    rng = np.random.default_rng(0)
    shapes = [shape(side, classes, rng) for _ in range(40)]
    lines = ["image_path,mask_path,task_id,task_name,num_classes"]
    for index in range(masks):
        labels = np.roll(shapes[index % 40], tuple(rng.integers(-side // 8, side // 8, 2)), axis=(0, 1))
        answer = np.roll(labels, tuple(rng.integers(-side // 20, side // 20, 2)), axis=(0, 1))
        for folder, content in (("data", labels), ("answers", answer)):
            path = root / folder / "masks" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path, compress_level=1)
        lines.append(f"../images/{index}.png,../masks/{index}.png,bench,segmentation,{classes}")
    (root / "data" / "csv_files").mkdir()
    (root / "data" / "csv_files" / "bench.csv").write_text("\n".join(lines) + "\n")


@click.command()
@click.option("--masks", default=2674, show_default=True)
@click.option("--side", default=512, show_default=True, help="Pixels along each side.")
@click.option("--classes", default=2, show_default=True, help="Classes with background.")
@click.option("--jobs", type=int, default=default_jobs(), show_default=True, help="Processes.")
def scoring(masks: int, side: int, classes: int, jobs: int) -> None:
    """Generate a folder, score it, print the times as JSON."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_folders(root, masks, side, classes)
        start, cpu = time.perf_counter(), cpu_seconds()
        result = summarise(measure(root / "data", root / "answers", jobs), "data", "answers")
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    metrics = result.tasks["bench"].metrics
    scores = {name: columns[Column.OFFICIAL].value for name, columns in metrics.items()}
    facts = {"masks": masks, "side": side, "classes": classes, "jobs": jobs, "scores": scores}
    click.echo(json.dumps(facts | {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}))
