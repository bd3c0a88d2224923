"""The model card that lies beside exported weights (Mitchell et al. 2019)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

from challenge.tasks import TaskKind
from evaluate.scores.metric_table import headline
from model.frozen.metadata import TaskMetadata, WeightsMetadata
from training.run_folder.provenance import LICENCE_FILE

FILE = "README.md"
_WRAP = TextWrapper(120, break_long_words=False, break_on_hyphens=False)


def write_model_card(facts: WeightsMetadata, scores: Mapping[str, Any], output: Path, member: str = "") -> None:
    """Write `output/README.md`. `scores` is the content of an `evaluate score --json` file, or empty.

    `member` is what the network is called among several that answer together.
    """
    lines = _lines(facts, scores, member, licensed=(output / LICENCE_FILE).is_file())
    wrapped = (part for line in lines for part in ([line] if line.startswith("|") else _WRAP.wrap(line) or [""]))
    (output / FILE).write_text("\n".join(wrapped) + "\n", "utf-8")


def _lines(facts: WeightsMetadata, scores: Mapping[str, Any], member: str, *, licensed: bool) -> Iterable[str]:
    training = facts.extra.get("training", {})
    recipe = facts.extra.get("recipe", {})
    options = recipe.get("system", {}).get("options", {})
    planned = recipe.get("optim", {}).get("images", 0)
    yield f"# Model card: {facts.name}{member and f', {member}'}"
    yield ""
    yield "**Intended use: research. Not a medical device. Do not base clinical decisions on it.**"
    yield ""
    words = ", ".join(f"{key} {_option(value)}" for key, value in options.items())
    yield f"System `{facts.system}` with {words or 'its default options'}." if recipe else f"System `{facts.system}`."
    if facts.members:
        folders = ", ".join(f"`{member.folder}`" for member in facts.members)
        yield f"{len(facts.members)} networks answer together. Each has its own card: see {folders}."
        yield "The numbers of training below are sums over them."
    yield f"It has {len(facts.tasks)} tasks. {len(facts.prior_tasks)} of them have no training data: they get a fixed"
    yield "answer, the prior."
    yield f"Input: {facts.image_size}x{facts.image_size} RGB, {facts.resampling}, {facts.fit}."
    yield f"Trained on {training.get('images_seen', 0):,} image presentations in {training.get('steps', 0):,} steps."
    if recipe:
        yield f"(The recipe plans {planned:,}; `weights.json` contains the whole recipe.)"
    if training.get("cpu_seconds"):
        yield f"Training took {training['cpu_seconds']:,.0f} seconds of processor time."
    if training.get("images_before"):
        yield f"It started from a network with {training['images_before']:,} image presentations before."
    yield ""
    yield "## Tasks"
    yield ""
    counts = {task_id: task["counts"]["rows"] for task_id, task in scores.get("tasks", {}).items()}
    if counts:
        rows = sum(counts.values())
        yield f"Scores use the official formulas on the validation part of the same sources ({rows:,} rows,"
        yield "split by patient or video). Brackets are 95 % bootstrap intervals over groups. The scores say nothing"
        yield "about other hospitals or devices."
        yield ""
    yield "| task | kind | trained on | licence | score [95 % interval] | rows |"
    yield "|---|---|---|---|---|---|"
    for task_id, task in facts.tasks.items():
        if task.answers == "network":
            licence = facts.extra.get("licences", {}).get(task_id, "-")
            score = _score(task, scores.get("tasks", {}).get(task_id))
            number = counts.get(task_id, "-")
            yield f"| {task_id} | {task.spec.kind} | {task.trained_on} | {licence} | {score} | {number} |"
    yield ""
    yield from _classes(facts)
    yield "## Untrained heads"
    yield ""
    yield ", ".join(f"`{task_id}`" for task_id in facts.prior_tasks) or "None."
    yield ""
    yield "## Limits"
    yield ""
    yield "- Each task was trained on one public source. Expect lower scores on other devices and at other hospitals."
    yield "- Class numbers are those of the training folder. They may differ from the challenge's."
    where = "`LICENSE` in this folder" if licensed else "the table above"
    yield f"- Licences of the training data restrict the weights: see {where}."


def _option(value: object) -> str:
    """Return an option's value in words: a table as `(key: value, ...)`."""
    if isinstance(value, Mapping):
        return f"({', '.join(f'{key}: {one}' for key, one in value.items())})"
    return str(value)


def _classes(facts: WeightsMetadata) -> Iterable[str]:
    """The section that says what the classes are called; nothing if no task has names."""
    named = {task_id: task for task_id, task in facts.tasks.items() if task.class_names}
    if not named:
        return
    yield "## Classes"
    yield ""
    for task_id, task in named.items():
        first = 1 if task.spec.kind is TaskKind.REGRESSION else 0
        yield f"- {task_id}: {', '.join(f'{number} {name}' for number, name in enumerate(task.class_names, first))}"
    yield ""


def _score(task: TaskMetadata, scored: Mapping[str, Any] | None) -> str:
    metric = headline(task.spec.kind)
    estimate = (scored or {}).get("metrics", {}).get(metric.name, {}).get("official")
    if not estimate or estimate.get("value") is None:
        return "-"
    text = f"{metric.name} {metric.brief(estimate['value'])}"
    if estimate.get("low") is None:  # too few rows to draw from
        return text
    low, high = (metric.brief(estimate[side], unit=False) for side in ("low", "high"))
    return f"{text} [{low}, {high}]"
