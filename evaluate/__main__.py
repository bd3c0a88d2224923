"""`python -m evaluate`: score, check, report, compare, gallery, confidence, uusic-folder.

`score`, `check` and `gallery` run in the inference environment; the other commands import more packages when called.
Exit codes: 0 for success, whatever the scores are; 2 for an error that the user can correct; 1 for any other error,
such as a full disk. The last line of stderr then says in one sentence what went wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from challenge.cli import EXISTING_FILE, FILE, FOLDER, Group, run
from challenge.errors import UserError
from challenge.host.console import printable
from challenge.host.output_files import check_answers_folder, is_stream
from evaluate.outputs import check_targets, write_output

if TYPE_CHECKING:
    from challenge.class_names import ClassNames
    from evaluate.scores.result import Result

_PROFILES = ("fmc", "uusic")

_data_root = click.option("--data-root", type=FOLDER, required=True, help="Folder with csv_files/, images and truth.")
_predictions = click.option("--predictions", type=FOLDER, required=True, help="Folder that inference.py wrote.")
_jobs = click.option(
    "--jobs", type=click.IntRange(1), help="Number of processes that compare masks (default: one per processor)."
)
_draws = click.option(
    "--draws", type=click.IntRange(2), default=1000, show_default=True, help="Number of bootstrap draws."
)
_class_names = click.option(
    "--class-names",
    type=FILE,
    help="What the classes are called: a weights.json, or a TOML file with classes = [...] in a table per task.",
)
_run_report = click.option(
    "--run-report", type=FILE, help="JSON file of `inference.py --report`: time, memory, fallbacks."
)


@click.group(cls=Group)
def main() -> None:
    """Score, check, show and compare challenge submissions."""


@main.command()
@_data_root
@_predictions
@click.option("--json", "json_file", type=FILE, help="Write the result to this file, with the values of every image.")
@click.option(
    "--official-files",
    "official",
    type=FOLDER,
    help="Folder for evaluation_results.json and evaluation_summary.txt, as the organisers' script writes them.",
)
@click.option(
    "--profile",
    type=click.Choice(_PROFILES),
    default="fmc",
    show_default=True,
    help="Challenge whose formulas are used.",
)
@click.option(
    "--input-json", type=FILE, help="For uusic: list with the truth (label, or mask_path_relative below --data-root)."
)
@_run_report
@_jobs
@_draws
def score(
    data_root: Path,
    predictions: Path,
    json_file: Path | None,
    official: Path | None,
    profile: str,
    input_json: Path | None,
    run_report: Path | None,
    jobs: int | None,
    draws: int,
) -> None:
    """Score a submission, the official way and the strict way side by side."""
    from evaluate.scores.official_files import NAMES, codabench_line, official_files, official_table
    from evaluate.scores.result import summarise, write_result
    from evaluate.scores.run_report import read_resources
    from evaluate.scores.scoring import measure
    from evaluate.scores.text import score_text
    from evaluate.scores.uusic import measure_list

    targets = [json_file, *(official / name for name in NAMES if official)]
    check_targets(targets, [data_root, predictions, input_json, run_report])
    if official and profile != "fmc":
        raise UserError(f"--official-files belongs to FMC_UIA; leave it out with --profile {profile}")
    if profile == "fmc":
        measured = measure(data_root, predictions, jobs)
    elif input_json:
        measured = measure_list(input_json, data_root, predictions)
    else:
        raise UserError("--profile uusic needs the list with the truth; give it as --input-json")
    resources = read_resources(run_report) if run_report else None
    result = summarise(measured, str(data_root), str(predictions), draws, profile=profile, resources=resources)
    if json_file:
        write_result(json_file, result)
    _echo(score_text(result), json_file)
    if official:
        table = official_table(result, measured)
        for name, text in official_files(table).items():
            write_output(official / name, text.encode(errors="backslashreplace"))
        _echo(f"\nCodabench: {codabench_line(table)}", json_file)


@main.command()
@_data_root
@_predictions
@click.option("--zip", "zip_file", type=FILE, help="Pack the submission, if it is valid, into this zip for upload.")
@click.option("--all", "every", is_flag=True, help="List all places of each problem, not only the first few.")
def check(data_root: Path, predictions: Path, zip_file: Path | None, every: bool) -> None:
    """Check a submission before you upload it, and pack it. Exits with code 2 if there is an error.

    Only the csv files and the images are needed, not the truth.
    """
    from evaluate.submission.check import check as find
    from evaluate.submission.packing import pack
    from evaluate.submission.text import check_text

    check_targets([zip_file], [data_root, predictions])
    findings = find(data_root, predictions)
    if text := check_text(findings, every):
        _echo(text, zip_file)
    if findings.errors:
        raise UserError(
            f"the submission has {sum(map(len, findings.errors.values())):,} errors; correct them and check "
            "again" + (f"; {zip_file} was not written" if zip_file else "")
        )
    _echo(f"valid: {findings.rows:,} rows, each answered once", zip_file)
    if zip_file:
        pack(predictions, findings.files, zip_file)
        size = "" if is_stream(zip_file) else f", {_megabytes(zip_file)}"
        _echo(f"packed: {zip_file}, {len(findings.files):,} files at its root{size}", zip_file)


@main.command()
@_data_root
@_predictions
@click.option("--output", type=FOLDER, required=True, help="Folder for index.html.")
@_run_report
@click.option("--scores", type=FILE, help="Result file of `score --json` for this submission; saves scoring it again.")
@click.option("--title", default="Ultrasound submission", show_default=True, help="Heading of the page.")
@_class_names
@_jobs
@_draws
def report(
    data_root: Path,
    predictions: Path,
    output: Path,
    run_report: Path | None,
    scores: Path | None,
    title: str,
    class_names: Path | None,
    jobs: int | None,
    draws: int,
) -> None:
    """Write the scores, with charts and pictures, as one self-contained index.html."""
    from evaluate.pages.report import PAGE, write_report

    check_targets([output / PAGE], [data_root, predictions, run_report, scores, class_names])
    names = _read_names(class_names)
    result = _result(scores, data_root, predictions, jobs, draws)
    page = write_report(result, data_root, predictions, output, title, run_report, names=names)
    click.echo(f"written: {page} ({_megabytes(page)})")


@main.command()
@click.argument("results", type=EXISTING_FILE, nargs=-1, required=True)
@click.option("--column", type=click.Choice(["strict", "official"]), default="strict", show_default=True)
@click.option("--markdown", type=FILE, help="Write the comparison as Markdown to this file (default: print it).")
@click.option("--html", type=FILE, help="Write the comparison as one self-contained HTML page, with pictures.")
@click.option(
    "--name", "names", multiple=True, help="Name of a run; once per result file.  [default: the files' names]"
)
@_class_names
@_draws
def compare(
    results: Sequence[Path],
    column: str,
    markdown: Path | None,
    html: Path | None,
    names: Sequence[str],
    class_names: Path | None,
    draws: int,
) -> None:
    """Compare result files of `score --json`. Differences are to the first, with a paired bootstrap.

    The page shows the rows that changed most if the folders that were scored are still where the result files say.
    """
    from evaluate.pages.compare_page import to_html
    from evaluate.scores.compare import compare_results
    from evaluate.scores.compare_text import to_markdown
    from evaluate.scores.metric_table import Column

    check_targets([markdown, html], [*results, class_names])
    comparison = compare_results(results, Column(column), draws, names=names)
    text = to_markdown(comparison)
    if markdown:
        write_output(markdown, text.encode(errors="backslashreplace"))
    if html:
        write_output(html, to_html(comparison, _read_names(class_names)).encode(errors="backslashreplace"))
    if not markdown:
        _echo(text, html)


@main.command()
@click.argument("scores", type=EXISTING_FILE)
def misses(scores: Path) -> None:
    """Do masks fail as a whole, or at their borders? Print each task's missed masks and their part of the error.

    SCORES is a result file of `score --json`.
    """
    from evaluate import misses as missed
    from evaluate.scores.result import read_result

    for line in missed.table(missed.misses(read_result(scores))):
        click.echo(line)


@main.command()
@click.argument("scores", type=EXISTING_FILE)
@_data_root
@_predictions
@click.option("--output", type=FOLDER, required=True, help="Folder for worst-KIND.jpg.")
@click.option("--count", type=click.IntRange(min=1), default=10, show_default=True, help="Cases per kind.")
@_class_names
def worst(scores: Path, data_root: Path, predictions: Path, output: Path, count: int, class_names: Path | None) -> None:
    """Draw the worst cases of each kind, with their truth, on one sheet per kind.

    SCORES is the result file of `score --json` for this submission.
    """
    from evaluate.pages.worst import sheet_paths, write_sheets
    from evaluate.scores.result import read_result

    # Sheets of an earlier run are replaced; links and folders with such a name are not.
    others = [path for path in sheet_paths(output) if path.is_symlink() or not path.is_file()]
    check_targets(others, [data_root, predictions, scores, class_names])
    names = _read_names(class_names)
    for path, lines in write_sheets(read_result(scores), data_root, predictions, output, count, names):
        click.echo("\n  ".join(map(printable, (str(path), *lines))))


@main.command()
@_data_root
@_predictions
@click.option("--output", type=FOLDER, required=True, help="Folder for index.html.")
@click.option("--per-task", default=6, show_default=True, type=click.IntRange(min=1), help="Pictures per task.")
@click.option("--with-truth", is_flag=True, help="Also draw the truth, and score the submission.")
@click.option("--scores", type=FILE, help="Result file of `score --json` for this submission; saves scoring it again.")
@_run_report
@_class_names
@_jobs
def gallery(
    data_root: Path,
    predictions: Path,
    output: Path,
    per_task: int,
    with_truth: bool,
    scores: Path | None,
    run_report: Path | None,
    class_names: Path | None,
    jobs: int | None,
) -> None:
    """Write one self-contained index.html with predictions drawn on their images.

    --scores draws the truth too, as --with-truth does.
    """
    from evaluate.pages.gallery import write_gallery
    from evaluate.pages.gallery_page import PAGE

    check_targets([output / PAGE], [data_root, predictions, run_report, scores, class_names])
    names = _read_names(class_names)
    result = _result(scores, data_root, predictions, jobs, draws=2) if scores or with_truth else None
    page = write_gallery(data_root, predictions, output, per_task, scores=result, run_report=run_report, names=names)
    click.echo(page)


@main.command()
@_data_root
@_predictions
@click.option(
    "--confidence", "confidences", type=EXISTING_FILE, required=True, help="JSON file of `inference.py --confidence`."
)
@click.option("--output", type=FOLDER, required=True, help="Folder for risk-coverage.png and confidence.md.")
@click.option("--scores", type=FILE, help="Result file of `score --json` for this submission; saves scoring it again.")
@click.option("--title", default="Error of the surest answers", show_default=True, help="Heading of the picture.")
@_jobs
@_draws
def confidence(
    data_root: Path,
    predictions: Path,
    confidences: Path,
    output: Path,
    scores: Path | None,
    title: str,
    jobs: int | None,
    draws: int,
) -> None:
    """Measure what confidence is worth: risk-coverage curves, and its rank correlation with the error."""
    from evaluate.confidence.pages import picture, table
    from evaluate.confidence.reading import judged, read_confidence
    from evaluate.confidence.risk import findings

    curves, page = output / "risk-coverage.png", output / "confidence.md"
    others = [curves] if curves.is_symlink() or (curves.exists() and not curves.is_file()) else []
    check_targets([page, *others], [data_root, predictions, confidences, scores])
    known = read_confidence(confidences, predictions)
    rows = judged(_result(scores, data_root, predictions, jobs, draws=2), known)
    found = findings(rows, draws)
    text = table(found)
    write_output(curves, picture(found, title))
    write_output(page, text.encode())
    click.echo(text + f"written: {curves}, {page}")


@main.command("uusic-folder")
@_data_root
@click.option("--output", type=FOLDER, required=True, help="Folder to write.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True)
def uusic_folder(data_root: Path, output: Path, split: str) -> None:
    """Convert a data folder to the layout of UUSIC 2025: images, true masks, list.json, truth.json."""
    from evaluate.uusic_folder import LIST_FILE, write_uusic_folder

    check_answers_folder(output, data_root)
    check_targets([output / LIST_FILE], [data_root])
    for name, rows in write_uusic_folder(data_root, output, split).items():
        click.echo(f"{name}: {rows} rows")


def _read_names(path: Path | None) -> ClassNames | None:
    from challenge.class_names import read_class_names

    return read_class_names(path) if path else None


def _result(scores: Path | None, data_root: Path, predictions: Path, jobs: int | None, draws: int) -> Result:
    """Read the scores of a submission, or score it."""
    from evaluate.scores.result import read_result, summarise
    from evaluate.scores.scoring import measure

    if scores:
        return read_result(scores)
    return summarise(measure(data_root, predictions, jobs), str(data_root), str(predictions), draws)


def _echo(text: str, *targets: Path | None) -> None:
    """Print to stdout; to stderr if a target is a device or a FIFO, as that may be stdout."""
    click.echo(printable(text, keep="\n"), err=any(target is not None and is_stream(target) for target in targets))


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


if __name__ == "__main__":
    raise SystemExit(run(main, "python -m evaluate"))
