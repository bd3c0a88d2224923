"""The front matter of a model card: what model hubs read of it (licence, tags, scores), as YAML."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from challenge.tasks import TaskKind
from evaluate.scores.metric_table import headline
from model.frozen.metadata import TaskMetadata, WeightsMetadata
from training.export.model_card import FILE
from training.export.run import read_scores
from training.run_folder.provenance import LICENCE_FILE
from training.text_files import write_text

_HUB_TASKS = {
    TaskKind.SEGMENTATION: "image-segmentation",
    TaskKind.CLASSIFICATION: "image-classification",
    TaskKind.DETECTION: "object-detection",
    TaskKind.REGRESSION: "keypoint-detection",
}
_TAGS = ("ultrasound", "medical-imaging", "multi-task", "onnx")


def for_hubs(folder: Path, facts: WeightsMetadata, scores_file: Path | None) -> None:
    """Put the front matter above the model card in `folder`. Raises UserError for an unreadable `scores_file`."""
    lines = front_matter(facts, read_scores(scores_file), licensed=(folder / LICENCE_FILE).is_file())
    card = folder / FILE
    write_text(card, "\n".join([*lines, "", card.read_text("utf-8")]))


def front_matter(facts: WeightsMetadata, scores: Mapping[str, Any], *, licensed: bool) -> Iterator[str]:
    """Yield the lines above the card. `scores` is the content of an `evaluate score --json` file, or empty.

    The licence is always `other`: what the training data allow stands in `LICENSE`, or in the card's table.
    """
    learned = {name: task for name, task in facts.tasks.items() if task.answers == "network"}
    yield "---"
    yield "license: other"
    yield "license_name: see-the-sources"
    if licensed:
        yield "license_link: LICENSE"
    yield "library_name: onnx"
    yield f"pipeline_tag: {_HUB_TASKS[TaskKind.SEGMENTATION]}"
    yield "tags:"
    kinds = {_HUB_TASKS[task.spec.kind] for task in learned.values()}
    yield from (f"- {tag}" for tag in (*_TAGS, *sorted(kinds)))
    results = [lines for name, task in learned.items() if (lines := list(_result(name, task, scores)))]
    if results:
        yield "model-index:"
        yield f"- name: {_text(facts.name)}"
        yield "  results:"
        for lines in results:
            yield from lines
    yield "---"


def _result(name: str, task: TaskMetadata, scores: Mapping[str, Any]) -> Iterator[str]:
    metric = headline(task.spec.kind)
    scored = scores.get("tasks", {}).get(name, {})
    estimate = scored.get("metrics", {}).get(metric.name, {}).get("official")
    if not estimate or estimate.get("value") is None:
        return
    yield f"  - task: {{type: {_HUB_TASKS[task.spec.kind]}, name: {_text(name)}}}"
    yield f"    dataset: {{type: {_text(name)}, name: {_text(task.trained_on or name)}, split: validation}}"
    yield "    metrics:"
    yield f"    - type: {metric.name.lower()}"
    yield f"      name: {_text(metric.title)}"
    yield f"      value: {estimate['value']:.6g}"
    more: dict[str, Any] = {"rows": scored.get("counts", {}).get("rows")}
    if estimate.get("low") is not None:
        more["interval_95"] = [float(f"{estimate[side]:.6g}") for side in ("low", "high")]
    yield f"      args: {json.dumps(more)}"


def _text(words: str) -> str:
    """Return a string that YAML reads as these words, whatever they hold: JSON is YAML."""
    return json.dumps(words, ensure_ascii=False)
