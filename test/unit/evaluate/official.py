"""The official scores computed once more, straight from the contract's formulas, by other libraries. Test helper.

It shares nothing with the code under test: the csv module, OpenCV, scikit-learn and SimpleITK on whole images.
"""

import csv
import json
import math
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import SimpleITK as sitk
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

Rows = list[dict[str, str]]


def official_scores(data_root: Path, predictions: Path) -> dict[str, dict[str, float]]:
    """Return task -> score name -> value of those tasks that have a scored row."""
    tables: dict[str, Rows] = defaultdict(list)
    for path in sorted((data_root / "csv_files").glob("*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as stream:
            for row in csv.DictReader(stream):
                tables[row["task_id"]].append(row)
    scores = {}
    for task_id, rows in tables.items():
        kind, classes = rows[0]["task_name"].lower(), int(rows[0]["num_classes"])
        if kind == "segmentation":
            found = _segmentation(rows, classes, data_root, predictions)
        else:
            file = predictions / f"{kind}_predictions.json"
            entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
            by_path = {entry["image_path"]: entry for entry in entries if entry["task_id"] == task_id}
            answered = [(row, by_path[row["image_path"]]) for row in rows if row["image_path"] in by_path]
            found = {"classification": _classification, "detection": _detection, "regression": _regression}[kind](
                answered, classes
            )
        if found:
            scores[task_id] = found
    return scores


def _segmentation(rows: Rows, classes: int, data_root: Path, predictions: Path) -> dict[str, float]:
    dice: list[list[float]] = [[] for _ in range(classes)]
    distances: list[list[float]] = [[] for _ in range(classes)]
    for row in rows:
        truth = cv2.imread(str((data_root / "csv_files" / row["mask_path"]).resolve()), cv2.IMREAD_GRAYSCALE)
        answer = predictions / row["mask_path"].replace("../", "")
        prediction = cv2.imread(str(answer), cv2.IMREAD_GRAYSCALE) if answer.exists() else None
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
        return {}
    return {
        "DSC": float(np.mean([np.mean(values) for values in dice[1:]])),
        "HD": float(np.mean([np.mean(values) for values in distances[1:]])),
    }


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    if not ours.any() or not theirs.any():
        return math.sqrt(ours.shape[0] ** 2 + ours.shape[1] ** 2) if ours.any() or theirs.any() else 0.0
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(sitk.GetImageFromArray(ours * 255), sitk.GetImageFromArray(theirs * 255))
    return measure.GetHausdorffDistance()


def _classification(answered: list[tuple[dict[str, str], dict[str, Any]]], classes: int) -> dict[str, float]:
    if not answered:
        return {}
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
        return {
            "AUC": 0.0 if math.isnan(area) else float(area),
            "F1_macro": float(f1_score(true, predicted, average="macro", zero_division=0)),
            "F1_weighted": float(f1_score(true, predicted, average="weighted", zero_division=0)),
            "MCC": float(matthews_corrcoef(true, predicted)),
            "Accuracy": float(accuracy_score(true, predicted)),
        }


def _detection(answered: list[tuple[dict[str, str], dict[str, Any]]], _: int) -> dict[str, float]:
    values = []
    for row, entry in answered:
        if not row["x_min"]:
            continue
        a0, b0, a1, b1 = entry["bbox_pixels"]
        c0, d0, c1, d1 = (float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
        overlap = max(0, min(a1, c1) - max(a0, c0)) * max(0, min(b1, d1) - max(b0, d0))
        union = (a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - overlap
        values.append(overlap / union if union else 0.0)
    return {"IoU": float(np.mean(values))} if values else {}


def _regression(answered: list[tuple[dict[str, str], dict[str, Any]]], points: int) -> dict[str, float]:
    values = []
    for row, entry in answered:
        true = [json.loads(row[f"point_{n}_xy"]) if row.get(f"point_{n}_xy") else [0, 0] for n in range(1, points + 1)]
        found = np.reshape(entry["predicted_points_pixels"], (-1, 2))
        values.append(np.mean([math.dist(ours, theirs) for ours, theirs in zip(found, true, strict=True)]))
    return {"MRE": float(np.mean(values))} if values else {}
