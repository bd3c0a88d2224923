"""The frozen entry point: challenge data in, the challenge's output folder out.

Exit codes: 0 complete; 1 unexpected; 2 usage, manifest or weights (the user can fix it); 3 complete, but with
fallbacks, under --strict. On failure the last line of stderr is one sentence.
"""

import logging
import os
import sys
import traceback
from pathlib import Path

import click

from challenge.errors import UserError
from challenge.report import RunReport
from model.frozen.facts import read_facts, verify
from model.frozen.submission import Options, run_submission

DEFAULT_WEIGHTS = Path(os.environ.get("FMC_UIA_WEIGHTS") or Path(__file__).resolve().parent / "weights")
OK, UNEXPECTED, USER, WITH_FALLBACKS = 0, 1, 2, 3

logger = logging.getLogger("inference")


class Model:
    """The interface that the challenge's organisers know."""

    def __init__(self, weights: str | os.PathLike[str] = DEFAULT_WEIGHTS) -> None:
        self.weights = Path(weights)

    def predict(self, data_root: str, output_dir: str, batch_size: int = 8) -> None:
        """Answer every row of `data_root/csv_files/*.csv` into `output_dir`. Raises UserError for unusable input."""
        run_submission(Path(data_root), Path(output_dir), Options(self.weights, batch_size), RunReport())


FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(context_settings={"max_content_width": 110})
@click.option("--input", "data_root", default=Path("/input"), type=FOLDER, show_default=True, help="Data folder.")
@click.option("--output", "output_dir", default=Path("/output"), type=FOLDER, show_default=True, help="Answers.")
@click.option("--weights", default=DEFAULT_WEIGHTS, type=FOLDER, help="Exported weights. [default: weights/]")
@click.option("--batch-size", default=8, type=click.IntRange(1, 1024), show_default=True, help="Images per batch.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), show_default=True)
@click.option("--precision", default="auto", show_default=True,
              type=click.Choice(["auto", "float32", "bfloat16", "float16"]))  # fmt: skip
@click.option("--mask-resize", default="logits", type=click.Choice(["logits", "labels"]), show_default=True,
              help="Resize logits, then arg max; or labels, as the official baseline does.")  # fmt: skip
@click.option("--tasks", default="", help="Comma-separated task ids; other rows are skipped. [default: all]")
@click.option("--strict", is_flag=True, help="Exit with 3 if any row got a fallback.")
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), help="Run report (JSON).")
@click.option("--list-tasks", is_flag=True, help="Check the weights, print their tasks, exit.")
@click.option("--log-level", default="INFO", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
              show_default=True)  # fmt: skip
def main(
    data_root: Path,
    output_dir: Path,
    weights: Path,
    batch_size: int,
    device: str,
    precision: str,
    mask_resize: str,
    tasks: str,
    strict: bool,
    report_file: Path | None,
    list_tasks: bool,
    log_level: str,
) -> int:
    """Answer every row of INPUT/csv_files/*.csv in the layout that FMC_UIA 2026 scores."""
    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if list_tasks:
        _list_tasks(weights)
        return OK
    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    report = RunReport()
    try:
        run_submission(
            data_root, output_dir, Options(weights, batch_size, device, precision, mask_resize, names), report
        )
        report.status = "complete"
        report.exit_code = WITH_FALLBACKS if strict and report.fallbacks else OK
    except UserError:
        report.exit_code = USER
        raise
    finally:
        if report_file:
            report.write(report_file)
    logger.info("%d rows answered in %.1f s, %d of them with a fallback", report.answered, report.seconds(),
                len(report.fallbacks))  # fmt: skip
    if report.exit_code == WITH_FALLBACKS:
        first = report.fallbacks[0]
        click.echo(f"{len(report.fallbacks)} rows got a fallback, the first at {first['row']}: {first['reason']}; "
                   "see --report", err=True)  # fmt: skip
    return report.exit_code


def _list_tasks(weights: Path) -> None:
    facts = read_facts(weights)
    verify(facts, weights)
    for task_id, task in facts.tasks.items():
        click.echo(
            f"{task_id:24} {task.spec.kind:15} {task.spec.num_classes:2}  {task.answers:8} {task.trained_on or '-'}"
        )


def run() -> int:
    """Run the command line and return its exit code; the last line on stderr says what went wrong."""
    try:
        code = main(standalone_mode=False)
        return code if isinstance(code, int) else OK
    except click.ClickException as error:
        error.show()
        return USER
    except UserError as error:
        click.echo(str(error), err=True)
        return USER
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; run the same command again", err=True)
        return 130
    except Exception as error:  # the last resort: whatever it is, the last line must say it in one sentence
        traceback.print_exc()
        click.echo(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}", err=True)
        return UNEXPECTED


if __name__ == "__main__":
    raise SystemExit(run())
