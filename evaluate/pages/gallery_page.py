"""The gallery's HTML: cards grouped by kind and task, in one self-contained file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from challenge.tasks import TaskKind
from evaluate.pages.case_text import score_words
from evaluate.pages.gallery_cards import Card
from evaluate.scores.run_report import RunReport

PAGE = "index.html"
TEMPLATE = Path(__file__).parent / "templates" / "gallery.html"

_PARTS: Mapping[TaskKind, tuple[str, str]] = {
    TaskKind.SEGMENTATION: ("class", "classes"),
    TaskKind.CLASSIFICATION: ("class", "classes"),
    TaskKind.DETECTION: ("box", "boxes"),
    TaskKind.REGRESSION: ("point", "points"),
}


Reasons = Mapping[tuple[str, str], str]
"""By image_path and task_id: why a row got the fallback."""


@dataclass(frozen=True)
class Task:
    """One task's cards out of its `rows` rows in the manifest."""

    task_id: str
    kind: TaskKind
    num_classes: int
    rows: int
    cards: Sequence[Card]
    is_prior: bool


def render(tasks: Sequence[Task], run: RunReport | None, with_truth: bool) -> str:
    """Return the page. `run` gives the lines at its top and the reasons of fallbacks."""
    reasons = {(row.image_path, row.task_id): row.text for row in run.fallbacks} if run else {}
    kinds = [(kind, [task for task in tasks if task.kind is kind]) for kind in TaskKind]
    present = [(kind, members) for kind, members in kinds if members]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title="Ultrasound predictions",
        summary=_summary(tasks),
        facts=_run_lines(run, len(reasons)) if run else "",
        legend=_legend(with_truth),
        navigation="".join(
            f'<a href="#{kind}">{kind.capitalize()}<span>{len(members)}</span></a>' for kind, members in present
        ),
        sections="\n".join(_section(kind, members, reasons) for kind, members in present),
    )


def _summary(tasks: Sequence[Task]) -> str:
    rows, shown = sum(task.rows for task in tasks), sum(len(task.cards) for task in tasks)
    parts = [f"{len(tasks)} tasks", f"{rows:,} rows" + (f", {shown} of them shown" if shown < rows else "")]
    if untrained := sum(task.is_prior for task in tasks):
        parts.append(f"{untrained} tasks answered by the prior: their heads are untrained")
    if missing := sum(card.problem is not None for task in tasks for card in task.cards):
        parts.append(f"{missing} pictures with a problem")
    return escape(" \u00b7 ".join(parts))


def _run_lines(run: RunReport, fallbacks: int) -> str:
    facts = {
        "weights": run.weights,
        "sha256": run.sha256[:12],
        "device": f"{run.device or 'unknown'}, {run.precision}",
        "rows": f"{run.answered:,} of {run.rows:,} answered",
        "time": "" if run.total_s is None else f"{run.total_s:.1f} s",
        "status": run.status,
        "fallbacks": str(fallbacks or ""),
    }
    cells = (f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items() if value)
    return f'<dl class="facts">{"".join(cells)}</dl>'


def _legend(with_truth: bool) -> str:
    entries = ["<i></i>prediction (one colour per class or pair of points)"]
    if with_truth:
        entries.append('<i class="true"></i>truth (thin and pale; an arrow points at the true class)')
    return "".join(f"<li>{entry}</li>" for entry in entries)


def _section(kind: TaskKind, tasks: Sequence[Task], reasons: Reasons) -> str:
    articles = "\n".join(_article(task, reasons) for task in tasks)
    return f'<section id="{kind}"><h2>{kind.capitalize()}</h2>\n<div class="tasks">{articles}</div></section>'


def _article(task: Task, reasons: Reasons) -> str:
    parts = _PARTS[task.kind][task.num_classes != 1]
    note = f"{task.num_classes} {parts} \u00b7 {len(task.cards)} of {task.rows} rows"
    badge = '<span class="badge">prior: untrained head</span>' if task.is_prior else ""
    scores = [card.score for card in task.cards if card.score is not None]
    score = ""
    if scores:
        score = f'<span class="score">{score_words(task.kind, sum(scores) / len(scores))}</span>'
    figures = "".join(_figure(task, card, reasons) for card in task.cards)
    return (
        f'<article{" class=prior" if task.is_prior else ""}><div class="head"><h3>{escape(task.task_id)}</h3>'
        f'<span class="note">{note}</span>{badge}{score}</div><div class="cards">{figures}</div></article>'
    )


def _figure(task: Task, card: Card, reasons: Reasons) -> str:
    sample = card.sample
    name = sample.image_path.replace("\\", "/").rsplit("/", 1)[-1]
    reason = reasons.get((sample.image_path, sample.task_id))
    remarks = [f"fallback: {reason}"] if reason else [card.problem] if card.problem else []
    verdict = _verdict(task, card)
    prior = " (prior: untrained head)" if task.is_prior else ""
    said = "; ".join(filter(None, (card.answer, verdict)))
    caption = "\n".join([f"{task.task_id}{prior}: {said}", f"{sample.image_path} ({sample.row})", *remarks])
    lines = [f"<b>{escape(verdict)}</b>"] if verdict else []
    lines += [
        f'<div title="{escape(text)}">{escape(label)}</div>'
        for text, label in ((card.answer, card.answer), (sample.image_path, name))
        if label
    ]
    lines += [f'<span class="badge bad">{escape(remark)}</span>' for remark in remarks]
    return (
        f'<figure><button type="button" data-caption="{escape(caption)}"><img loading="lazy" width="{card.width}" '
        f'height="{card.height}" alt="{escape(f"{task.task_id}: {said}")}" src="{card.picture}"></button>'
        f"<figcaption>{''.join(lines)}</figcaption></figure>"
    )


def _verdict(task: Task, card: Card) -> str:
    if card.score is None:
        return ""
    if task.kind is TaskKind.CLASSIFICATION:
        return "right" if card.score else "wrong"
    return score_words(task.kind, card.score)
