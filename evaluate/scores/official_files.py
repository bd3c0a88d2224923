"""The organisers' two result files, and Codabench's nine columns, from the official column (contract, section 1.5)."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from challenge.tasks import TaskKind
from evaluate.scores.metric_table import Column
from evaluate.scores.result import Result, TaskResult
from evaluate.scores.scoring import Measured

NAMES = ("evaluation_results.json", "evaluation_summary.txt")

_KEYS: Mapping[TaskKind, tuple[str, ...]] = {
    TaskKind.SEGMENTATION: ("DSC", "HD"),
    TaskKind.CLASSIFICATION: ("AUC", "Accuracy", "F1_macro", "F1_weighted", "MCC"),
    TaskKind.DETECTION: ("IoU",),
    TaskKind.REGRESSION: ("MRE",),
}
"""The scores of a task in the order of the organisers' result file."""
_PARTS: Mapping[TaskKind, tuple[str, ...]] = {
    TaskKind.SEGMENTATION: ("DSC", "HD"),
    TaskKind.CLASSIFICATION: ("F1",),
}
_COLUMNS: Mapping[TaskKind, tuple[str, ...]] = {
    **_KEYS,
    TaskKind.CLASSIFICATION: ("Accuracy", "AUC", "F1_macro", "F1_weighted", "MCC"),
}
"""The scores of a kind in the order of Codabench and of the summary file."""
_AVERAGES: Mapping[TaskKind, tuple[str, ...]] = {
    TaskKind.SEGMENTATION: ("DSC: ", "HD:  "),
    TaskKind.CLASSIFICATION: (
        "Accuracy:    ",
        "AUC:         ",
        "F1 (macro):  ",
        "F1 (weight): ",
        "MCC:         ",
    ),
    TaskKind.DETECTION: ("IoU: ",),
    TaskKind.REGRESSION: ("MRE: ",),
}
_DETAILS: Mapping[TaskKind, tuple[tuple[str, str], ...]] = {
    TaskKind.SEGMENTATION: (("DSC", "DSC"), ("HD", "HD")),
    TaskKind.CLASSIFICATION: (("Acc", "Accuracy"), ("AUC", "AUC"), ("F1", "F1_macro"), ("MCC", "MCC")),
    TaskKind.DETECTION: (("IoU", "IoU"),),
    TaskKind.REGRESSION: (("MRE", "MRE"),),
}
_RULE = "=" * 80

Table = dict[str, dict[str, dict[str, Any]]]


def official_table(result: Result, measured: Measured) -> Table:
    """Return what the organisers' script would write: kind -> task -> scores, `num_samples` and `per_class`.

    A task without valid samples has zeros; a kind without an answer file has no tasks. Kinds without rows are left out,
    and so are tasks that the script skips because of their `task_name`.
    """
    counts = Counter(case.task_id for case in measured.cases if case.is_official)
    table: Table = {}
    for task_id, task in result.tasks.items():
        kind = task.spec.kind
        if task_id not in measured.skipped:
            tasks = table.setdefault(kind, {})
            if kind not in measured.absent:
                tasks[task_id] = _task(task, counts[task_id])
    return {kind: table[kind] for kind in TaskKind if kind in table}


def _task(task: TaskResult, samples: int) -> dict[str, Any]:
    kind = task.spec.kind
    scores: dict[str, Any] = {name: _official(task, name) if samples else 0.0 for name in _KEYS[kind]}
    scores["num_samples"] = samples
    if kind in _PARTS:
        parts = {name: task.parts[name][Column.OFFICIAL] for name in _PARTS[kind]} if samples else {}
        scores["per_class"] = {
            f"class_{index}": {name: parts[name][index] for name in parts}
            for index in (range(task.spec.num_classes) if samples else ())
        }
    return scores


def _official(task: TaskResult, name: str) -> float | None:
    return task.metrics[name][Column.OFFICIAL].value


def official_summary(table: Table) -> str:
    """Return the text of the summary file: means over the tasks with samples, and one line per task."""
    return "\n".join([_RULE, "Evaluation Summary", _RULE, *_kinds(table), "\n" + _RULE]) + "\n"


def _kinds(table: Table) -> Iterator[str]:
    for kind, tasks in table.items():
        yield f"\n[{kind.capitalize()} Tasks]"
        scored = {task_id: task for task_id, task in tasks.items() if task["num_samples"]}
        if not scored:
            continue
        width = len(_AVERAGES[TaskKind(kind)][0])
        for label, name in zip(_AVERAGES[TaskKind(kind)], _COLUMNS[TaskKind(kind)], strict=True):
            yield f"  Average {label}{_mean(scored, name):.4f}"
        yield f"  {'Number of tasks: '.ljust(width + 8) if width > 10 else 'Number of tasks: '}{len(scored)}"
        yield "  Task details:"
        for task_id, task in scored.items():
            shown = [f"{label}={task[name]:.4f}" for label, name in _DETAILS[TaskKind(kind)]]
            yield f"    {task_id}: {', '.join(shown)}, samples={task['num_samples']}"


def _mean(scored: Mapping[str, Mapping[str, Any]], name: str) -> float:
    return fmean(task[name] for task in scored.values())


def codabench_line(table: Table) -> str:
    """Return Codabench's nine columns with their values, `n/a` where there is none."""
    cells = []
    for kind, names in _COLUMNS.items():
        scored = {task_id: task for task_id, task in table.get(kind, {}).items() if task["num_samples"]}
        for name in names:
            cells.append(f"{kind.capitalize()}_{name} {f'{_mean(scored, name):.4f}' if scored else 'n/a'}")
    return "  ".join(cells)


def official_files(table: Table) -> dict[str, str]:
    """Return the content of the organisers' two files by their names."""
    contents = json.dumps(table, indent=2, ensure_ascii=False), official_summary(table)
    return dict(zip(NAMES, contents, strict=True))
