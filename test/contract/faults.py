"""One bad row, file or folder beside good ones: the message, and unchanged answers for the good rows."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import inference

COLUMNS = ("image_path", "task_id", "task_name", "num_classes", "mask_path")
GOOD = (
    ("../images/good 0.png", "lung", "segmentation", "2", "../Segmentation/good 0.png"),
    ("../images/good 0.png", "organ_cls", "classification", "6", ""),
    ("../images/good 1.png", "thyroid_nodule_det", "detection", "1", ""),
    ("../images/good 1.png", "IUGC", "Regression", "3", ""),
)
Answers = dict[tuple[str, ...], object]


@dataclass(frozen=True)
class Ended:
    """How a command ended. `answers` are those in the output folder: mask bytes by file, entries by image and task."""

    code: int
    last_line: str
    report: dict
    answers: Answers

    @property
    def fallbacks(self) -> dict[str, str]:
        """Reasons by row."""
        return {item["row"]: item["reason"] for item in self.report["fallbacks"]}

    @property
    def notes(self) -> dict[str, str]:
        """Notes by row."""
        return {item["row"]: item["note"] for item in self.report["notes"]}


class DataFolder:
    """A data folder with two good images and a manifest of good rows, to which faults are added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "csv_files").mkdir(parents=True)
        (root / "images").mkdir()
        rng = np.random.default_rng(0)
        for number in range(2):
            pixels = rng.integers(0, 256, (60, 90 + number, 3), np.uint8)
            Image.fromarray(pixels).save(root / "images" / f"good {number}.png")
        self.write("good.csv", as_csv(GOOD))

    def write(self, name: str, content: bytes) -> None:
        """Write a manifest."""
        (self.root / "csv_files" / name).write_bytes(content)

    def add(self, *rows: Sequence[str], name: str = "odd.csv") -> None:
        """Write a manifest of further rows; the first is its line 2."""
        self.write(name, as_csv(rows))


def as_csv(rows: Iterable[Sequence[str]], columns: Sequence[str] = COLUMNS) -> bytes:
    """Return rows as a csv file."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
    return stream.getvalue().encode()


def answers(output: Path) -> Answers:
    """Return every answer of an output folder by image and task, or by mask file."""
    found: Answers = {}
    for path in sorted(output.rglob("*")):
        if path.is_file() and path.suffix != ".json":
            found[(path.relative_to(output).as_posix(),)] = path.read_bytes()
    for kind in ("classification", "detection", "regression"):
        path = output / f"{kind}_predictions.json"
        for entry in json.loads(path.read_text("utf-8")) if path.is_file() else ():
            found[entry["image_path"], entry["task_id"]] = entry
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder with its bytes, through links."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


Command = Callable[..., Ended]


def command(monkeypatch, capsys, weights: Path, folder: Path) -> Command:
    """Return a function that runs `inference.py` in this process.

    One image per batch: then an answer does not depend on its neighbours, and equal means equal in every bit.
    """

    def run(data: Path, *options: str, output: Path = folder / "out", weights: Path = weights) -> Ended:
        report = folder / "report.json"
        report.unlink(missing_ok=True)
        arguments = ["--input", data, "--output", output, "--weights", weights, "--report", report,
                     "--batch-size", 1, "--device", "cpu", *options]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["inference.py", *map(str, arguments)])
        capsys.readouterr()
        code = inference.run()
        lines = capsys.readouterr().err.strip().splitlines()
        return Ended(int(code), lines[-1] if lines else "", json.loads(report.read_text("utf-8")), answers(output))

    return run
