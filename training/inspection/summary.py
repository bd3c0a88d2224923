"""An inspection as text: a line per task, then the findings with the most frequent first."""

import csv
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from challenge import targets
from challenge.errors import ManifestError
from challenge.manifest import Sample
from challenge.tasks import TaskKind
from training.data.groups import group_of
from training.data.usable import Finding, Level
from training.inspection.checks import Inspection

_EXAMPLES = 3


def summary_lines(inspection: Inspection) -> Iterator[str]:
    """Yield the report, line by line."""
    yield f"{'task':24} {'kind':14} {'rows':>6} {'groups':>6}  {'median width x height':24} balance"
    for task_id, samples in sorted(inspection.by_task.items(), key=lambda item: (item[1][0].kind, item[0])):
        groups = len(set(map(group_of, samples)))
        guessed = "" if all(s.group for s in samples) else "?"
        yield (
            f"{task_id:24} {samples[0].kind:14} {len(samples):6} {groups:5}{guessed or ' '}  "
            f"{_sizes(inspection, samples):24} {_balance(inspection, samples)}"
        )
    if any(not s.group for s in inspection.manifest.samples):
        yield "? no 'group' column: patients and videos were guessed from file names"
    if inspection.alike.joined:
        yield f"near-copies: the largest group that training keeps together has {inspection.alike.largest} images"
    faults: dict[tuple[Level, str], list[Finding]] = defaultdict(list)
    for finding in inspection.findings:
        faults[finding.level, finding.fault].append(finding)
    for (level, fault), found in sorted(faults.items(), key=lambda item: (item[0][0], -len(item[1]))):
        yield f"{level.upper()}: {fault}: {len(found)}"
        for finding in found[:_EXAMPLES]:
            yield f"    {_place(finding)}{finding.detail}"
        if len(found) > _EXAMPLES:
            yield f"    ... and {len(found) - _EXAMPLES} more"
    errors = sum(finding.level is Level.ERROR for finding in inspection.findings)
    yield f"{len(inspection.manifest.samples)} rows, {errors} errors, {len(inspection.findings) - errors} warnings"


def write_findings(inspection: Inspection, path: Path) -> None:
    """Write all findings as csv."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("level", "fault", "detail", "csv", "line", "task_id", "image_path"))
        for f in inspection.findings:
            where = (f.sample.row.file, f.sample.row.line, f.sample.task_id, f.sample.image_path) if f.sample else ()
            writer.writerow((f.level, f.fault, f.detail, *where))


def _place(finding: Finding) -> str:
    return f"{finding.sample.row} ({finding.sample.task_id}): " if finding.sample else ""


def _sizes(inspection: Inspection, samples: list[Sample]) -> str:
    sizes = [size for s in samples if (size := inspection.facts[s].size)]
    if not sizes:
        return "none readable"
    width, height = (int(statistics.median(values)) for values in zip(*sizes, strict=True))
    return f"{width} x {height}, {len(set(sizes))} sizes"


def _balance(inspection: Inspection, samples: list[Sample]) -> str:
    """How often each class occurs, as a label or in a mask; or how many boxes or points there are."""
    kind = samples[0].kind
    counts: Counter[int] = Counter()
    for sample in samples:
        try:
            match kind:
                case TaskKind.SEGMENTATION:
                    counts.update(inspection.facts[sample].classes)
                case TaskKind.CLASSIFICATION:
                    counts.update(label for label in [targets.label(sample)] if label is not None)
                case TaskKind.DETECTION:
                    counts.update([0] if targets.box(sample) else [])
                case TaskKind.REGRESSION:
                    counts.update(i for i, point in enumerate(targets.points(sample), 1) if point)
        except ManifestError:
            continue
    word = {TaskKind.DETECTION: "boxes", TaskKind.REGRESSION: "points"}.get(kind, "")
    if kind is TaskKind.DETECTION:
        return f"{counts[0]} {word}"
    return " ".join(f"{number}:{count}" for number, count in sorted(counts.items())) + (f" {word}" if word else "")
