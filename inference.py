"""The frozen entry point: challenge data in, the challenge's output folder out.

Exit codes: 0 complete; 1 unexpected, or the disk is full; 2 usage, manifest or weights (the user can fix it);
3 complete, but with fallbacks, under --strict; 128 + n stopped by signal n (143 SIGTERM, 130 Ctrl-C), to be resumed. On
failure the last line of stderr is one sentence.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from challenge.errors import UserError
from challenge.host import places
from challenge.host.console import log_to_stderr, say
from challenge.host.disk import DiskFullError
from challenge.host.exits import Exit, exit_code
from challenge.host.output_files import check_file_target, is_stream
from challenge.host.signals import StopRequest
from challenge.profile import PROFILES, choose_profile
from model.frozen.facts import task_lines
from model.frozen.interface import Model
from model.frozen.options import Options
from model.frozen.refine import Refine
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission

__all__ = ["Model", "main", "run"]

logger = logging.getLogger("inference")


def _names(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@places.input_option
@places.output_option
@click.option("--profile", default="auto", type=click.Choice(["auto", *PROFILES]), show_default=True,
              help="Challenge; auto: uusic if --input-json exists.")  # fmt: skip
@places.input_json_option
@places.weights_option
@click.option("--batch-size", default=4, type=click.IntRange(1, 1024), show_default=True, help="Images per batch.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), show_default=True)
@click.option("--precision", default="auto", show_default=True, help="Less than float32 only if the weights allow it.",
              type=click.Choice(["auto", "float32", "bfloat16", "float16"]))  # fmt: skip
@click.option("--mask-resize", default="logits", type=click.Choice(["logits", "labels"]), show_default=True,
              help="Resize logits, then arg max; or labels, as the official baseline does.")  # fmt: skip
@click.option("--refine", default="none", type=click.Choice(Refine, case_sensitive=False), show_default=True,
              help="What the weights were found to gain by: tidied masks; the mirror image too.")  # fmt: skip
@click.option("--tasks", default="", callback=_names, help="Comma-separated task ids, other rows are skipped.")
@click.option("--resume", is_flag=True, help="Go on where a killed or stopped run of the same command ended.")
@click.option("--num-parts", default=1, type=click.IntRange(1), show_default=True, help="Split the images in N parts.")
@click.option("--part-id", default=0, type=click.IntRange(0), show_default=True, help="Answer this part (0..N-1).")
@click.option("--merge", "merging", is_flag=True, help="Join the outputs of all PARTS into OUTPUT, and nothing else.")
@click.option("--ray", metavar="ADDRESS", help="Answer on the Ray cluster at ADDRESS, or `auto`.")
@click.option("--strict", is_flag=True, help="Exit with 3 if any row got a fallback.")
@places.report_option
@click.option("--list-tasks", is_flag=True, help="Check the weights, print their tasks, exit.")
@click.option("--log-level", default="INFO", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
              show_default=True)  # fmt: skip
@click.argument("parts", nargs=-1, type=places.FOLDER)
def main(
    data_root: Path,
    output_dir: Path,
    parts: tuple[Path, ...],
    profile: str,
    input_json: Path,
    merging: bool,
    strict: bool,
    report_file: Path | None,
    list_tasks: bool,
    log_level: str,
    **how: Any,
) -> int:
    """Answer every row of INPUT/csv_files/*.csv (or of UUSIC's list) in the layout that the challenge scores."""
    log_to_stderr(log_level, copy_progress=report_file is None or not is_stream(report_file))
    options = Options(profile=choose_profile(profile, input_json), **how)
    if list_tasks:
        click.echo("\n".join(task_lines(options.weights)))
        return Exit.OK
    if merging != bool(parts):
        raise click.UsageError("--merge takes the outputs of all parts, as in --merge PART... --output OUT")
    if options.part_id >= options.num_parts:
        raise click.UsageError(f"--part-id {options.part_id} is not below --num-parts {options.num_parts}")
    if report_file:
        check_file_target(report_file, (output_dir, data_root, options.weights, input_json, *parts))
    report, stop = RunReport(), StopRequest()
    with nullcontext() if merging else stop, _reporting(report, report_file):
        if merging:
            merge(parts, output_dir, report)
        else:
            run_submission(data_root, output_dir, options, report, stop)
        report.exit_code = Exit.WITH_FALLBACKS if strict and report.fallbacks else Exit.OK
        if report.status == "stopped" and stop.received:
            report.exit_code = 128 + stop.received
    logger.info("%d rows answered in %.1f s, %d of them with a fallback", report.answered, report.seconds(),
                len(report.fallbacks))  # fmt: skip
    if last_word := report.last_word():
        say(last_word)
    return report.exit_code


@contextmanager
def _reporting(report: RunReport, path: Path | None) -> Iterator[None]:
    """Write the report at the end of the block, whatever becomes of it."""
    try:
        yield
    except UserError:
        report.exit_code = Exit.USER
        raise
    finally:
        if path:
            _write(report, path)


def _write(report: RunReport, path: Path) -> None:
    try:
        report.write(path)
    except (UserError, DiskFullError) as error:
        if report.status != "failed":
            raise
        logger.error("%s", error)  # the last line is for what went wrong


def run() -> int:
    """Run the command line and return its exit code; the last line on stderr says what went wrong."""
    return exit_code(lambda: main(standalone_mode=False))


if __name__ == "__main__":
    raise SystemExit(run())
