"""The organisers' script written again from the contract (section 1.5), with other libraries. Test helper.

It shares nothing with the code under test: the csv module, OpenCV, scikit-learn and SimpleITK on whole images.
"""

import csv
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import SimpleITK as sitk
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

Rows = list[dict[str, str]]
Table = dict[str, dict[str, dict[str, Any]]]

EXACT_NAMES = {
    "segmentation": "segmentation",
    "classification": "classification",
    "detection": "detection",
    "Regression": "regression",
}
"""`task_name`, in exact case -> the kind's key in the result file."""


def official_scores(data_root: Path, predictions: Path) -> dict[str, dict[str, float]]:
    """Return task -> score name -> value of those tasks that have a scored row."""
    return {
        task_id: {name: value for name, value in scores.items() if name not in ("num_samples", "per_class")}
        for tasks in official_table(data_root, predictions).values()
        for task_id, scores in tasks.items()
        if scores["num_samples"]
    }


def official_table(data_root: Path, predictions: Path) -> Table:
    """Return what the script writes to evaluation_results.json. Raises the errors that stop the script."""
    tasks: dict[str, Rows] = {}
    for path in sorted((data_root / "csv_files").glob("*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as stream:
            for row in csv.DictReader(stream):
                tasks.setdefault(row["task_id"], []).append(row)
    table: Table = {}
    for name, kind in EXACT_NAMES.items():
        own = {task_id: rows for task_id, rows in tasks.items() if rows[0]["task_name"] == name}
        if own:
            table[kind] = _kind(kind, own, data_root, predictions)
    return table


def _kind(kind: str, tasks: dict[str, Rows], data_root: Path, predictions: Path) -> dict[str, dict[str, Any]]:
    counts = {task_id: int(rows[0]["num_classes"]) for task_id, rows in tasks.items()}
    if kind == "segmentation":
        return {task_id: _masks(rows, counts[task_id], data_root, predictions) for task_id, rows in tasks.items()}
    file = predictions / f"{kind}_predictions.json"
    if not file.exists():
        return {}
    answers: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in json.loads(file.read_bytes().decode("utf-8")):  # a byte order mark raises, as json.load of a file does
        answers[entry["task_id"], entry["image_path"]] = entry
    score = {"classification": _classification, "detection": _detection, "regression": _regression}[kind]
    return {
        task_id: score(
            [(row, answers[task_id, row["image_path"]]) for row in rows if (task_id, row["image_path"]) in answers],
            counts[task_id],
        )
        for task_id, rows in tasks.items()
    }


def _masks(rows: Rows, classes: int, data_root: Path, predictions: Path) -> dict[str, Any]:
    dice: list[list[float]] = [[] for _ in range(classes)]
    distances: list[list[float]] = [[] for _ in range(classes)]
    for row in rows:
        if not row.get("mask_path"):
            continue
        truth = _grey(os.path.normpath(os.path.join(data_root, "csv_files", row["mask_path"])))
        answer = os.path.join(predictions, row["mask_path"].replace("../", ""))
        prediction = _grey(answer) if os.path.exists(answer) else None
        if truth is None or prediction is None:
            continue
        if prediction.shape != truth.shape:
            prediction = cv2.resize(prediction, truth.shape[::-1], interpolation=cv2.INTER_NEAREST)
        for label in range(classes):
            ours, theirs = (prediction == label).astype(np.uint8), (truth == label).astype(np.uint8)
            total = int(ours.sum()) + int(theirs.sum())
            dice[label].append(2.0 * int((ours * theirs).sum()) / total if total else 1.0)
            distances[label].append(_distance(ours, theirs))
    if not dice[0]:
        return {"DSC": 0.0, "HD": 0.0, "num_samples": 0, "per_class": {}}
    means = [{"DSC": float(np.mean(d)), "HD": float(np.mean(h))} for d, h in zip(dice, distances, strict=True)]
    return {
        "DSC": float(np.mean([mean["DSC"] for mean in means[1:]])),
        "HD": float(np.mean([mean["HD"] for mean in means[1:]])),
        "num_samples": len(dice[0]),
        "per_class": {f"class_{label}": mean for label, mean in enumerate(means)},
    }


def _grey(path: str) -> np.ndarray | None:
    return cv2.imread(path, cv2.IMREAD_GRAYSCALE)


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    if not ours.any() or not theirs.any():
        return math.sqrt(ours.shape[0] ** 2 + ours.shape[1] ** 2) if ours.any() or theirs.any() else 0.0
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(sitk.GetImageFromArray(ours * 255), sitk.GetImageFromArray(theirs * 255))
    return measure.GetHausdorffDistance()


def _classification(answered: list[tuple[dict[str, str], dict[str, Any]]], classes: int) -> dict[str, Any]:
    if not answered:
        zeros = dict.fromkeys(("AUC", "Accuracy", "F1_macro", "F1_weighted", "MCC"), 0.0)
        return {**zeros, "num_samples": 0, "per_class": {}}
    true = np.array([int(row["mask"]) for row, _ in answered])
    predicted = np.array([entry["predicted_class"] for _, entry in answered])
    probabilities = np.array([entry["predicted_probs"] for _, entry in answered])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if classes == 2:
                area = roc_auc_score(true, probabilities[:, 1])
            else:
                area = roc_auc_score(true, probabilities, average="macro", multi_class="ovr")
        except ValueError:
            area = 0.0
        each = f1_score(true, predicted, average=None, zero_division=0)
        return {
            "AUC": 0.0 if math.isnan(area) else float(area),
            "Accuracy": float(accuracy_score(true, predicted)),
            "F1_macro": float(f1_score(true, predicted, average="macro", zero_division=0)),
            "F1_weighted": float(f1_score(true, predicted, average="weighted", zero_division=0)),
            "MCC": float(matthews_corrcoef(true, predicted)),
            "num_samples": len(answered),
            "per_class": {f"class_{c}": {"F1": float(each[c]) if c < len(each) else 0.0} for c in range(classes)},
        }


def _detection(answered: list[tuple[dict[str, str], dict[str, Any]]], _: int) -> dict[str, Any]:
    values = []
    for row, entry in answered:
        if not row["x_min"]:
            continue
        a0, b0, a1, b1 = entry["bbox_pixels"]
        c0, d0, c1, d1 = (float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
        overlap = max(0, min(a1, c1) - max(a0, c0)) * max(0, min(b1, d1) - max(b0, d0))
        union = (a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - overlap
        values.append(overlap / union if union else 0.0)
    return {"IoU": float(np.mean(values)) if values else 0.0, "num_samples": len(values)}


def _regression(answered: list[tuple[dict[str, str], dict[str, Any]]], points: int) -> dict[str, Any]:
    values = []
    for row, entry in answered:
        true = [json.loads(row[f"point_{n}_xy"]) if row.get(f"point_{n}_xy") else [0, 0] for n in range(1, points + 1)]
        found = np.reshape(entry["predicted_points_pixels"], (-1, 2))
        values.append(np.mean([math.dist(ours, theirs) for ours, theirs in zip(found, true, strict=True)]))
    return {"MRE": float(np.mean(values)) if values else 0.0, "num_samples": len(values)}
