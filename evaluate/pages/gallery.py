"""`gallery`: one self-contained page that shows a submission's answers on their images, for a person to look at."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from challenge.errors import UserError
from challenge.host.places import GivenPath
from challenge.host.progress import progress
from challenge.manifest import Sample, read_manifest
from challenge.readers import open_submission
from evaluate.outputs import check_targets, write_output
from evaluate.pages.gallery_cards import Card, make_card
from evaluate.pages.gallery_page import PAGE, Run, Task, render


def write_gallery(
    data_root: Path, predictions: Path, output: Path, per_task: int, with_truth: bool, report: Path | None = None
) -> Path:
    """Write `output/index.html` and return its path.

    Of each task `per_task` rows are shown, spread evenly over the manifest. Raises UserError for a manifest,
    submission or report that cannot be used.
    """
    samples = read_manifest(data_root).samples
    submission = open_submission(predictions)
    run = read_run(report) if report else None
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


def read_run(path: Path) -> Run:
    """Read what the page needs of a run report. Raises UserError if it is no report."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as a run report ({error}); give the file that --report wrote"
        ) from error
    try:
        return _run(report)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no run report ({error!r}); give the file that --report wrote") from error


def _run(report: Mapping[str, Any]) -> Run:
    weights, device = report["weights"], report["device"]
    facts = {
        "weights": str(weights["name"]),
        "sha256": str(weights["sha256"])[:12],
        "device": f"{device.get('used', 'unknown')}, {report['precision']}",
        "rows": f"{report['answered']:,} of {report['rows']:,} answered",
        "time": f"{report['timings']['total_s']:.1f} s",
        "status": str(report["status"]),
    }
    fallbacks = {(row["image_path"], row["task_id"]): str(row["reason"]) for row in report["fallbacks"]}
    if fallbacks:
        facts["fallbacks"] = str(len(fallbacks))
    return Run(facts, frozenset(report["prior_tasks"]), fallbacks)


def _spread(rows: Sequence[Sample], count: int) -> list[Sample]:
    if len(rows) <= count:
        return list(rows)
    return [rows[index * len(rows) // count] for index in range(count)]


def _task(rows: Sequence[Sample], cards: Sequence[Card], run: Run | None) -> Task:
    first = rows[0]
    # Without a report, a task whose every answer is the prior must pass for untrained.
    answered = [card.is_prior for card in cards if card.answer]
    is_prior = first.task_id in run.prior_tasks if run else bool(answered) and all(answered)
    return Task(first.task_id, first.kind, first.num_classes, len(rows), cards, is_prior)


@click.command("gallery")
@click.option("--data-root", required=True, type=GivenPath(exists=True, file_okay=False, path_type=Path),
              help="The data folder, with csv_files/.")  # fmt: skip
@click.option("--predictions", required=True, type=GivenPath(exists=True, file_okay=False, path_type=Path),
              help="The folder that inference.py wrote.")  # fmt: skip
@click.option("--output", required=True, type=GivenPath(file_okay=False, path_type=Path),
              help="Folder for index.html.")  # fmt: skip
@click.option("--per-task", default=6, show_default=True, type=click.IntRange(min=1), help="Pictures per task.")
@click.option("--with-truth", is_flag=True, help="Draw the truth and score the pictures shown.")
@click.option("--run-report", type=GivenPath(exists=True, dir_okay=False, path_type=Path),
              help="The file that inference.py --report wrote: says which weights the page shows.")  # fmt: skip
def gallery(
    data_root: Path, predictions: Path, output: Path, per_task: int, with_truth: bool, run_report: Path | None
) -> None:
    """Write a page of predictions drawn onto their images."""
    try:
        check_targets([output / PAGE], [data_root, predictions, run_report])
        page = write_gallery(data_root, predictions, output, per_task, with_truth, run_report)
    except UserError as error:
        raise click.UsageError(str(error)) from error
    click.echo(page)
