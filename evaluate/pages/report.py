"""The report page: the scores of a submission with charts and pictures, in one HTML file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from challenge.class_names import ClassNames
from challenge.errors import UserError
from challenge.host.progress import progress
from challenge.manifest import Manifest, read_manifest
from challenge.readers import open_submission
from challenge.tasks import TaskKind
from evaluate.outputs import write_output
from evaluate.pages.case_text import described, goodness
from evaluate.pages.environment import make_environment
from evaluate.pages.overlays import class_colour
from evaluate.pages.pictures import ENCODINGS, Encoding, Picture, draw, selected
from evaluate.pages.run_check import foreign_report
from evaluate.pages.task_charts import Chart, charts
from evaluate.scores.aggregate import Estimate
from evaluate.scores.cases import Case, LabelCase, Outcome
from evaluate.scores.metric_table import Column, Metric, headline, metrics_of, part_text
from evaluate.scores.result import Result, TaskResult, is_whole_challenge
from evaluate.scores.run_report import RunReport, read_run_report

PAGE = "index.html"

PICTURE_BYTES = 13_000_000
"""Limit for all pictures together; with charts and tables of 27 tasks the page stays under 15 MB."""

_LISTED = 500


_TRUE_PROBABILITY = "p(true class)"
"""What a class answer is listed by; the AUC of one row does not exist."""


@dataclass(frozen=True)
class Mark:
    """One figure on a metric's scale. `place` is in percent of the scale's width."""

    name: str
    text: str
    place: float


@dataclass(frozen=True)
class Scale:
    """A metric's mean over the tasks of a kind, with the published figures.

    `band` is the left end and the width of the interval, in percent of the scale's width; `end` the scale's maximum.
    """

    metric: Metric
    official: Estimate
    strict: Estimate
    marks: Sequence[Mark]
    band: tuple[float, float] | None
    end: str


@dataclass(frozen=True)
class TaskView:
    """One task's part of the page: `names` of its classes or points, `colours` of those in its pictures."""

    task: TaskResult
    charts: Sequence[Chart]
    names: Sequence[str]
    colours: Sequence[tuple[str, tuple[int, int, int]]]
    confusion: Sequence[Sequence[int]]
    pictures: Mapping[str, Sequence[Picture]]
    is_prior: bool


@dataclass(frozen=True)
class Trouble:
    """A row that got a fallback, lacks a prediction or a truth, or has a remark."""

    what: str
    row: str
    image_path: str
    task_id: str
    why: str


def write_report(
    result: Result,
    data_root: Path,
    predictions: Path,
    output: Path,
    title: str,
    run_report: Path | None = None,
    encodings: Sequence[Encoding] = ENCODINGS,
    picture_bytes: int = PICTURE_BYTES,
    names: ClassNames | None = None,
) -> Path:
    """Write `output/index.html` and return its path. Raises UserError for unusable input.

    `names` are what the classes are called; by default the run report says so. The pictures use the first of
    `encodings` with which they all fit into `picture_bytes`, or else the last.
    """
    if result.profile != "fmc":
        raise UserError(f"there is no report page for the profile {result.profile}; use `evaluate score`")
    run = read_run_report(run_report) if run_report else None
    if names:
        names.check(task.spec for task in result.tasks.values())
    names = names or (run.class_names if run else ClassNames())
    manifest = read_manifest(data_root)
    pictures = _pictures(result, data_root, predictions, manifest, names, encodings, picture_bytes)
    views = {
        kind: [_view(task, result, pictures.get(task.spec.task_id, ()), run, names) for task in result.tasks_of(kind)]
        for kind in result.kinds
    }
    troubles = list(_troubles(result, run))
    foreign = foreign_report(run, manifest.samples, predictions) if run else None
    published = [kind for kind in result.kinds if is_whole_challenge(result, kind)]
    template = make_environment().get_template("report.html.j2")
    page = template.render(
        title=title,
        result=result,
        run=run,
        run_lines=_run_lines(run) if run else [],
        scales={
            kind: [_scale(metric, found.metrics, published=kind in published) for metric in metrics_of(kind)]
            for kind, found in result.kinds.items()
        },
        published=published,
        unpublished=[kind for kind in result.kinds if kind not in published],
        notes=[*([foreign] if foreign else []), *result.notes],
        cases=list(_case_table(result, names)),
        views=views,
        metrics={kind: metrics_of(kind) for kind in result.kinds},
        troubles=troubles[:_LISTED],
        troubles_in_all=len(troubles),
        columns=list(Column),
        part_text=part_text,
    )
    target = output / PAGE
    write_output(target, page.encode(errors="backslashreplace"))
    return target


def _pictures(
    result: Result,
    data_root: Path,
    predictions: Path,
    manifest: Manifest,
    names: ClassNames,
    encodings: Sequence[Encoding],
    picture_bytes: int,
) -> dict[str, list[Picture]]:
    chosen = [
        found
        for task_id in result.tasks
        for found in selected([case for case in result.cases if case.task_id == task_id])
    ]
    samples = {str(sample.row): sample for sample in (*manifest.samples, *manifest.repeated)}
    submission = open_submission(predictions)
    drawn: dict[str, list[Picture]] = {}
    for encoding in encodings:
        drawn.clear()
        for rank, case in progress(chosen, label="pictures"):
            if picture := draw(rank, case, samples, submission, data_root, encoding, names):
                drawn.setdefault(case.task_id, []).append(picture)
        if sum(picture.size for pictures in drawn.values() for picture in pictures) <= picture_bytes:
            break
    return drawn


def _view(
    task: TaskResult, result: Result, pictures: Sequence[Picture], run: RunReport | None, names: ClassNames
) -> TaskView:
    cases = [case for case in result.cases if case.task_id == task.spec.task_id]
    by_rank: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_rank.setdefault(picture.rank, []).append(picture)
    is_prior = run is not None and task.spec.task_id in run.prior_tasks
    own = names.of(task.spec)
    several = task.spec.kind is TaskKind.SEGMENTATION and task.spec.num_classes > 2
    colours = [(name, class_colour(index)) for index, name in enumerate(own[1:], start=1)] if several else []
    drawn = charts(task.spec, cases, own)
    return TaskView(task, drawn, own, colours, _confusion(task, cases), by_rank, is_prior)


def _case_table(result: Result, names: ClassNames) -> Iterator[Mapping[str, Any]]:
    """Yield an object per row, for the page's JSON.

    `good` is larger for better answers of a kind and null without a score. `value` is the number of `metric`.
    """
    for case in result.cases:
        spec = result.tasks[case.task_id].spec
        row = {
            "kind": spec.kind,
            "task": spec.task_id,
            "image": case.image_path,
            "row": case.row,
            "group": case.group,
            "metric": _TRUE_PROBABILITY if spec.kind is TaskKind.CLASSIFICATION else headline(spec.kind).short,
        }
        if case.outcome is not Outcome.ANSWERED:
            yield row | {"score": str(case.outcome), "detail": case.remark, "good": None, "value": None}
            continue
        good = goodness(case)
        score, detail = described(case, names.of(spec))
        yield row | {"score": score, "detail": detail, "good": good, "value": abs(good)}


def _confusion(task: TaskResult, cases: Sequence[Case]) -> list[list[int]]:
    if task.spec.kind is not TaskKind.CLASSIFICATION:
        return []
    counts = np.zeros((task.spec.num_classes, task.spec.num_classes), np.int64)
    for case in cases:
        if isinstance(case, LabelCase) and case.outcome is Outcome.ANSWERED and case.true is not None:
            predicted = case.predicted if case.predicted is not None else -1
            if 0 <= predicted < len(counts):
                counts[case.true, predicted] += 1
    return [[int(count) for count in row] for row in counts]


def _scale(metric: Metric, table: Mapping[str, Mapping[Column, Estimate]], *, published: bool) -> Scale:
    columns = table.get(metric.name, {})
    official, strict = (columns.get(column, Estimate(None)) for column in Column)
    figures = [
        ("official", official.value),
        ("strict", strict.value),
        ("baseline", metric.baseline if published else None),
        ("participant", metric.participant if published else None),
    ]
    known = [(name, value) for name, value in figures if value is not None]
    end = 1.0
    if metric.unit:
        largest = max([value for _, value in known] + [found.high or 0.0 for found in (official, strict)])
        end = float(np.ceil(largest / 20) * 20) or 20.0

    def place(value: float) -> float:
        return round(100 * min(max(value / end, 0.0), 1.0), 2)

    marks = [Mark(name, metric.text(value), place(value)) for name, value in known]
    band = None
    if official.low is not None and official.high is not None:
        band = place(official.low), round(place(official.high) - place(official.low), 2)
    return Scale(metric, official, strict, marks, band, f"{end:g}")


def _troubles(result: Result, run: RunReport | None) -> Iterator[Trouble]:
    for fallback in run.fallbacks if run else ():
        yield Trouble("fallback", fallback.row, fallback.image_path, fallback.task_id, fallback.text)
    for case in result.cases:
        if case.outcome is Outcome.MISSING:
            yield Trouble("missing", case.row, case.image_path, case.task_id, case.remark)
    for case in result.cases:
        if case.outcome is Outcome.NO_TRUTH:
            yield Trouble("no truth", case.row, case.image_path, case.task_id, case.remark)
    for case in result.cases:
        if case.outcome is Outcome.ANSWERED and case.remark:
            yield Trouble("remark", case.row, case.image_path, case.task_id, case.remark)
    for note in run.notes if run else ():
        yield Trouble("note", note.row, note.image_path, note.task_id, note.text)


def _run_lines(run: RunReport) -> list[tuple[str, str]]:
    """The lines about the run at the top of the page, as name and value."""
    lines = [
        ("Run", f"{run.status}, exit code {run.exit_code}"),
        ("Answered", f"{run.answered:,} of {run.rows:,} rows"),
        ("Weights", f"{run.weights or 'unknown'} ({run.sha256[:12]})"),
        ("Device", f"{run.device or 'unknown'}, {run.precision}"),
        ("Total time", _seconds(run.total_s)),
        ("First prediction", _seconds(run.first_prediction_s)),
        ("Speed", _with_unit(run.rows_per_s, "rows/s")),
        ("Peak memory", _with_unit(run.peak_memory_mib, "MiB")),
    ]
    return [(name, value) for name, value in lines if value]


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 60:.1f} min" if value >= 120 else f"{value:.1f} s"


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
