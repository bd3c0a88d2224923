"""The entry point for inference: reads the challenge's data folder and writes the challenge's output folder.

Exit codes: 0 complete; 1 unexpected error or full disk; 2 wrong usage, manifest or weights; 3 complete with fallbacks
(only with --strict); 128 + n stopped by signal n (143 SIGTERM, 130 Ctrl-C), continue with --resume. On failure the last
line of stderr is one sentence that says why.
"""

import logging
from contextlib import nullcontext
from pathlib import Path

import click

from challenge.cli import FOLDER, LOG_LEVEL, SETTINGS
from challenge.cli import run as run_command
from challenge.host import places
from challenge.host.console import log_to_stderr, say
from challenge.host.exits import Exit
from challenge.host.output_files import check_file_target, is_same, is_stream
from challenge.host.shortage import allow_open_files
from challenge.host.signals import StopRequest
from challenge.profile import PROFILES, choose_profile
from model.frozen.interface import Model
from model.frozen.metadata import task_lines
from model.frozen.options import AUTO, POSTPROCESS_VARIABLE, Options, postprocess_of
from model.frozen.outputs.postprocess import Postprocess
from model.frozen.predictor import Predictor
from model.frozen.run.merge import merge
from model.frozen.run.report import RunReport, written_at_end
from model.frozen.run.submission import run_submission

__all__ = ["Model", "Predictor", "main", "run"]

logger = logging.getLogger("inference")

_OPEN_FILES = 24  # a run needs about 12


def _names(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _level(_: click.Context, __: click.Parameter, name: str) -> Postprocess | None:
    return postprocess_of(name)


def _refuse_refine(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError("--refine is now --postprocess, and its value mirror is now flip")


@click.command(context_settings=SETTINGS)
@places.input_option
@places.output_option
@click.option(
    "--profile",
    default="auto",
    type=click.Choice(["auto", *PROFILES]),
    show_default=True,
    help="Challenge; auto means uusic if --input-json exists, else fmc.",
)
@places.input_json_option
@places.weights_option
@click.option("--batch-size", default=4, type=click.IntRange(1, 1024), show_default=True, help="Images per batch.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), show_default=True)
@click.option(
    "--precision",
    default="auto",
    type=click.Choice(["auto", "float32", "tf32", "bfloat16", "float16"]),
    show_default=True,
    help="Numeric precision (bfloat16: CPU; tf32, float16: CUDA); auto uses less than float32 only where these weights "
    "were tested in it.",
)
@click.option(
    "--tensorrt",
    type=FOLDER,
    help="With --precision float16: compute with TensorRT and keep its engines in this folder.",
)
@click.option(
    "--mask-resize",
    default="logits",
    type=click.Choice(["logits", "labels"]),
    show_default=True,
    help="Resize logits, then take the arg max; or the reverse, as the official baseline does.",
)
@click.option(
    "--postprocess",
    default=AUTO,
    envvar=POSTPROCESS_VARIABLE,
    callback=_level,
    type=click.Choice([AUTO, *Postprocess], case_sensitive=False),
    show_default=True,
    help="Post-processing that helped on held-out rows: clean masks; look also answers the part around what was found "
    "(slower); flip also averages with the flipped image (slower); views also with scaled and rotated ones (slower "
    f"still). auto: as the weights recommend.  [env: {POSTPROCESS_VARIABLE}]",
)
@click.option("--refine", hidden=True, expose_value=False, callback=_refuse_refine)
@click.option("--tasks", default="", callback=_names, help="Comma-separated task ids; rows of other tasks are skipped.")
@click.option(
    "--resume",
    is_flag=True,
    help="Continue a run of the same command that was killed or stopped; a finished run starts again.",
)
@click.option("--num-parts", default=1, type=click.IntRange(1), show_default=True, help="Split the images in N parts.")
@click.option("--part-id", default=0, type=click.IntRange(0), show_default=True, help="Answer this part (0..N-1).")
@click.option("--merge", "merging", is_flag=True, help="Only join the outputs of all PARTS into OUTPUT.")
@click.option("--ray", metavar="ADDRESS", help="Use the Ray cluster at ADDRESS, or `auto`.")
@click.option("--strict", is_flag=True, help="Exit with code 3 if any row got a fallback.")
@places.soft_masks_option
@places.confidence_option
@places.report_option
@click.option("--list-tasks", is_flag=True, help="Check the weights, print their tasks, exit.")
@click.option("--log-level", default="INFO", type=LOG_LEVEL, show_default=True, help="Least severe log lines to show.")
@click.argument("parts", nargs=-1, type=FOLDER)
def main(
    data_root: Path,
    output_dir: Path,
    profile: str,
    input_json: Path,
    weights: Path,
    batch_size: int,
    device: str,
    precision: str,
    tensorrt: Path | None,
    mask_resize: str,
    postprocess: Postprocess | None,
    tasks: tuple[str, ...],
    resume: bool,
    num_parts: int,
    part_id: int,
    merging: bool,
    ray: str | None,
    strict: bool,
    soft_masks: Path | None,
    confidence_file: Path | None,
    report_file: Path | None,
    list_tasks: bool,
    log_level: str,
    parts: tuple[Path, ...],
) -> int:
    """Answer every row of INPUT/csv_files/*.csv (or of UUSIC's list) in the challenge's output format."""
    log_to_stderr(log_level, copy_progress=not any(map(is_stream, filter(None, (report_file, confidence_file)))))
    if list_tasks:
        click.echo("\n".join(task_lines(weights)))
        return Exit.OK
    if merging != bool(parts):
        raise click.UsageError("--merge needs the outputs of all parts: --merge PART... --output OUT")
    if part_id >= num_parts:
        raise click.UsageError(f"--part-id {part_id} is not below --num-parts {num_parts}")
    kept = [path for path in (output_dir, data_root, weights, input_json, soft_masks, *parts) if path]
    for file in filter(None, (report_file, confidence_file)):
        check_file_target(file, kept)
    if report_file and confidence_file and is_same(report_file, confidence_file):
        raise click.UsageError(f"--report and --confidence are both {report_file}; give two files")
    options = Options(
        weights=weights,
        batch_size=batch_size,
        device=device,
        precision=precision,
        tensorrt=tensorrt,
        mask_resize=mask_resize,
        postprocess=postprocess,
        tasks=tasks,
        resume=resume,
        num_parts=num_parts,
        part_id=part_id,
        ray=ray,
        profile=choose_profile(profile, input_json),
        soft_masks=soft_masks,
        confidence=confidence_file,
    )
    allow_open_files(_OPEN_FILES)
    report, stop = RunReport(), StopRequest()
    with nullcontext() if merging else stop, written_at_end(report, report_file):
        if merging:
            merge(parts, output_dir, report, soft_masks=soft_masks, confidence=confidence_file)
        else:
            run_submission(data_root, output_dir, options, report, stop)
        report.exit_code = Exit.WITH_FALLBACKS if strict and report.fallbacks else Exit.OK
        if report.status == "stopped" and stop.received:
            report.exit_code = 128 + stop.received
    logger.info(
        "%d rows answered in %.1f s, %d of them with a fallback",
        report.answered,
        report.seconds(),
        len(report.fallbacks),
    )
    if last_word := report.last_word():
        say(last_word)
    return report.exit_code


def run() -> int:
    """Run the command line and return its exit code; the last line on stderr says what went wrong."""
    return run_command(main)


if __name__ == "__main__":
    raise SystemExit(run())
