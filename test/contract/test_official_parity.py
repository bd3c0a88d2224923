"""A converted checkpoint, run by inference.py, answers like the official graph with the official processing.

Both sides decode images with the project's reader. `pytest -m slow -s -k real test/contract/test_official_parity.py`
compares on real images.
"""

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import official_baseline as oracle
from oracles.official_baseline import OfficialBaseline, baseline_for
from phantoms import TASKS, write_folder
from PIL import Image

from challenge.imaging.decode import read_image
from challenge.manifest import Sample, read_manifest
from challenge.paths import find_image
from challenge.tasks import TaskKind


@dataclass
class Deviation:
    """The largest differences between our answers and the official ones, over all rows."""

    rows: Counter[str] = field(default_factory=Counter)
    mask_pixels: int = 0
    mask_differing: int = 0
    worst_mask: float = 0.0
    probability: float = 0.0
    classes: int = 0
    box: float = 0.0
    points: float = 0.0


def call(repository: Path, *arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], cwd=repository, check=True)


def convert_and_run(repository: Path, official: OfficialBaseline, data_root: Path, folder: Path) -> Path:
    """Save the checkpoint, convert it and answer `data_root`, by the two command lines; return the answers' folder."""
    checkpoint, weights, output = (folder / name for name in ("best_model.pth", "weights", "output"))
    torch.save(official.state_dict(), checkpoint)
    call(repository, "-m", "training", "convert-baseline", checkpoint, "--output", weights)
    call(repository, "inference.py", "--input", data_root, "--output", output, "--weights", weights, "--batch-size", 8,
         "--precision", "float32", "--mask-resize", "labels", "--device", "cpu", "--strict")  # fmt: skip
    return output


def compare(data_root: Path, output: Path, official: OfficialBaseline) -> tuple[Deviation, Deviation]:
    """Run the official network over `data_root`: how far the answers in `output` are from its own.

    The second deviation is from its answers to a black image. It shows that the answers depend on the image.
    """
    answers = {}
    for kind in ("classification", "detection", "regression"):
        entries = json.loads((output / f"{kind}_predictions.json").read_text("utf-8"))
        answers |= {(entry["image_path"], entry["task_id"]): entry for entry in entries}
    by_image = defaultdict(list)
    for sample in read_manifest(data_root, TASKS).samples:
        by_image[sample.image_path].append(sample)
    deviation, from_black = Deviation(), Deviation()
    with torch.no_grad():
        black = official.features(oracle.preprocess(np.zeros((1, 1, 3), np.uint8))[None])
        for path, samples in by_image.items():
            pixels = read_image(find_image(data_root, path)).pixels
            features = official.features(oracle.preprocess(pixels)[None])
            size = pixels.shape[1::-1]
            for sample in samples:
                answer = answers.get((path, sample.task_id))
                for seen, into in ((features, deviation), (black, from_black)):
                    raw = official.answer(sample.task_id, *seen)[0].numpy()
                    measure(into, sample, raw, size, answer, output)
    return deviation, from_black


def measure(deviation: Deviation, sample: Sample, raw: np.ndarray, size: tuple[int, int], answer, output: Path):
    deviation.rows[sample.kind] += 1
    match sample.kind:
        case TaskKind.SEGMENTATION:
            with Image.open(output / sample.mask_file) as image:
                own = np.asarray(image)
            differing = own != oracle.mask(raw, *size)
            deviation.mask_pixels += differing.size
            deviation.mask_differing += int(differing.sum())
            deviation.worst_mask = max(deviation.worst_mask, float(differing.mean()))
        case TaskKind.CLASSIFICATION:
            expected = oracle.probabilities(raw)
            deviation.probability = max(deviation.probability, largest(expected - answer["predicted_probs"]))
            deviation.classes += int(expected.argmax() != answer["predicted_class"])
        case TaskKind.DETECTION:
            expected = oracle.box(raw, *size)
            deviation.box = max(deviation.box, largest(expected - answer["bbox_pixels"]))
        case TaskKind.REGRESSION:
            expected = oracle.points(raw, *size)
            deviation.points = max(deviation.points, largest(expected - answer["predicted_points_pixels"]))


def largest(difference: np.ndarray) -> float:
    return float(abs(difference).max())


def check(deviation: Deviation, from_black: Deviation) -> None:
    assert from_black.worst_mask > 0.01
    assert from_black.probability > 0.01
    assert from_black.box > 1
    assert from_black.points > 1
    assert deviation.worst_mask <= 0.001
    assert deviation.probability <= 1e-4
    assert deviation.classes == 0
    assert deviation.box <= 0.05
    assert deviation.points <= 0.05


def test_phantoms_of_all_tasks(tmp_path, repository):
    data_root = tmp_path / "phantoms"
    write_folder(data_root, seed=0, per_task=1)
    official = baseline_for(data_root)
    output = convert_and_run(repository, official, data_root, tmp_path)
    deviation, from_black = compare(data_root, output, official)
    check(deviation, from_black)
    assert {sample.task_id for sample in read_manifest(data_root, TASKS).samples} == set(TASKS)
    assert deviation.rows.keys() == set(TaskKind)


@pytest.mark.slow
def test_real_images(ultrasound_data, tmp_path, repository):
    data_root = sample_folder(ultrasound_data / "val", tmp_path / "data", every=10)
    official = baseline_for(data_root)
    output = convert_and_run(repository, official, data_root, tmp_path)
    check(*compare(data_root, output, official))


def sample_folder(source: Path, target: Path, every: int) -> Path:
    """Copy every n-th row of each manifest, with its image."""
    (target / "csv_files").mkdir(parents=True)
    for file in sorted((source / "csv_files").glob("*.csv")):
        with file.open(encoding="utf-8-sig", newline="") as stream:
            header, *rows = csv.reader(stream)
        rows = rows[::every]
        with (target / "csv_files" / file.name).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
        for row in rows:
            path = Path(row[header.index("image_path")].removeprefix("../"))
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target / path)
    return target
