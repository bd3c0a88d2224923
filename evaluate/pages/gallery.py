"""The gallery: one self-contained page that shows predictions drawn on their images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from challenge.class_names import ClassNames
from challenge.errors import UserError
from challenge.host.progress import progress
from challenge.manifest import Sample, read_manifest
from challenge.readers import open_submission
from challenge.tasks import TaskSpec
from evaluate.outputs import write_output
from evaluate.pages.gallery_cards import Card, make_card
from evaluate.pages.gallery_page import PAGE, Task, render
from evaluate.pages.run_check import foreign_report
from evaluate.scores.result import Result
from evaluate.scores.run_report import read_run_report


def write_gallery(
    data_root: Path,
    predictions: Path,
    output: Path,
    per_task: int,
    *,
    scores: Result | None = None,
    run_report: Path | None = None,
    names: ClassNames | None = None,
) -> Path:
    """Write `output/index.html` and return its path.

    It shows `per_task` rows of each task, spread evenly over the manifest. With the `scores` of this submission it
    draws the truth too, and says how good the answers are. `names` are what the classes are called; by default the run
    report says so. Raises UserError for a manifest, submission, scores or run report that cannot be used.
    """
    samples = read_manifest(data_root).samples
    submission = open_submission(predictions)
    run = read_run_report(run_report) if run_report else None
    if scores:
        _check_scores(scores, samples, data_root)
    foreign = foreign_report(run, samples, predictions) if run else None
    by_task: dict[str, list[Sample]] = {}
    for sample in samples:
        by_task.setdefault(sample.task_id, []).append(sample)
    specs = {task_id: _spec(rows[0]) for task_id, rows in sorted(by_task.items())}
    if names:
        names.check(specs.values())
    names = names or (run.class_names if run else ClassNames())
    chosen = {task_id: _spread(rows, per_task) for task_id, rows in by_task.items()}
    every = [sample for rows in chosen.values() for sample in rows]
    cards = {
        sample: make_card(sample, data_root, submission, names.of(specs[sample.task_id]), with_truth=scores is not None)
        for sample in progress(every, label="gallery")
    }
    tasks = [
        Task(
            spec,
            names.of(spec),
            len(by_task[task_id]),
            found := [cards[sample] for sample in chosen[task_id]],
            task_id in run.prior_tasks if run else _looks_untrained(found),
            scores.tasks.get(task_id) if scores else None,
        )
        for task_id, spec in specs.items()
    ]
    page = output / PAGE
    write_output(page, render(tasks, run, foreign, with_truth=scores is not None).encode(errors="backslashreplace"))
    return page


def _spec(sample: Sample) -> TaskSpec:
    return TaskSpec(sample.task_id, sample.kind, sample.num_classes)


def _spread(rows: Sequence[Sample], count: int) -> list[Sample]:
    if len(rows) <= count:
        return list(rows)
    return [rows[index * len(rows) // count] for index in range(count)]


def _looks_untrained(cards: Sequence[Card]) -> bool:
    """Whether all answers look like the prior: without a run report that is all that can be known."""
    answered = [card.is_prior for card in cards if card.answer]
    return bool(answered) and all(answered)


def _check_scores(scores: Result, samples: Iterable[Sample], data_root: Path) -> None:
    if scores.profile != "fmc":
        raise UserError(f"the scores are of the profile {scores.profile}; give those of `score` without --profile")
    scored = {case.row for case in scores.cases}
    if missing := next((sample for sample in samples if str(sample.row) not in scored), None):
        raise UserError(f"the scores lack the row {missing.row} of {data_root}; give the scores of this submission")
