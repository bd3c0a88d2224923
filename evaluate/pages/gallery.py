"""The gallery: one self-contained page that shows predictions drawn on their images."""

from collections.abc import Sequence
from pathlib import Path

from challenge.host.progress import progress
from challenge.manifest import Sample, read_manifest
from challenge.readers import open_submission
from evaluate.outputs import write_output
from evaluate.pages.gallery_cards import Card, make_card
from evaluate.pages.gallery_page import PAGE, Task, render
from evaluate.scores.run_report import RunReport, read_run_report


def write_gallery(
    data_root: Path, predictions: Path, output: Path, per_task: int, with_truth: bool, run_report: Path | None = None
) -> Path:
    """Write `output/index.html` and return its path.

    It shows `per_task` rows of each task, spread evenly over the manifest. Raises UserError for a manifest,
    submission or run report that cannot be used.
    """
    samples = read_manifest(data_root).samples
    submission = open_submission(predictions)
    run = read_run_report(run_report) if run_report else None
    by_task: dict[str, list[Sample]] = {}
    for sample in samples:
        by_task.setdefault(sample.task_id, []).append(sample)
    chosen = {task_id: _spread(rows, per_task) for task_id, rows in by_task.items()}
    every = [sample for rows in chosen.values() for sample in rows]
    cards = {
        sample: make_card(sample, data_root, submission, with_truth) for sample in progress(every, label="gallery")
    }
    tasks = [
        _task(by_task[task_id], [cards[sample] for sample in rows], run) for task_id, rows in sorted(chosen.items())
    ]
    page = output / PAGE
    write_output(page, render(tasks, run, with_truth).encode(errors="backslashreplace"))
    return page


def _spread(rows: Sequence[Sample], count: int) -> list[Sample]:
    if len(rows) <= count:
        return list(rows)
    return [rows[index * len(rows) // count] for index in range(count)]


def _task(rows: Sequence[Sample], cards: Sequence[Card], run: RunReport | None) -> Task:
    first = rows[0]
    # Without a run report, a task whose answers all look like the prior is taken for untrained.
    answered = [card.is_prior for card in cards if card.answer]
    is_prior = first.task_id in run.prior_tasks if run else bool(answered) and all(answered)
    return Task(first.task_id, first.kind, first.num_classes, len(rows), cards, is_prior)
