"""The gallery's HTML: cards grouped by kind and task, in one self-contained file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from challenge.tasks import TaskKind, TaskSpec
from evaluate.pages.case_text import file_name, score_words
from evaluate.pages.gallery_cards import Card
from evaluate.pages.overlays import class_colour
from evaluate.scores.metric_table import Column, headline
from evaluate.scores.result import TaskResult
from evaluate.scores.run_report import RunReport

PAGE = "index.html"
_TEMPLATES = Path(__file__).parent / "templates"

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
    """One task's cards out of its `rows` rows in the manifest; `names` are those of its classes or points."""

    spec: TaskSpec
    names: Sequence[str]
    rows: int
    cards: Sequence[Card]
    is_prior: bool
    result: TaskResult | None = None

    @property
    def task_id(self) -> str:
        """The task's name."""
        return self.spec.task_id

    @property
    def score(self) -> str:
        """How good the answers to all rows are, empty if that is not known: the strict score, which misses no row."""
        name = "Accuracy" if self.spec.kind is TaskKind.CLASSIFICATION else headline(self.spec.kind).name
        found = self.result.metrics.get(name, {}).get(Column.STRICT) if self.result else None
        return "" if found is None or found.value is None else score_words(self.spec.kind, found.value)


def render(tasks: Sequence[Task], run: RunReport | None, note: str | None, *, with_truth: bool) -> str:
    """Return the page. `run` gives the lines at its top and the reasons of fallbacks, `note` a warning above them."""
    reasons = {(row.image_path, row.task_id): row.text for row in run.fallbacks} if run else {}
    kinds = [(kind, [task for task in tasks if task.spec.kind is kind]) for kind in TaskKind]
    present = [(kind, members) for kind, members in kinds if members]
    return Template(_text("gallery.html")).substitute(
        title="Ultrasound predictions",
        style=_text("page.css") + _text("gallery.css"),
        script=_text("viewer.js") + _text("gallery.js"),
        summary=_summary(tasks),
        note=f'<p class="notes">{escape(note)}</p>' if note else "",
        facts=_run_lines(run, len(reasons)) if run else "",
        legend=_legend(with_truth),
        navigation="".join(
            f'<a href="#{kind}">{kind.capitalize()}<span>{len(members)}</span></a>' for kind, members in present
        ),
        tools=_tools(present, with_truth),
        sections="\n".join(_section(kind, members, reasons) for kind, members in present),
    )


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


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
        entries.append('<i class="true"></i>truth (thin and pale; among classes the mark \u201ctrue\u201d)')
    return "".join(f"<li>{entry}</li>" for entry in entries)


def _tools(present: Sequence[tuple[TaskKind, Sequence[Task]]], with_truth: bool) -> str:
    groups = "".join(
        f'<optgroup label="{kind.capitalize()}">'
        + "".join(f'<option value="{escape(task.task_id)}">{escape(task.task_id)}</option>' for task in members)
        + "</optgroup>"
        for kind, members in present
    )
    order = (
        '<select id="order" aria-label="Order"><option value="">csv order</option>'
        '<option value="worst">worst first</option></select>'
    )
    return (
        f'<select id="task" aria-label="Task"><option value="">all tasks</option>{groups}</select>'
        '<input id="search" type="search" placeholder="file name (/)" aria-label="Part of a file name">'
        f"{order if with_truth else ''}"
        '<button type="button" data-do="toggle" aria-pressed="false">Hide overlay (O)</button>'
        '<output id="count" aria-live="polite"></output>'
    )


def _section(kind: TaskKind, tasks: Sequence[Task], reasons: Reasons) -> str:
    articles = "\n".join(_article(task, reasons) for task in tasks)
    return f'<section id="{kind}"><h2>{kind.capitalize()}</h2>\n<div class="tasks">{articles}</div></section>'


def _article(task: Task, reasons: Reasons) -> str:
    parts = _PARTS[task.spec.kind][task.spec.num_classes != 1]
    note = f"{task.spec.num_classes} {parts} \u00b7 {len(task.cards)} of {task.rows} rows"
    badge = '<span class="badge">prior: untrained head</span>' if task.is_prior else ""
    score = f'<span class="score">{task.score}<small>all rows</small></span>' if task.score else ""
    figures = "".join(_figure(task, card, reasons) for card in task.cards)
    return (
        f'<article{" class=prior" if task.is_prior else ""} data-task="{escape(task.task_id)}"><div class="head">'
        f'<div class="line"><h3>{escape(task.task_id)}</h3><span class="note">{note}</span>{badge}{score}</div>'
        f'{"".join(_chips(task))}</div><div class="cards">{figures}</div></article>'
    )


def _chips(task: Task) -> Iterator[str]:
    """Yield the legend of a mask's colours, if it has several."""
    if task.spec.kind is TaskKind.SEGMENTATION and task.spec.num_classes > 2:
        yield '<ul class="chips">'
        for index, name in enumerate(task.names[1:], start=1):
            yield f'<li><i style="--colour: rgb{class_colour(index)}"></i>{escape(name)}</li>'
        yield "</ul>"


def _figure(task: Task, card: Card, reasons: Reasons) -> str:
    sample = card.sample
    name = escape(file_name(sample.image_path))
    reason = reasons.get((sample.image_path, sample.task_id))
    remarks = [f"fallback: {reason}"] if reason else [card.problem] if card.problem else []
    prior = " (prior: untrained head)" if task.is_prior else ""
    said = "; ".join(filter(None, (card.answer, card.verdict)))
    caption = "\n".join([f"{task.task_id}{prior}: {said}", f"{sample.image_path} ({sample.row})", *remarks])
    lines = [f"<b>{escape(card.verdict)}</b>"] if card.verdict else []
    lines += [card.bars or f"<div>{escape(card.answer)}</div>"] if card.answer else []
    lines += [f'<div title="{escape(sample.image_path)}">{name}</div>']
    lines += [f'<span class="badge bad">{escape(remark)}</span>' for remark in remarks]
    good = "" if card.good is None else f' data-good="{card.good:.6g}"'
    plain = f' data-plain="{card.plain}"' if card.plain else ""
    return (
        f'<figure data-name="{name}"{good}><button type="button" data-caption="{escape(caption)}"{plain}>'
        f'<img loading="lazy" width="{card.width}" height="{card.height}" '
        f'alt="{escape(f"{task.task_id}: {said}")}" src="{card.drawn}"></button>'
        f"<figcaption>{''.join(lines)}</figcaption></figure>"
    )
