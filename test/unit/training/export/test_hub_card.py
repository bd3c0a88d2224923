"""The front matter of a model card is YAML that says licence, tags and scores with intervals."""

import pytest

from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from challenge.tasks import CATALOGUE
from model.frozen.metadata import TaskMetadata, WeightsMetadata
from training.export.hub_card import front_matter

yaml = pytest.importorskip("yaml")


def facts(tasks):
    known = {
        name: TaskMetadata(CATALOGUE[name], (), answers, trained_on=data) for name, (answers, data) in tasks.items()
    }
    return WeightsMetadata(
        name='at"las: 2', system="atlas", mean=(0.5,) * 3, std=(0.5,) * 3, graphs={}, tasks=known, opset=18,
        image_size=64, resampling=Resampling.ANTIALIASED, fit=Fit.STRETCH, tidy_coordinates=True,
    )  # fmt: skip


def read(lines):
    first, *rest, last = lines
    assert first == last == "---"
    return yaml.safe_load("\n".join(rest))


def test_scores_come_with_their_rows_and_intervals():
    scores = {
        "tasks": {
            "lung": {"counts": {"rows": 7}, "metrics": {"DSC": {"official": {"value": 0.8, "low": 0.7, "high": 0.9}}}}
        }
    }
    tasks = {"lung": ("network", "a: set, of 'images'"), "organ_cls": ("network", None), "cervix": ("prior", None)}
    found = read(list(front_matter(facts(tasks), scores, licensed=True)))
    assert (found["license"], found["license_link"]) == ("other", "LICENSE")
    assert {"ultrasound", "image-segmentation", "image-classification"} <= set(found["tags"])
    (model,) = found["model-index"]
    assert model["name"] == 'at"las: 2'
    (result,) = model["results"]
    assert result["task"] == {"type": "image-segmentation", "name": "lung"}
    assert result["dataset"]["name"] == "a: set, of 'images'"
    (metric,) = result["metrics"]
    assert metric == {"type": "dsc", "name": "Dice", "value": 0.8, "args": {"rows": 7, "interval_95": [0.7, 0.9]}}


def test_without_scores_there_is_no_index():
    found = read(list(front_matter(facts({"lung": ("network", "x")}), {}, licensed=False)))
    assert "model-index" not in found
    assert "license_link" not in found
